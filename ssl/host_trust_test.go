package ssl

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
)

// One id context for two hosts, which a user can set, must not lead a client of
// the one around the verification of the other. Such hosts are refused, whichever
// comes first; hosts that verify alike may share one.
func TestHostsOfOneContext(t *testing.T) {
	shared := func(cfg Config) Config {
		cfg.SessionIDContext = []byte("one for all")
		return cfg
	}
	required := func(ca string) Config {
		cfg := serverConfig()
		cfg.CAFile, cfg.Verify = cert(ca), VerifyRequired
		return shared(cfg)
	}
	labelled := shared(serverConfig())
	labelled.Name, labelled.TrustEpoch = "other", 3
	for _, x := range []struct {
		name        string
		front, host Config
		allowed     bool
	}{
		{"anonymous and required", shared(serverConfig()), required("ca.pem"), false},
		{"two CAs", required("ca.pem"), required("ca2.pem"), false},
		{"another name and epoch", shared(serverConfig()), labelled, true},
		{"alike", required("ca.pem"), required("ca.pem"), true},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				server := hosts(t, x.front, newContext(t, x.host))
				got := &clientSessions{}
				defer got.close()
				client := newContext(t, Config{Verify: VerifyNone, MinVersion: version, MaxVersion: version,
					Certificates: files("client.pem", "client-key.pem"), SessionCallbacks: sessioncb.Callbacks{New: got}})
				s, c := connect(t, server, client, &ClientOptions{ServerName: "front.example"}, nil)
				exchange(t, s, c)
				s, c = pair(t, server, client, &ClientOptions{ServerName: "host.example", Session: got.last(t)}, nil)
				serr, _ := handshake(s, c)
				if !x.allowed {
					saysWhy(t, serr, "GetConfigForClient", "one SessionIDContext")
				} else if serr != nil {
					t.Error(serr)
				}
			})
		})
	}
	// Two hosts behind a front that has a context of its own.
	a, b := newContext(t, required("ca.pem")), newContext(t, required("ca2.pem"))
	cfg := serverConfig()
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*Context, error) {
		return map[string]*Context{"a.example": a, "b.example": b}[h.ServerName], nil
	}
	server := newContext(t, cfg)
	client := newContext(t, Config{Verify: VerifyNone, Certificates: files("client.pem", "client-key.pem")})
	s, c := connect(t, server, client, &ClientOptions{ServerName: "a.example"}, nil)
	exchange(t, s, c)
	s, c = pair(t, server, client, &ClientOptions{ServerName: "b.example"}, nil)
	serr, _ := handshake(s, c)
	saysWhy(t, serr, "one SessionIDContext")
}

// A session without a certificate that a program puts into the internal cache of
// a Context that requires one: libssl resumes it, and the connection is ended.
func TestNoCertificateNoResumption(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		noLeaks(t)
		st := newStore()
		open, mtls := serverConfig(), mutual()
		open.SessionIDContext, mtls.SessionIDContext = []byte("one"), []byte("one")
		open.SessionCallbacks = st.callbacks()
		open.Tickets, open.SessionCacheMode, open.NumTickets = TicketsStateful, CacheExternal, 1
		mtls.Verify, mtls.Tickets = VerifyRequired, TicketsStateful
		a, b := newContext(t, open), newContext(t, mtls)
		client, got := newClient(t, version)
		s, c := connect(t, a, client, nil, wrap)
		exchange(t, s, c)
		session := st.only(t)
		if added, err := b.AddSession(session); !added || err != nil {
			t.Fatal(added, err)
		}
		s, c = pair(t, b, client, &ClientOptions{Session: got.last(t)}, wrap)
		serr, _ := handshake(s, c)
		saysWhy(t, serr, "peer did not return a certificate")
		if hits := b.Stats().Hits; hits != 1 {
			t.Errorf("libssl resumed %d sessions, want 1: the test shows nothing", hits)
		}
		if s.ConnectionState().HandshakeComplete {
			t.Error("the connection is established")
		}
	})
}

// Sessions of one host are not resumed on another, in either order, and are on
// their own: all behind one listener and one store.
func TestResumeAcrossHosts(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		cache := newMemoryCache(t)
		make := func(name string) *Context {
			cfg := serverConfig()
			cfg.SessionCache, cfg.Name = cache, name
			return newContext(t, cfg)
		}
		byName := map[string]*Context{"a.localhost": make("a"), "b.localhost": make("b")}
		cfg := serverConfig()
		cfg.SessionCache = cache
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*Context, error) { return byName[h.ServerName], nil }
		front := newContext(t, cfg)
		got := &clientSessions{}
		defer got.close()
		client := newContext(t, Config{Verify: VerifyNone, MinVersion: version, MaxVersion: version,
			SessionCallbacks: sessioncb.Callbacks{New: got}})
		for _, from := range []string{"localhost", "a.localhost", "b.localhost"} {
			s, c := connect(t, front, client, &ClientOptions{ServerName: from}, wrap)
			exchange(t, s, c)
			s.Close()
			c.Close()
			session := got.last(t)
			for _, to := range []string{"localhost", "a.localhost", "b.localhost"} {
				before := cache.Stats().Lookups
				s, c := connect(t, front, client, &ClientOptions{ServerName: to, Session: session}, wrap)
				exchange(t, s, c)
				if resumed := s.ConnectionState().DidResume; resumed != (from == to) {
					t.Errorf("a session of %s resumed on %s: %v", from, to, resumed)
				}
				after := cache.Stats().Lookups
				if other := after.OtherContext - before.OtherContext; (other == 1) != (from != to) {
					t.Errorf("from %s to %s: %d lookups found a session of another context", from, to, other)
				}
				s.Close()
				c.Close()
			}
		}
	})
}
