package fleettest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// countedStore counts what is asked of it.
type countedStore struct {
	sessioncb.Store
	claimer              sessioncb.Claimer
	gets, claims, others atomic.Int64
}

func newCountedStore(t testing.TB) *countedStore {
	t.Helper()
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &countedStore{Store: store, claimer: store}
}

func (s *countedStore) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, key)
}

func (s *countedStore) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.claims.Add(1)
	return s.claimer.Claim(ctx, key)
}

func (s *countedStore) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	s.others.Add(1)
	return s.Store.Put(ctx, key, value, ttl)
}

func (s *countedStore) Delete(ctx context.Context, key sessioncb.Key) error {
	s.others.Add(1)
	return s.Store.Delete(ctx, key)
}

// madeUp is an id that nobody gave out.
func madeUp() []byte {
	id := make([]byte, 32)
	rand.Read(id)
	return id
}

// One ClientHello may name some 1,700 sessions: no more than eight are looked up,
// wherever a good one stands among them, and none after it.
func TestManyIdentities(t *testing.T) {
	const many = 1650 // a client of OpenSSL 3.5 has a key share of 1.2 KiB beside them
	for _, x := range []struct {
		name   string
		set    nodeSetup
		good   int // where a good session stands; -1: nowhere
		want   lookups
		asked  int64 // calls of the store
		chosen int
	}{
		{"all made up", nodeSetup{}, -1, lookups{Miss: 8}, 8, -1},
		{"all made up, claimed", nodeSetup{SingleUse: true}, -1, lookups{Miss: 8}, 8, -1},
		{"all made up, ids are tagged", nodeSetup{TagIDs: true}, -1, lookups{Junk: 8}, 0, -1},
		{"the first is good", nodeSetup{}, 0, lookups{Hit: 1}, 1, 0},
		{"the eighth is good", nodeSetup{}, 7, lookups{Miss: 7, Hit: 1}, 8, 7},
		{"the eighth is good, claimed", nodeSetup{SingleUse: true}, 7, lookups{Miss: 7, Hit: 1}, 8, 7},
		{"the eighth is good, ids are tagged", nodeSetup{TagIDs: true}, 7, lookups{Junk: 7, Hit: 1}, 1, 7},
		{"the ninth is good", nodeSetup{}, 8, lookups{Miss: 8}, 8, -1},
	} {
		t.Run(x.name, func(t *testing.T) {
			store := newCountedStore(t)
			x.set.store, x.set.Keys, x.set.Hosts = store, [][]byte{sessioncb.GenerateKey()}, []host{{}}
			n := local(t, x.set)
			client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
			session := client.session(n, 0, "localhost")
			hello := client.hello("localhost", session)
			_, good := offered(t, hello)
			var identities [][]byte
			for i := range many {
				if i == x.good {
					identities = append(identities, good)
				} else {
					identities = append(identities, identityOf(madeUp()))
				}
			}
			// So many binders would not fit: those up to the good one.
			bindings := []binding{resumption(t, session)}
			for range x.good {
				bindings = append(bindings, bindings[0])
			}
			hello = withIdentities(t, hello, identities, bindings)
			if len(hello) < 62_000 {
				t.Fatalf("the ClientHello has %d bytes", len(hello))
			}
			before := n.counters().Cache.Lookups
			a, c := answerTo(t, n.addrs()[0], hello)
			hangUp(c)
			said(t, took(t, n), "unexpected EOF")
			if a.selected != x.chosen || a.alert != 0 {
				t.Errorf("the answer: %+v, want identity %d", a, x.chosen)
			}
			if diff := cmp.Diff(x.want, minus(n.counters().Cache.Lookups, before)); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
			if asked := store.gets.Load() + store.claims.Load(); asked != x.asked {
				t.Errorf("the store was asked %d times, want %d", asked, x.asked)
			}
		})
	}
}

// A flood of ids that nobody gave out costs, with tags, no call of the store,
// and without them one each.
func TestFloodOfMadeUpIDs(t *testing.T) {
	for _, x := range []struct {
		tags bool
		ids  int
	}{{true, rounds(2000)}, {false, 100}} {
		t.Run(fmt.Sprintf("TagIDs %v", x.tags), func(t *testing.T) {
			store := newCountedStore(t)
			n := local(t, nodeSetup{store: store, Keys: [][]byte{sessioncb.GenerateKey()}, TagIDs: x.tags, Hosts: []host{{}}})
			hellos := map[uint16][]byte{}
			var owners []*visitor
			for _, version := range versions {
				client := newVisitor(t, visitorConfig(version, ""))
				hellos[version] = client.hello("localhost", client.session(n, 0, "localhost"))
				owners = append(owners, client)
			}
			others := store.others.Load()
			before := n.counters().Cache.Lookups
			var senders sync.WaitGroup
			each := make(chan int)
			for range 4 {
				senders.Go(func() {
					for i := range each {
						hello := hellos[tls.VersionTLS12]
						if i%2 == 0 {
							hello = withSessionID(t, hello, madeUp())
						} else {
							hello = withIdentities(t, hellos[tls.VersionTLS13], [][]byte{identityOf(madeUp())},
								[]binding{func([]byte) []byte { return make([]byte, 32) }})
						}
						a, c := answerTo(t, n.addrs()[0], hello)
						hangUp(c)
						if a.alert != 0 || a.selected != -1 {
							t.Errorf("the answer: %+v", a)
						}
					}
				})
			}
			for i := range x.ids {
				each <- i
			}
			close(each)
			senders.Wait()
			if _, err := n.take(x.ids); err != nil {
				t.Fatal(err)
			}
			want, asked := lookups{Miss: uint64(x.ids)}, int64(x.ids)
			if x.tags {
				want, asked = lookups{Junk: uint64(x.ids)}, 0
			}
			if diff := cmp.Diff(want, minus(n.counters().Cache.Lookups, before)); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
			if got := store.gets.Load() + store.claims.Load(); got != asked || store.others.Load() != others {
				t.Errorf("the store was asked %d times, and %d other calls were made; want %d and 0", got, store.others.Load()-others, asked)
			}
			for _, client := range owners {
				client.meets(n, 0, "localhost", client.last(), true)
			}
		})
	}
}

// fatalAlert is handshake_failure, in the clear.
var fatalAlert = []byte{21, 3, 3, 0, 2, 2, 40}

// R21: who saw a session's id makes OpenSSL hold the session for dead before
// its owner is known: in TLS 1.2 with a connection of his own, in TLS 1.3 with a
// record in the owner's. The store keeps it, and the owner resumes.
func TestAlertAfterSniffedID(t *testing.T) {
	for _, x := range []struct {
		name   string
		near   int64
		always bool // deletes whatever the fault, as a naive cache does
	}{
		{"near cache", 1 << 20, false},
		{"no near cache", 0, false},
		{"near cache, faults always delete", 1 << 20, true},
		{"no near cache, faults always delete", 0, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			store := newCountedStore(t)
			n := local(t, nodeSetup{store: store, Keys: [][]byte{sessioncb.GenerateKey()}, Near: x.near, MissTTL: -1,
				RemoveFaultsAlways: x.always, Hosts: []host{{}}})
			eachVersion(t, func(t *testing.T, version uint16) {
				client := newVisitor(t, visitorConfig(version, ""))
				session := client.session(n, 0, "localhost")
				removals := func() sessioncb.RemovalStats { return n.counters().Cache.Removals[sessioncb.Faulty] }
				hits := n.counters().Cache.Lookups.Hit
				before := removals()
				hello := client.hello("localhost", session)
				if version == tls.VersionTLS12 {
					sniffed := hello[sessionIDAt+1 : sessionIDAt+33]
					stranger := newVisitor(t, visitorConfig(version, ""))
					mine := stranger.hello("localhost", stranger.session(n, 0, "localhost"))
					a, c := answerTo(t, n.addrs()[0], withSessionID(t, mine, sniffed))
					if string(a.sessionID) != string(sniffed) {
						t.Fatalf("the stranger's answer: %+v, want the session's id: nothing was resumed", a)
					}
					c.Write(fatalAlert)
					hangUp(c)
				} else {
					nc, err := net.Dial("tcp", n.addrs()[0])
					if err != nil {
						t.Fatal(err)
					}
					_, err = client.over(&injector{Conn: nc}, "localhost", session)
					if err == nil {
						t.Fatal("the owner's connection survived: the alert did nothing")
					}
				}
				said(t, took(t, n), "alert")
				if got := n.counters().Cache.Lookups.Hit - hits; got != 1 {
					t.Fatalf("%d lookups found the session: this shows nothing", got)
				}
				// The removal is delivered, and has its reason.
				want := before
				if x.always {
					want.Deleted++
				} else {
					want.Kept++
				}
				for end := time.Now().Add(patience); removals() != want && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				if diff := cmp.Diff(want, removals()); diff != "" {
					t.Fatalf("removals for a fault (-want +got):\n%s", diff)
				}
				client.meets(n, 0, "localhost", session, !x.always)
			})
		})
	}
}

// injector puts a fatal alert in the clear behind the first thing that is
// written, the ClientHello.
type injector struct {
	net.Conn
	once sync.Once
}

func (c *injector) Write(b []byte) (int, error) {
	n := len(b)
	c.once.Do(func() { b = append(append([]byte(nil), b...), fatalAlert...) })
	if _, err := c.Conn.Write(b); err != nil {
		return 0, err
	}
	return n, nil
}
