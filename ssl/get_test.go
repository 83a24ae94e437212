package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
)

// Whatever a GetHandler does, the handshake succeeds, and no reference is left
// or lost: with and without the internal cache, over both transports.
func TestGet(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		blank := blankSession(t)
		for _, c := range getCases(version, blank) {
			for _, mode := range []struct {
				name string
				mode CacheMode
			}{{"external", CacheExternal}, {"internal", CacheExternalLookup}} {
				t.Run(c.name+"/"+mode.name, func(t *testing.T) {
					balanced(t)
					ownGet(t, version, c, mode.mode, wrap)
				})
			}
		}
	})
}

func ownGet(t *testing.T, version uint16, c getCase, mode CacheMode, wrap func(net.Conn) net.Conn) {
	k := newKeeper(t)
	var panics atomic.Uint64
	cfg := serverConfig()
	cfg.Tickets = TicketsStateful
	cfg.NumTickets = 1
	cfg.SessionCacheMode = mode
	cfg.LookupTimeout = c.lookup
	cfg.SessionCallbacks = sessioncb.Callbacks{New: k, Get: k}
	cfg.OnHandlerPanic = func(e *HandlerPanicError) { panics.Add(1) }
	server := newContext(t, cfg)
	client, got := newClient(t, version)
	s, conn := connect(t, server, client, nil, wrap)
	exchange(t, s, conn)
	s.Close()
	conn.Close()

	k.play(c)
	for i := range 2 {
		s, conn = connect(t, server, client, &ClientOptions{Session: got.last(t)}, wrap)
		exchange(t, s, conn)
		if resumed := s.ConnectionState().DidResume; resumed != c.resumed {
			t.Errorf("round %d: resumed is %v, want %v: %+v %v", i, resumed, c.resumed, server.HandlerStats(), s.HandlerErrors())
		}
		errs := s.HandlerErrors()
		var panicked *HandlerPanicError
		switch {
		case c.reported == nil && len(errs) != 0:
			t.Errorf("errors kept on the Conn: %v, want none", errs)
		case c.reported == nil:
		case len(errs) != 1:
			t.Errorf("errors kept on the Conn: %v, want one", errs)
		case !errors.Is(errs[0], c.reported) && !errors.As(errs[0], &panicked):
			t.Errorf("the error kept on the Conn is %v, want %v", errs[0], c.reported)
		}
		if i == 0 {
			if d := cmp.Diff(c.stats, server.HandlerStats()); d != "" {
				t.Errorf("handler stats (-want +got):\n%s", d)
			}
			if panics.Load() != c.stats.Panics {
				t.Errorf("OnHandlerPanic was called %d times, want %d", panics.Load(), c.stats.Panics)
			}
		}
		s.Close()
		conn.Close()
	}
	if n := k.lookups(); n != 2 {
		t.Errorf("the handler was asked %d times, want 2", n)
	}
	hits := int64(0)
	if c.resumed {
		hits = 2
	}
	if n := server.Stats().CallbackHits; n != hits {
		t.Errorf("SSL_CTX_sess_cb_hits is %d, want %d", n, hits)
	}
	k.finish()
}

// With HelloRetryRequest libssl asks twice for one id. The handler is asked
// once, and the answer serves both.
func TestGetHelloRetryRequest(t *testing.T) {
	for _, how := range []struct {
		name   string
		answer func(k *keeper, id []byte) sessioncb.Answer
	}{
		{"encoded", func(k *keeper, id []byte) sessioncb.Answer { return sessioncb.DER(marshal(t, k.session(t, id))) }},
		{"live", func(k *keeper, id []byte) sessioncb.Answer { return sessioncb.Live(k.session(t, id)) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			balanced(t)
			k := newKeeper(t)
			cfg := serverConfig()
			cfg.Tickets = TicketsStateful
			cfg.NumTickets = 1
			cfg.SessionCacheMode = CacheExternal
			cfg.SessionCallbacks = sessioncb.Callbacks{New: k, Get: k}
			cfg.Groups = "X25519"
			server := newContext(t, cfg)
			got := &clientSessions{}
			t.Cleanup(got.close)
			ccfg := clientConfig()
			ccfg.MinVersion = tls.VersionTLS13
			ccfg.Groups = "P-256:X25519" // sends a share for the first only
			ccfg.SessionCallbacks.New = got
			client := newContext(t, ccfg)
			s, c := connect(t, server, client, nil, nil)
			exchange(t, s, c)
			s.Close()
			c.Close()
			k.play(getCase{answer: func(_ testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
				return how.answer(k, id), nil
			}})
			s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
			exchange(t, s, c)
			if !s.ConnectionState().DidResume {
				t.Error("not resumed")
			}
			if n := k.lookups(); n != 1 {
				t.Errorf("the handler was asked %d times, want 1", n)
			}
			if n := server.Stats().CallbackHits; n < 1 {
				t.Errorf("SSL_CTX_sess_cb_hits is %d", n)
			}
			s.Close()
			c.Close()
		})
	}
}

// The handler sees the connection that asks.
func TestGetSeesTheConn(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		st := newStore()
		cfg := serverConfig()
		cfg.Name = "front"
		cfg.Tickets = TicketsStateful
		cfg.SessionCacheMode = CacheExternal
		cfg.SessionCallbacks = st.callbacks()
		seen := make(chan string, 1)
		cfg.SessionCallbacks.Get = sessioncb.GetHandlerFunc(func(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			if !c.IsServer() || c.RemoteAddr() == nil || len(c.SessionIDContext()) != 32 || len(id) != 32 {
				t.Errorf("the Conn: server %v, from %v, context %x, id %x", c.IsServer(), c.RemoteAddr(), c.SessionIDContext(), id)
			}
			seen <- c.ServerName() + " at " + c.Context().Name()
			return st.GetSession(ctx, c, id)
		})
		server := newContext(t, cfg)
		client, got := newClient(t, version)
		s, c := connect(t, server, client, nil, nil)
		exchange(t, s, c)
		s.Close()
		c.Close()
		s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
		if who := <-seen; who != "localhost at front" {
			t.Errorf("the handler saw %q", who)
		}
		s.Close()
		c.Close()
	})
}

// A client that offers nothing costs no lookup, and one that may speak TLS 1.3
// costs one only on a server that does not.
func TestLookupsThatAreMade(t *testing.T) {
	for _, row := range []struct {
		name             string
		serverMax        uint16
		tickets          TicketMode
		clientMin        uint16
		clientMax        uint16
		offer            bool
		lookups, resumed int
	}{
		{"fresh, 1.2", 0, TicketsStateful, 0x303, 0x303, false, 0, 0},
		{"fresh, 1.3", 0, TicketsStateful, 0x303, 0x304, false, 0, 0},
		{"fresh 1.3 client, 1.2 server: its compatibility id", 0x303, TicketsStateful, 0x303, 0x304, false, 1, 0},
		{"1.2 session id", 0, TicketsStateful, 0x303, 0x303, true, 1, 1},
		{"1.3 stateful ticket", 0, TicketsStateful, 0x304, 0x304, true, 1, 1},
		{"1.2 ticket", 0, TicketsStateless, 0x303, 0x303, true, 0, 1},
		{"1.3 stateless ticket", 0, TicketsStateless, 0x304, 0x304, true, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newStore()
			cfg := serverConfig()
			cfg.MaxVersion = row.serverMax
			cfg.Tickets = row.tickets
			cfg.SessionCacheMode = CacheExternal
			cfg.SessionCallbacks = st.callbacks()
			server := newContext(t, cfg)
			got := &clientSessions{}
			t.Cleanup(got.close)
			ccfg := clientConfig()
			ccfg.MinVersion, ccfg.MaxVersion = row.clientMin, row.clientMax
			ccfg.SessionCallbacks.New = got
			client := newContext(t, ccfg)
			var offer *Session
			if row.offer {
				s, c := connect(t, server, client, nil, nil)
				exchange(t, s, c)
				s.Close()
				c.Close()
				offer = got.last(t)
			}
			s, c := connect(t, server, client, &ClientOptions{Session: offer}, nil)
			exchange(t, s, c)
			if _, gets, _ := st.counts(); gets != row.lookups {
				t.Errorf("%d lookups, want %d", gets, row.lookups)
			}
			if resumed := s.ConnectionState().DidResume; resumed != (row.resumed == 1) {
				t.Errorf("resumed is %v", resumed)
			}
			s.Close()
			c.Close()
		})
	}
}
