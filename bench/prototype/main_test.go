package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/bench/peer"
	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

const certs = "../../testdata/certs/"

// The objects of libssl are counted by the shim of the binding, whose client
// the tests have, for both.
func TestMain(m *testing.M) {
	if err := cshim.CountAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve runs a server of these options until the test ends, when no object of
// any connection may be left.
func serve(t *testing.T, o peer.Options) (*peer.Counters, string) {
	t.Helper()
	o.CertFile, o.KeyFile, o.MaxSessions = certs+"server.pem", certs+"server-key.pem", 100
	n := &peer.Counters{}
	s, err := newServer(&o, n)
	if err != nil {
		t.Fatal(err)
	}
	l, err := peer.Listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l, o.Work, n) }()
	t.Cleanup(func() {
		l.Close()
		<-done
		var g cshim.Gauges
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if g = cshim.ReadGauges(); g.SSL == 0 && g.SSLSession == 0 {
				return
			}
		}
		t.Errorf("still there: %d SSL, %d SSL_SESSION", g.SSL, g.SSLSession)
	})
	return n, l.Addr().String()
}

// A second visit resumes with a store, by a lookup, and never without one.
func TestStores(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, store := range []string{"none", "der"} {
			t.Run(tls.VersionName(version)+"/"+store, func(t *testing.T) {
				n, addr := serve(t, peer.Options{Work: "echo", Version: version, Store: store})
				v := newVisitor(t, addr, version)
				for visit := range 3 {
					if resumed, want := v.visit(), store == "der" && visit > 0; resumed != want {
						t.Errorf("visit %d: resumed: %v, want %v", visit, resumed, want)
					}
				}
				hits, stored := int64(0), int64(0)
				if store == "der" {
					hits, stored = 2, 1
					if version == tls.VersionTLS13 {
						stored = 3 // each resumption makes a session
					}
					// A ticket that is a key of a lookup has the length of an id.
					if k := len(v.session.Ticket()); k > 32 {
						t.Errorf("a ticket of %d bytes", k)
					}
				} else if v.session != nil {
					t.Error("there is a session to offer")
				}
				if n.Handshakes.Load() != 3 || n.Resumed.Load() != hits || n.Failed.Load() != 0 {
					t.Errorf("%d handshakes, %d resumed, %d failed", n.Handshakes.Load(), n.Resumed.Load(), n.Failed.Load())
				}
				if n.Lookups.Load() != hits || n.Hits.Load() != hits || n.Stored.Load() != stored {
					t.Errorf("%d lookups, %d hits, %d stored; want %d, %d, %d",
						n.Lookups.Load(), n.Hits.Load(), n.Stored.Load(), hits, hits, stored)
				}
			})
		}
	}
}

// More connections than places at the gate.
func TestManyAtOnce(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			n, addr := serve(t, peer.Options{Work: "echo", Version: version, Store: "der"})
			const visitors, visits = 16, 5
			var wg sync.WaitGroup
			for range visitors {
				v := newVisitor(t, addr, version)
				wg.Go(func() {
					for visit := range visits {
						if resumed := v.visit(); resumed != (visit > 0) {
							t.Errorf("visit %d: resumed: %v", visit, resumed)
						}
					}
				})
			}
			wg.Wait()
			if want := int64(visitors * (visits - 1)); n.Resumed.Load() != want || n.Hits.Load() != want || n.Lookups.Load() != want {
				t.Errorf("%d resumed, %d of %d lookups hit; want %d", n.Resumed.Load(), n.Hits.Load(), n.Lookups.Load(), want)
			}
		})
	}
}

// More data than sockets and records hold, either way.
func TestData(t *testing.T) {
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i >> 8)
	}
	t.Run("echo", func(t *testing.T) {
		_, addr := serve(t, peer.Options{Work: "echo", Version: tls.VersionTLS13, Store: "none"})
		c := dial(t, addr)
		go c.Write(sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("other bytes, %v", err)
		}
	})
	t.Run("source", func(t *testing.T) {
		_, addr := serve(t, peer.Options{Work: "source", Version: tls.VersionTLS13, Store: "none"})
		c := dial(t, addr)
		c.Write([]byte("x"))
		if _, err := io.CopyN(io.Discard, c, int64(len(sent))); err != nil {
			t.Error(err)
		}
	})
	t.Run("sink", func(t *testing.T) {
		_, addr := serve(t, peer.Options{Work: "sink", Version: tls.VersionTLS13, Store: "none"})
		c := dial(t, addr)
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if k, err := c.Read(make([]byte, 1)); k != 0 || err != io.EOF {
			t.Errorf("%d bytes, %v, want the server's close_notify", k, err)
		}
	})
}

// A session whose connection met a fault is removed, out of SSL_read.
func TestRemoved(t *testing.T) {
	n, addr := serve(t, peer.Options{Work: "echo", Version: tls.VersionTLS12, Store: "der"})
	v := newVisitor(t, addr, tls.VersionTLS12)
	v.visit()
	v.visitThen(func(nc net.Conn, c *ssl.Conn) {
		nc.Write([]byte("this is no record"))
		io.Copy(io.Discard, nc) // until the server has closed, and removed
	})
	if v.visit() {
		t.Error("resumed")
	}
	if n.Lookups.Load() != 2 || n.Hits.Load() != 1 || n.Stored.Load() != 2 {
		t.Errorf("%d lookups, %d hits, %d stored; want 2, 1, 2", n.Lookups.Load(), n.Hits.Load(), n.Stored.Load())
	}
}

func TestFailedHandshake(t *testing.T) {
	n, addr := serve(t, peer.Options{Work: "echo", Version: tls.VersionTLS13, Store: "der"})
	for _, text := range []string{"", "this is no ClientHello"} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, text)
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, nc)
		nc.Close()
	}
	for n.Failed.Load() < 2 { // the server counts a moment after it closed
		time.Sleep(time.Millisecond)
	}
	v := newVisitor(t, addr, tls.VersionTLS13) // nothing is left in an error queue
	v.visit()
	if !v.visit() {
		t.Error("not resumed")
	}
}

func TestNotHad(t *testing.T) {
	for _, o := range []peer.Options{{LookupDelay: 1}, {ClientCA: "ca.pem"}} {
		if _, err := newServer(&o, nil); !errors.Is(err, peer.ErrNotHad) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := newServer(&peer.Options{CertFile: "none.pem", KeyFile: "none.pem"}, nil); err == nil || errors.Is(err, peer.ErrNotHad) {
		t.Errorf("without a certificate: %v", err)
	}
}

// clientContext gives new sessions to keep; nil: none are wanted.
func clientContext(t *testing.T, version uint16, keep func(*ssl.Session)) *ssl.Context {
	t.Helper()
	cfg := ssl.Config{MinVersion: version, MaxVersion: version, Verify: ssl.VerifyNone}
	if keep != nil {
		cfg.SessionCacheMode = ssl.CacheExternal
		cfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(func(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
			keep(s.(*ssl.Session))
			return true
		})
	}
	ctx, err := ssl.NewContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ctx.Close() })
	return ctx
}

func dial(t *testing.T, addr string) *ssl.Conn {
	t.Helper()
	c, err := ssl.Dial("tcp", addr, clientContext(t, tls.VersionTLS13, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
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
	v.ctx = clientContext(t, version, v.keep)
	t.Cleanup(func() { v.keep(nil) })
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
	return v.visitThen(func(net.Conn, *ssl.Conn) {})
}

func (v *visitor) visitThen(then func(net.Conn, *ssl.Conn)) (resumed bool) {
	nc, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.t.Error(err)
		return false
	}
	c, err := ssl.Client(nc, v.ctx, &ssl.ClientOptions{Session: v.session})
	if err != nil {
		nc.Close()
		v.t.Error(err)
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		v.t.Error(err)
		return false
	}
	b := make([]byte, 2)
	if k, err := c.Read(b); k != 1 || b[0] != 'x' {
		v.t.Errorf("echo: %d bytes, %v", k, err)
		return false
	}
	resumed = c.ConnectionState().DidResume
	then(nc, c)
	return resumed
}
