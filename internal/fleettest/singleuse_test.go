package fleettest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
	"github.com/sessioncb/openssl/ssl"
)

// singleUse is a fleet of nodes with SingleUse over one Redis, in this process
// and, the last of them, in another.
type singleUse struct {
	members []member
	store   *redisstore.Store
}

func newSingleUse(t *testing.T, change func(*nodeSetup)) *singleUse {
	t.Helper()
	s := claiming([][]byte{sessioncb.GenerateKey()})
	s.Redis = testserver.Redis(t).Addr()
	if change != nil {
		change(&s)
	}
	client := redis.NewClient(&redis.Options{Addr: s.Redis, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, redisstore.Options{Prefix: s.Prefix})
	if err != nil {
		t.Fatal(err)
	}
	return &singleUse{[]member{local(t, s), another(t).start(s)}, store}
}

// has says whether the store has the session.
func (f *singleUse) has(t testing.TB, id []byte) bool {
	t.Helper()
	_, err := f.store.Get(t.Context(), sessioncb.Key{ID: id})
	if err != nil && !errors.Is(err, sessioncb.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// uses are what single use comes to, over all members.
type uses struct{ Claimed, Hits, Absent, Calls uint64 }

func (f *singleUse) uses() (u uses) {
	for _, m := range f.members {
		s := m.counters().Cache
		u.Claimed += s.Claimed
		u.Hits += s.Hits.Claimed
		u.Absent += s.Misses.Asked
		u.Calls += s.Calls.Claim
	}
	return u
}

// counts runs do and compares what it added to the uses.
func (f *singleUse) counts(t testing.TB, why string, want uses, do func()) {
	t.Helper()
	a := f.uses()
	do()
	b := f.uses()
	got := uses{b.Claimed - a.Claimed, b.Hits - a.Hits, b.Absent - a.Absent, b.Calls - a.Calls}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", why, diff)
	}
}

// A ticket that is offered twice resumes once, wherever, one after the other
// and at the same time.
func TestTicketOfferedTwice(t *testing.T) {
	f := newSingleUse(t, nil)
	client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
	a, b := f.members[0], f.members[1]
	f.counts(t, "one after the other", uses{Claimed: 1, Hits: 1, Absent: 2, Calls: 3}, func() {
		session := client.session(a, 0, "localhost")
		if !f.has(t, session.Ticket()) {
			t.Fatal("the session is not in the store")
		}
		client.meets(b, 0, "localhost", session, true)
		if f.has(t, session.Ticket()) {
			t.Error("the session is in the store still")
		}
		client.meets(a, 0, "localhost", session, false)
		client.meets(b, 0, "localhost", session, false)
	})
	const pairs = 20
	f.counts(t, "at the same time", uses{Claimed: pairs, Hits: pairs, Absent: pairs, Calls: 2 * pairs}, func() {
		for range pairs {
			session := client.session(a, 0, "localhost")
			var wg sync.WaitGroup
			resumed := make([]bool, 2)
			for i, m := range f.members {
				wg.Go(func() {
					state, err := client.visit(m.addrs()[0], "localhost", session)
					if err != nil {
						t.Error(err)
					}
					resumed[i] = state.DidResume
				})
			}
			wg.Wait()
			for i, m := range f.members {
				if r := took(t, m); r.Err != "" || r.Resumed != resumed[i] {
					t.Errorf("the server: %q, resumed %v; the client: %v", r.Err, r.Resumed, resumed[i])
				}
			}
			if resumed[0] == resumed[1] {
				t.Errorf("resumed: %v, want one", resumed)
			}
		}
	})
}

// A client that offers three tickets loses one of them: the server looks the
// others up only where the first is no good.
func TestThreeTickets(t *testing.T) {
	f := newSingleUse(t, nil)
	m := f.members[1]
	client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
	for _, x := range []struct {
		name string
		gone int // of them, when they are offered
	}{
		{"three good ones", 0},
		{"the first is gone", 1},
		{"the last alone is there", 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			var sessions []*ssl.Session
			var identities [][]byte
			var bindings []binding
			var hello []byte
			for range 3 {
				s := client.session(f.members[0], 0, "localhost")
				hello = client.hello("localhost", s)
				_, identity := offered(t, hello)
				sessions, identities, bindings = append(sessions, s), append(identities, identity), append(bindings, resumption(t, s))
			}
			hello = withIdentities(t, hello, identities, bindings)
			for _, s := range sessions[:x.gone] {
				if err := f.store.Delete(t.Context(), sessioncb.Key{ID: s.Ticket()}); err != nil {
					t.Fatal(err)
				}
			}
			f.counts(t, "the claims", uses{Claimed: 1, Hits: 1, Absent: uint64(x.gone), Calls: uint64(x.gone) + 1}, func() {
				a, c := answerTo(t, m.addrs()[0], hello)
				if a.selected != x.gone {
					t.Errorf("the answer: %+v, want identity %d", a, x.gone)
				}
				hangUp(c)
				said(t, took(t, m), "unexpected EOF")
			})
			for i, s := range sessions {
				if got := f.has(t, s.Ticket()); got != (i > x.gone) {
					t.Errorf("session %d is in the store: %v", i, got)
				}
				if i > x.gone {
					client.meets(m, 0, "localhost", s, true)
				}
			}
		})
	}
}

// After a HelloRetryRequest libssl asks for the session again; it is claimed
// once, and resumed.
func TestClaimedOnceWithRetry(t *testing.T) {
	f := newSingleUse(t, func(s *nodeSetup) { s.Hosts[0].Groups = "P-384" })
	for _, x := range []struct {
		groups string
		hellos int
	}{{"P-384:X25519", 1}, {"X25519:P-384", 2}} {
		t.Run(x.groups, func(t *testing.T) {
			cfg := visitorConfig(tls.VersionTLS13, "")
			cfg.Groups = x.groups
			client := newVisitor(t, cfg)
			session := client.session(f.members[0], 0, "localhost")
			f.counts(t, "the claims", uses{Claimed: 1, Hits: 1, Calls: 1}, func() {
				nc, err := net.Dial("tcp", f.members[1].addrs()[0])
				if err != nil {
					t.Fatal(err)
				}
				wire := &helloCounter{Conn: nc, name: "localhost"}
				state, err := client.over(wire, "localhost", session)
				r := took(t, f.members[1])
				if err != nil || r.Err != "" || !state.DidResume || !r.Resumed {
					t.Errorf("the client: %v, resumed %v; the server: %q, resumed %v", err, state.DidResume, r.Err, r.Resumed)
				}
				if wire.hellos != x.hellos {
					t.Errorf("%d ClientHellos, want %d", wire.hellos, x.hellos)
				}
			})
		})
	}
}

// helloCounter counts what is written with a server name in the clear.
type helloCounter struct {
	net.Conn
	name   string
	hellos int
}

func (c *helloCounter) Write(b []byte) (int, error) {
	c.hellos += bytes.Count(b, []byte(c.name))
	return c.Conn.Write(b)
}

// R44: who saw a ticket can burn the session with a binder that does not
// verify, for the claim comes first. It is counted as a session that was
// claimed; the forger gets an alert, the owner a full handshake.
func TestForgedBinder(t *testing.T) {
	f := newSingleUse(t, nil)
	m := f.members[1]
	client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
	for _, forged := range []bool{true, false} {
		session := client.session(f.members[0], 0, "localhost")
		hello := client.hello("localhost", session)
		_, identity := offered(t, hello)
		bind := resumption(t, session)
		if forged {
			right := bind
			bind = func(partial []byte) []byte {
				b := right(partial)
				b[len(b)-1] ^= 1
				return b
			}
		}
		hello = withIdentities(t, hello, [][]byte{identity}, []binding{bind})
		f.counts(t, "who saw it", uses{Claimed: 1, Hits: 1, Calls: 1}, func() {
			a, c := answerTo(t, m.addrs()[0], hello)
			hangUp(c)
			r := took(t, m)
			if forged {
				said(t, r, "binder does not verify")
			}
			if (a.alert != 0) != forged || (a.selected == 0) == forged {
				t.Errorf("forged %v: the answer is %+v", forged, a)
			}
		})
		if f.has(t, session.Ticket()) {
			t.Error("the session is in the store")
		}
		f.counts(t, "the owner", uses{Absent: 1, Calls: 1}, func() {
			client.meets(m, 0, "localhost", session, false)
		})
	}
}
