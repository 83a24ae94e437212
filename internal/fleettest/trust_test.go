package fleettest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/ssl"
)

// A trustChange is a pair of hosts, and what becomes of a client that offers
// the second a session of the first.
type trustChange struct {
	name          string
	made, offered host
	virtual       bool
	cert          string // the client's when the session was made
	offers        []trustOffer
	binding       bool // refused by package ssl, after the Cache found it
}

type trustOffer struct {
	cert    string // the client's now
	refused string // the server's error; "": a full handshake, which welcomes it
}

// mutual is a host that asks for certificates of the CA.
func mutual(ca string, epoch uint64) host {
	return host{CA: ca, Verify: ssl.VerifyRequired, Epoch: epoch}
}

const (
	noCertificate = "peer did not return a certificate"
	notVerified   = "certificate verify failed"
)

var trustChanges = []trustChange{
	{
		name: "anonymous to mTLS", offered: mutual("ca.pem", 0),
		offers: []trustOffer{{"", noCertificate}, {"client", ""}},
	},
	{
		name: "anonymous where a certificate is asked for to where it is required",
		made: host{CA: "ca.pem", Verify: ssl.VerifyPeer}, offered: mutual("ca.pem", 0),
		offers: []trustOffer{{"", noCertificate}, {"client", ""}},
	},
	{
		name: "anonymous to mTLS, one id context set by hand",
		made: host{IDContext: "one"}, offered: host{CA: "ca.pem", Verify: ssl.VerifyRequired, IDContext: "one"},
		offers: []trustOffer{{"", noCertificate}, {"client", ""}}, binding: true,
	},
	{
		name: "CA 1 to CA 2", made: mutual("ca.pem", 0), offered: mutual("ca2.pem", 0), cert: "client",
		offers: []trustOffer{{"client", notVerified}, {"client2", ""}},
	},
	{
		name: "host A to host B", virtual: true,
		made: host{Name: "a.example.test"}, offered: host{Name: "b.example.test"},
		offers: []trustOffer{{"", ""}},
	},
	{
		name: "epoch bump", made: host{Epoch: 1}, offered: host{Epoch: 2},
		offers: []trustOffer{{"", ""}},
	},
	{
		name: "leaf of an epoch whose CA was dropped", made: mutual("ca.pem", 1), offered: mutual("ca2.pem", 2), cert: "client",
		offers: []trustOffer{{"client", notVerified}},
	},
	{
		name: "leaf of an epoch that was ended", made: mutual("ca.pem", 1), offered: mutual("ca.pem", 2), cert: "client",
		offers: []trustOffer{{"client", ""}, {"", noCertificate}},
	},
}

// A tally is what lookups came to.
type tally struct {
	Offered, Hit, OtherContext uint64
	Near, Store                uint64 // hits
	Gets                       uint64 // calls of the store
	NoPeer, WrongContext       uint64 // refused by package ssl
}

func tallyOf(m member) tally {
	c := m.counters()
	s, r := c.Cache, c.Refused
	return tally{
		Offered: s.Lookups.Offered(), Hit: s.Lookups.Hit, OtherContext: s.Lookups.OtherContext,
		Near: s.Hits.Near, Store: s.Hits.Store, Gets: s.Calls.Get,
		NoPeer: r.NoPeerCertificate, WrongContext: r.WrongContext,
	}
}

// counts runs f and compares what it added to the tally.
func counts(t *testing.T, m member, why string, want tally, f func()) {
	t.Helper()
	a := tallyOf(m)
	f()
	b := tallyOf(m)
	got := tally{
		b.Offered - a.Offered, b.Hit - a.Hit, b.OtherContext - a.OtherContext, b.Near - a.Near, b.Store - a.Store,
		b.Gets - a.Gets, b.NoPeer - a.NoPeer, b.WrongContext - a.WrongContext,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", why, diff)
	}
}

// What a lookup counts that succeeds in memory or in the store, and one that
// finds a session of another trust there.
func found(near bool) tally {
	if near {
		return tally{Offered: 1, Hit: 1, Near: 1}
	}
	return tally{Offered: 1, Hit: 1, Store: 1, Gets: 1}
}

func (x *trustChange) refusal(near bool) tally {
	if x.binding {
		n := found(near)
		n.NoPeer = 1
		return n
	}
	n := tally{Offered: 1, OtherContext: 1}
	if !near {
		n.Gets = 1
	}
	return n
}

// A session is resumed where the trust is that it was made under, and nowhere
// else: in one process and in two, from the store and from memory in front of it.
func TestTrustMatrix(t *testing.T) {
	keys := [][]byte{sessioncb.GenerateKey()}
	server := testserver.Redis(t)
	other := another(t)
	for _, x := range trustChanges {
		for _, place := range []string{"one process", "two processes"} {
			for _, near := range []bool{true, false} {
				warmth := map[bool]string{true: "warm", false: "cold"}[near]
				t.Run(fmt.Sprintf("%s/%s/%s", x.name, place, warmth), func(t *testing.T) {
					s := nodeSetup{Keys: keys, Near: 1 << 20, Hosts: []host{x.made, x.offered}, Virtual: x.virtual,
						Prefix: t.Name()}
					var first, second member
					if place == "two processes" {
						s.Redis = server.Addr()
						first, second = local(t, s), other.start(s)
						defer second.stop()
					} else {
						var err error
						if s.store, err = memstore.New(memstore.Options{}); err != nil {
							t.Fatal(err)
						}
						first = local(t, s)
						second = first
						if !near {
							second = local(t, s)
						}
					}
					eachVersion(t, func(t *testing.T, version uint16) { x.run(t, version, first, second, near) })
				})
			}
		}
	}
}

// run makes a session on the first node and offers it to the second.
func (x *trustChange) run(t *testing.T, version uint16, first, second member, near bool) {
	at, to := 0, 1 // listeners
	name, toName := "localhost", "localhost"
	if x.virtual {
		at, to, name, toName = 0, 0, x.made.Name, x.offered.Name
	}
	client := newVisitor(t, visitorConfig(version, x.cert))
	session := client.session(first, at, name)
	resume := func(near bool) {
		t.Helper()
		counts(t, second, "where it was made", found(near), func() {
			r := client.meets(second, at, name, session, true)
			if x.cert != "" && (len(r.Peer) == 0 || !bytes.Equal(r.Peer[0], leaf(t, x.cert))) {
				t.Error("resumed, but not as the client that it was made with")
			}
		})
	}
	switch {
	case near && first != second:
		resume(false) // and keeps it near
	case near:
		resume(true)
	}
	for i, o := range x.offers {
		if i > 0 && !near {
			session = client.session(first, at, name) // the last one is near now
		}
		offers := newVisitor(t, visitorConfig(version, o.cert))
		counts(t, second, fmt.Sprintf("offered by %q elsewhere", o.cert), x.refusal(near), func() {
			if o.refused == "" {
				r := offers.meets(second, to, toName, session, false)
				if o.cert != "" && (len(r.Peer) == 0 || !bytes.Equal(r.Peer[0], leaf(t, o.cert))) {
					t.Error("welcomed, but not as who it is")
				}
				return
			}
			state, err := offers.visit(second.addrs()[to], toName, session)
			r := took(t, second)
			if err == nil || state.DidResume || r.Resumed || !strings.Contains(r.Err, o.refused) {
				t.Errorf("the client: %v, resumed %v; the server: %q, resumed %v; want it to say %q",
					err, state.DidResume, r.Err, r.Resumed, o.refused)
			}
		})
	}
	if !near {
		session = client.session(first, at, name)
	}
	resume(near) // it still does
}

// leaf returns the DER of a client's certificate.
func leaf(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(cert(name + ".pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s: no PEM", name)
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return block.Bytes
}
