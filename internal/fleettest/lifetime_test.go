package fleettest

import (
	"bytes"
	"crypto/tls"
	"encoding/asn1"
	"encoding/binary"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// A chain of TLS 1.3 resumptions, from process to process, outlives each of
// its sessions and ends at MaxResumptionAge; without a bound it goes on.
func TestChainEnds(t *testing.T) {
	const life, most = 2 * time.Second, 4 * time.Second
	keys := [][]byte{sessioncb.GenerateKey()}
	server := testserver.Redis(t)
	other := another(t)
	pair := func(prefix string, age time.Duration) []member {
		s := nodeSetup{Keys: keys, Redis: server.Addr(), Prefix: prefix, Hosts: []host{{Timeout: life, MaxAge: age}}}
		return []member{local(t, s), other.start(s)}
	}
	bounded, endless := pair("bounded:", most), pair("endless:", -1)
	// A machine that stands still for a second may end a chain.
	for range 5 {
		if chainEnds(t, bounded, endless, life, most) {
			return
		}
		t.Log("a chain was cut: once more")
	}
	t.Error("no chain lasted")
}

func chainEnds(t *testing.T, bounded, endless []member, life, most time.Duration) bool {
	client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
	visit := func(m member, offer *ssl.Session) (r report, s *ssl.Session) {
		t.Helper()
		state, err := client.visit(m.addrs()[0], "localhost", offer)
		r = took(t, m)
		if err != nil || r.Err != "" || state.DidResume != r.Resumed {
			t.Fatalf("the client: %v, resumed %v; the server: %q, resumed %v", err, state.DidResume, r.Err, r.Resumed)
		}
		return r, client.last()
	}
	r, session := visit(bounded[0], nil)
	origin := sessionOf(t, r).FullHandshake()
	_, without := visit(endless[0], nil)
	var last time.Time // resumption
	links := 0
	for i := 1; ; i++ {
		time.Sleep(life / 5)
		at := time.Now()
		_, without2 := visit(endless[i%2], without)
		r, next := visit(bounded[i%2], session)
		without, session = without2, next
		if !r.Resumed {
			break
		}
		links, last = links+1, at
		s := sessionOf(t, r)
		if got := s.FullHandshake(); !got.Equal(origin) {
			t.Fatalf("link %d goes back to %v, want %v", links, got, origin)
		}
		// Whole seconds, and no session is made for less than one.
		if end := s.Time().Add(s.Timeout()); end.After(origin.Add(most + time.Second)) {
			t.Errorf("link %d ends at %v, %v after the full handshake", links, end, end.Sub(origin))
		}
		if time.Since(origin) > most+patience {
			t.Fatal("the chain does not end")
		}
	}
	r, _ = visit(endless[0], without)
	if last.Sub(origin) > most+2*time.Second {
		t.Errorf("resumed %v after the full handshake", last.Sub(origin))
	}
	t.Logf("%d links, the last %v after the full handshake; without a bound: resumed %v", links, last.Sub(origin), r.Resumed)
	return last.Sub(origin) > life+time.Second && r.Resumed
}

// sessionOf is the server's session of a connection.
func sessionOf(t testing.TB, r report) *ssl.Session {
	t.Helper()
	s, err := ssl.ParseSession(r.Session)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// What a session out of the store says of its full handshake bounds what comes
// after it, on any node. One that says nothing, as a C server's, counts from
// itself.
func TestOldOrigin(t *testing.T) {
	const life, most = 10 * time.Minute, time.Hour
	keys := [][]byte{sessioncb.GenerateKey()}
	h := newHostile(t, nodeSetup{Keys: keys, Hosts: []host{{Timeout: life, MaxAge: most}}})
	other := another(t).start(h.setup)
	for _, x := range []struct {
		name         string
		origin, made time.Duration // ago; an origin below zero: it is not noted
		resumed      bool
		life         time.Duration // of the next session, at most
	}{
		{"just now", 0, 0, true, life},
		{"49 minutes", 49 * time.Minute, 0, true, life},
		{"55 minutes", 55 * time.Minute, 0, true, 5 * time.Minute},
		{"nearly an hour", most - time.Minute, 0, true, time.Minute},
		{"an hour and more", most + time.Minute, 0, false, life},
		{"a day", 24 * time.Hour, 0, false, life},
		{"not noted, made just now", -1, 0, true, life},
		{"not noted, made 55 minutes ago", -1, 55 * time.Minute, true, 5 * time.Minute},
		{"not noted, made more than an hour ago", -1, most + time.Minute, false, life},
	} {
		t.Run(x.name, func(t *testing.T) {
			client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
			s := h.stores(t, client)
			now := time.Now()
			h.puts(t, s.key, s.sealedBy(t, keys, keys, func(r *sessioncb.Record) {
				f := fieldsOf(t, r.DER)
				f.set(timeField, integer(t, now.Add(-x.made).Unix()))
				f.set(timeoutField, integer(t, int64(2*most/time.Second)))
				if x.origin < 0 {
					f.remove(appdataField)
				} else {
					f.set(appdataField, noted(t, f.field(appdataField), now.Add(-x.origin)))
				}
				r.DER, r.Expires = f.encode(t), now.Add(2*most)
			}))
			before := other.counters()
			r := client.meets(other, 0, "localhost", s.session, x.resumed)
			after := other.counters()
			if hits := after.Cache.Lookups.Hit - before.Cache.Lookups.Hit; hits != 1 {
				t.Errorf("%d lookups found it: this shows nothing", hits)
			}
			if old := after.Refused.Expired - before.Refused.Expired; (old == 1) == x.resumed {
				t.Errorf("%d sessions were refused for their age", old)
			}
			const slack = 10 * time.Second // whole seconds, and a slow machine
			if r.Timeout > x.life || r.Timeout < x.life-slack*slowdown {
				t.Errorf("the next session lives for %v, want at most %v", r.Timeout, x.life)
			}
			if hint := client.last().TicketLifetimeHint(); hint != r.Timeout {
				t.Errorf("the client was told %v, want %v", hint, r.Timeout)
			}
		})
	}
}

// integer is the DER of a number.
func integer(t testing.TB, n int64) []byte {
	t.Helper()
	b, err := asn1.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noted returns the DER of appdata with another time in its note, which
// cshim/age.c writes: eight bytes that say so, and the time.
func noted(t testing.TB, der []byte, origin time.Time) []byte {
	t.Helper()
	var data []byte
	if _, err := asn1.Unmarshal(der, &data); err != nil || len(data) != 16 || !bytes.HasPrefix(data, []byte("scborig1")) {
		t.Fatalf("the session's appdata is no note: %q, %v", data, err)
	}
	binary.BigEndian.PutUint64(data[8:], uint64(origin.Unix()))
	b, err := asn1.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
