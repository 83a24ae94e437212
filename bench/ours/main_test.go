package main

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/bench/peer"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

const certs = "../../testdata/certs/"

// What each store is there for: a second visit resumes, and by which path.
func TestStores(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, test := range []struct {
			store    string
			resumes  bool
			external bool
		}{
			{"none", false, false},
			{"der", true, true},
			{"ref", true, true},
			{"cache", true, true},
			{"internal", true, false},
			{"tickets", true, false},
		} {
			t.Run(tls.VersionName(version)+"/"+test.store, func(t *testing.T) {
				n, addr := serve(t, &peer.Options{
					Work: "echo", Version: version, Store: test.store, MaxSessions: 100,
					CertFile: certs + "server.pem", KeyFile: certs + "server-key.pem",
				})
				c := newVisitor(t, addr, version)
				if c.visit() {
					t.Fatal("the first visit resumed")
				}
				for range 2 {
					if resumed := c.visit(); resumed != test.resumes {
						t.Errorf("resumed: %v, want %v", resumed, test.resumes)
					}
				}
				if test.resumes {
					// A ticket that is a key of a lookup has the length of an id.
					if stateless := len(c.session.Ticket()) > 32; stateless != (test.store == "tickets") {
						t.Errorf("the session is in the ticket: %v", stateless)
					}
				} else if c.session != nil {
					t.Error("there is a session to offer")
				}
				hits, stored := int64(0), int64(0)
				if test.external {
					hits, stored = 2, 1
					if version == tls.VersionTLS13 {
						stored = 3 // each resumption makes a session
					}
				}
				if n.Lookups.Load() != hits || n.Hits.Load() != hits || n.Stored.Load() != stored {
					t.Errorf("%d lookups, %d hits, %d stored; want %d, %d, %d",
						n.Lookups.Load(), n.Hits.Load(), n.Stored.Load(), hits, hits, stored)
				}
			})
		}
	}
}

func TestClientCertificateIsRequired(t *testing.T) {
	n, addr := serve(t, &peer.Options{
		Work: "echo", Version: tls.VersionTLS12, Store: "none", MaxSessions: 100,
		CertFile: certs + "server.pem", KeyFile: certs + "server-key.pem", ClientCA: certs + "ca.pem",
	})
	ctx := context12(t, ssl.Config{})
	if c, err := ssl.Dial("tcp", addr, ctx, nil); err == nil {
		c.Close()
		t.Error("a handshake without a certificate succeeded")
	}
	for n.Failed.Load() == 0 { // the server counts a moment after its alert
		time.Sleep(time.Millisecond)
	}
	ctx = context12(t, ssl.Config{Certificates: []ssl.Certificate{
		{ChainFile: certs + "client.pem", KeyFile: certs + "client-key.pem"},
	}})
	c, err := ssl.Dial("tcp", addr, ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func context12(t *testing.T, cfg ssl.Config) *ssl.Context {
	t.Helper()
	cfg.Verify, cfg.MaxVersion = ssl.VerifyNone, tls.VersionTLS12
	ctx, err := ssl.NewContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ctx.Close() })
	return ctx
}

// serve runs a server of these options until the test ends.
func serve(t *testing.T, o *peer.Options) (*peer.Counters, string) {
	t.Helper()
	n := &peer.Counters{}
	s, err := newServer(o, n)
	if err != nil {
		t.Fatal(err)
	}
	l, err := peer.Listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l, o.Work, n) }()
	t.Cleanup(func() { l.Close(); <-done })
	return n, l.Addr().String()
}

// A visitor keeps the newest session that it was given.
type visitor struct {
	t       *testing.T
	addr    string
	ctx     *ssl.Context
	session *ssl.Session
}

func newVisitor(t *testing.T, addr string, version uint16) *visitor {
	t.Helper()
	v := &visitor{t: t, addr: addr}
	var err error
	v.ctx, err = ssl.NewContext(ssl.Config{
		MinVersion: version, MaxVersion: version,
		Verify: ssl.VerifyNone, SessionCacheMode: ssl.CacheExternal,
		SessionCallbacks: sessioncb.Callbacks{
			New: sessioncb.NewHandlerFunc(func(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
				v.keep(s.(*ssl.Session))
				return true
			}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.keep(nil); v.ctx.Close() })
	return v
}

func (v *visitor) keep(s *ssl.Session) {
	if v.session != nil {
		v.session.Close()
	}
	v.session = s
}

// visit talks to the server, so that a ticket of TLS 1.3 has come at the end.
func (v *visitor) visit() (resumed bool) {
	v.t.Helper()
	nc, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.t.Fatal(err)
	}
	c, err := ssl.Client(nc, v.ctx, &ssl.ClientOptions{Session: v.session})
	if err != nil {
		v.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		v.t.Fatal(err)
	}
	b := make([]byte, 2)
	if k, err := c.Read(b); k != 1 || b[0] != 'x' {
		v.t.Fatalf("echo: %d bytes, %v", k, err)
	}
	return c.ConnectionState().DidResume
}
