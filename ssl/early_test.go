package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// Who does not ask for early data gets it from Read, in order, when the
// handshake has finished.
func TestEarlyDataByRead(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		s, c := p.resume()
		early(t, c, "early ")
		early(t, c, "data, ")
		// The client has not finished, so neither Handshake nor Read may return.
		s.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := s.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read before the client's Finished: %d, %v, want a timeout", n, err)
		}
		s.SetReadDeadline(time.Now().Add(patience))
		serr, cerr := handshake(s, c)
		if serr != nil || cerr != nil {
			t.Fatalf("handshake: server %v, client %v", serr, cerr)
		}
		if _, err := c.Write([]byte("late data")); err != nil {
			t.Fatal(err)
		}
		want := "early data, late data"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(s, got); err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
		outcome(t, s, c, true, true)
	})
}

// EarlyData reads before the client has finished, and the client reads the
// answer before its Finished arrived.
func TestEarlyDataBeforeFinished(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		a, b, wire := newRelay(t)
		s, c := p.ends(a, b, &ClientOptions{Session: p.session()})
		early(t, c, "question")
		e := openEarly(t, s)
		got := make([]byte, 64)
		n, err := e.Read(got)
		if err != nil || string(got[:n]) != "question" {
			t.Fatalf("EarlyData.Read: %q, %v", got[:n], err)
		}
		if state := s.ConnectionState(); state.HandshakeComplete || !state.DidResume ||
			state.Version != tls.VersionTLS13 || state.ServerName != "localhost" {
			t.Errorf("before the client's Finished: %+v", state)
		}
		if !s.EarlyDataAccepted() {
			t.Error("EarlyDataAccepted is false")
		}
		wire.hold()
		if n, err := e.Write([]byte("answer")); n != 6 || err != nil {
			t.Fatalf("EarlyData.Write: %d, %v", n, err)
		}
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(got); err != nil || string(got[:n]) != "answer" {
			t.Fatalf("the client's Read: %q, %v", got[:n], err)
		}
		eventually(t, "the client's Finished is on the wire", wire.holds)
		if s.ConnectionState().HandshakeComplete {
			t.Error("the server's handshake is complete without the client's Finished")
		}
		wire.release()
		if n, err := e.Read(got); n != 0 || err != io.EOF {
			t.Errorf("EarlyData.Read at the end: %d, %v, want io.EOF", n, err)
		}
		if err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		if n, err := e.Read(got); n != 0 || err != io.EOF {
			t.Errorf("EarlyData.Read after the handshake: %d, %v, want io.EOF", n, err)
		}
		if n, err := e.Write([]byte("more")); n != 4 || err != nil {
			t.Errorf("EarlyData.Write after the handshake: %d, %v", n, err)
		}
		if _, err := io.ReadFull(c, got[:4]); err != nil || string(got[:4]) != "more" {
			t.Errorf("the client's Read: %q, %v", got[:4], err)
		}
		outcome(t, s, c, true, true)
	})
}

// Each row is a reason to refuse early data. The connection works, resumed or
// not, and the client is told.
func TestEarlyDataRefused(t *testing.T) {
	for _, x := range []struct {
		name    string
		server  func(*Config)
		second  func(*Config) // the server of the second connection
		client  func(*Config) // of the second connection
		store   func(*claims)
		most    int // MaxEarlyData, 0: 1000
		resumed bool
	}{
		{name: "by the hook", server: func(c *Config) {
			c.AllowEarlyData = func(context.Context, sessioncb.Conn) bool { return false }
		}, resumed: true},
		{name: "the hook panics", server: func(c *Config) {
			c.AllowEarlyData = func(context.Context, sessioncb.Conn) bool { panic("in the hook") }
		}, resumed: true},
		{name: "the hook exits", server: func(c *Config) {
			c.AllowEarlyData = func(context.Context, sessioncb.Conn) bool { goexit(); return true }
		}, resumed: true},
		{name: "the hook is late", server: func(c *Config) {
			c.LookupTimeout = 50 * time.Millisecond
			c.AllowEarlyData = func(ctx context.Context, _ sessioncb.Conn) bool { <-ctx.Done(); return true }
		}, resumed: true},
		{name: "the store's copy is a minute older", store: func(h *claims) {
			h.alter = func(b cshim.Session) { b.SSL_SESSION_set_time(b.Snapshot().Time - 60) }
		}, resumed: true},
		{name: "HelloRetryRequest", server: func(c *Config) { c.Groups = "P-256" },
			client: func(c *Config) { c.Groups = "X25519:P-256" }, resumed: true},
		{name: "the store has forgotten", store: func(h *claims) {
			h.store, _ = memoryStore()
		}, resumed: false},
		{name: "the store has another session", store: func(h *claims) {
			h.alter = func(b cshim.Session) { b.SSL_SESSION_set1_id_context([]byte("another")) }
		}, resumed: false},
		{name: "the protocol is another", server: func(c *Config) { c.NextProtos = []string{"a", "b"} },
			second: func(c *Config) { c.NextProtos = []string{"b"} },
			client: func(c *Config) { c.NextProtos = []string{"a", "b"} }, resumed: true},
		{name: "the server keeps less than the session promises",
			second: func(c *Config) { c.MaxEarlyData = 999 }, resumed: true},
		{name: "the server takes none any more",
			second: func(c *Config) { c.MaxEarlyData = 0; c.Tickets = TicketsStateful; c.AllowEarlyData = nil }, resumed: true},
		{name: "the store's session promises none", most: 100, store: func(h *claims) {
			h.alterDER = func(der []byte) []byte {
				return bytes.Replace(der, []byte{0xaf, 3, 2, 1, 100}, []byte{0xaf, 3, 2, 1, 0}, 1)
			}
		}, resumed: true},
		{name: "another cipher suite", client: func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256" },
			server: func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256" }, resumed: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				for _, asked := range []bool{false, true} {
					p := newEarlyPair(t, wrap, func(server, client *Config) {
						server.OnHandlerPanic = func(*HandlerPanicError) {}
						if x.most > 0 {
							server.MaxEarlyData = uint32(x.most)
						}
						client.NextProtos = []string{"a", "b"}
						if x.server != nil {
							x.server(server)
						}
					})
					session := p.session()
					if x.store != nil {
						x.store(p.handlers)
					}
					server, client := p.server, p.client
					if x.second != nil {
						cfg := earlyConfig(p.handlers)
						x.second(&cfg)
						server = newContext(t, cfg)
					}
					if x.client != nil {
						cfg := clientConfig()
						x.client(&cfg)
						client = newContext(t, cfg)
					}
					s, c := pair(t, server, client, &ClientOptions{Session: session}, wrap)
					gets := p.handlers.gets.Load()
					early(t, c, strings.Repeat("x", int(session.MaxEarlyData())))
					if asked {
						done := make(chan error, 1)
						go func() { done <- c.Handshake() }()
						e := openEarly(t, s)
						if n, err := e.Read(make([]byte, 10)); n != 0 || err != io.EOF {
							t.Errorf("EarlyData.Read: %d, %v, want io.EOF", n, err)
						}
						if err := <-done; err != nil {
							t.Fatal(err)
						}
					} else if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
						t.Fatalf("handshake: server %v, client %v", serr, cerr)
					}
					outcome(t, s, c, x.resumed, false)
					if p.handlers.gets.Load() == gets {
						t.Error("the session was not looked up: this row shows nothing")
					}
				}
			})
		})
	}
}

// What the hook did is on the Conn and in the counters.
func TestAllowEarlyData(t *testing.T) {
	var asked atomic.Int32
	for _, x := range []struct {
		name          string
		hook          func(context.Context, sessioncb.Conn) bool
		accepted      bool
		panics, late  uint64
		handlerErrors int
	}{
		{"yes", func(_ context.Context, c sessioncb.Conn) bool {
			return c.IsServer() && c.ServerName() == "localhost" && c.Version() == tls.VersionTLS13 && c.RemoteAddr() != nil
		}, true, 0, 0, 0},
		{"no", func(context.Context, sessioncb.Conn) bool { return false }, false, 0, 0, 0},
		{"panic", func(context.Context, sessioncb.Conn) bool { panic("in the hook") }, false, 1, 0, 1},
		{"Goexit", func(context.Context, sessioncb.Conn) bool { goexit(); return true }, false, 1, 0, 1},
		{"late", func(ctx context.Context, _ sessioncb.Conn) bool { <-ctx.Done(); return true }, false, 0, 1, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			asked.Store(0)
			var reported atomic.Pointer[HandlerPanicError]
			p := newEarlyPair(t, transports[0].wrap, func(cfg, _ *Config) {
				cfg.LookupTimeout = 100 * time.Millisecond
				cfg.AllowEarlyData = func(ctx context.Context, c sessioncb.Conn) bool {
					asked.Add(1)
					return x.hook(ctx, c)
				}
				cfg.OnHandlerPanic = func(e *HandlerPanicError) { reported.Store(e) }
			})
			// Without early data nobody is asked.
			s, c := p.resume()
			if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
				t.Fatal(serr, cerr)
			}
			outcome(t, s, c, true, false)
			if n := asked.Load(); n != 0 {
				t.Errorf("asked %d times without early data", n)
			}
			s, c = p.resume()
			early(t, c, "x")
			if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
				t.Fatal(serr, cerr)
			}
			if x.accepted {
				if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
					t.Error(err)
				}
			}
			outcome(t, s, c, true, x.accepted)
			if n := asked.Load(); n != 1 {
				t.Errorf("asked %d times, want once", n)
			}
			stats := p.server.HandlerStats()
			if stats.Panics != x.panics || stats.Late != x.late || len(s.HandlerErrors()) != x.handlerErrors {
				t.Errorf("%d panics, %d late, errors %v", stats.Panics, stats.Late, s.HandlerErrors())
			}
			if e := reported.Load(); (e != nil) != (x.panics > 0) || e != nil && e.Handler != "AllowEarlyData" {
				t.Errorf("reported: %v", e)
			}
		})
	}
}
