package ssl

import (
	"net"
	"testing"
)

// A session stored by one context is found by another, by the Get handler and
// by no other way: neither has an internal cache or a ticket key in common.
func TestResumeFromStore(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		st := newStore()
		cfg := serverConfig()
		cfg.SessionCallbacks = st.callbacks()
		cfg.SessionCacheMode = CacheExternal
		cfg.Tickets = TicketsStateful
		cfg.NumTickets = 1
		a, b := newContext(t, cfg), newContext(t, cfg)
		client, got := newClient(t, version)

		s, c := connect(t, a, client, nil, wrap)
		exchange(t, s, c)
		if c.ConnectionState().DidResume || s.ConnectionState().DidResume {
			t.Fatal("the first handshake resumed")
		}
		s.Close()
		c.Close()

		s, c = connect(t, b, client, &ClientOptions{Session: got.last(t)}, wrap)
		exchange(t, s, c)
		if !c.ConnectionState().DidResume || !s.ConnectionState().DidResume {
			t.Fatalf("the second handshake did not resume: %+v %v", b.HandlerStats(), s.HandlerErrors())
		}
		news, gets, hits := st.counts()
		if gets != 1 || hits != 1 {
			t.Errorf("the store was asked %d times and had it %d times, want 1 and 1", gets, hits)
		}
		if want := map[uint16]int{0x0303: 1, 0x0304: 2}[version]; news != want {
			t.Errorf("%d sessions were announced, want %d", news, want)
		}
		if n := b.Stats().CallbackHits; n != 1 {
			t.Errorf("SSL_CTX_sess_cb_hits is %d, want 1", n)
		}
	})
}
