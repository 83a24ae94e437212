package ssl

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
)

// Each row contradicts early data; a row without words is a good configuration.
func TestEarlyDataConfig(t *testing.T) {
	allow := func(context.Context, sessioncb.Conn) bool { return true }
	for _, x := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"as it is", func(*Config) {}, nil},
		{"the most", func(c *Config) { c.MaxEarlyData = 1 << 20 }, nil},
		{"a hook", func(c *Config) { c.AllowEarlyData = allow }, nil},
		{"what is implied, said", func(c *Config) { c.Tickets, c.SessionCacheMode = TicketsStateful, CacheExternal }, nil},
		{"TLS 1.3 alone", func(c *Config) { c.MinVersion = tls.VersionTLS13 }, nil},
		{"two tickets", func(c *Config) { c.NumTickets = 2 }, nil},
		{"more than a connection may keep", func(c *Config) { c.MaxEarlyData = 1<<20 + 1 }, []string{"MaxEarlyData of 1048577", "1048576"}},
		{"all bits", func(c *Config) { c.MaxEarlyData = 1<<32 - 1 }, []string{"MaxEarlyData of 4294967295"}},
		{"a client", func(c *Config) { c.Certificates = nil }, []string{"MaxEarlyData", "no certificate"}},
		{"TLS 1.2", func(c *Config) { c.MaxVersion = tls.VersionTLS12 }, []string{"MaxEarlyData", "MaxVersion is TLS 1.2"}},
		{"stateless tickets", func(c *Config) { c.Tickets = TicketsStateless }, []string{"MaxEarlyData implies TicketsStateful"}},
		{"no cache", func(c *Config) { c.SessionCacheMode, c.SessionCallbacks.New = CacheOff, nil }, []string{"MaxEarlyData implies CacheExternal"}},
		{"the internal cache", func(c *Config) { c.SessionCacheMode = CacheInternal }, []string{"MaxEarlyData implies CacheExternal"}},
		{"the internal cache beside", func(c *Config) { c.SessionCacheMode = CacheExternalLookup }, []string{"MaxEarlyData implies CacheExternal"}},
		{"a size of the internal cache", func(c *Config) { c.SessionCacheSize = 10 }, []string{"MaxEarlyData", "SessionCacheSize"}},
		{"no tickets", func(c *Config) { c.NumTickets = -1 }, []string{"MaxEarlyData needs tickets", "NumTickets"}},
		{"no Get handler", func(c *Config) { c.SessionCallbacks.Get = nil }, []string{"MaxEarlyData", "SingleUser"}},
		{"a Get handler that does not claim", func(c *Config) { c.SessionCallbacks.Get = aGet }, []string{"MaxEarlyData", "SingleUser", "replayed"}},
		{"a Get handler that says it does not", func(c *Config) {
			c.SessionCallbacks.Get.(*claims).shared = true
		}, []string{"MaxEarlyData", "SingleUser"}},
		{"a cache that does not claim", func(c *Config) {
			c.SessionCallbacks, c.SessionCache, c.NumTickets = sessioncb.Callbacks{}, anyCache(t), 0
		}, []string{"MaxEarlyData", "SingleUser"}},
		{"a hook and no early data", func(c *Config) { c.MaxEarlyData, c.AllowEarlyData = 0, allow }, []string{"AllowEarlyData", "MaxEarlyData is 0"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			noLeaks(t)
			cfg := earlyConfig(newClaims(t))
			x.change(&cfg)
			c, err := NewContext(cfg)
			if x.want != nil {
				saysWhy(t, err, append(x.want, "ssl: new context")...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
}

// The rule holds on a live context too.
func TestSetSessionCallbacksWithEarlyData(t *testing.T) {
	p := newEarlyPair(t, transports[0].wrap, nil)
	other := newClaims(t)
	other.store = p.handlers.store
	shared := newClaims(t)
	shared.shared = true
	for _, when := range []string{"before the first connection", "after it"} {
		for _, x := range []struct {
			name string
			get  sessioncb.GetHandler
			ok   bool
		}{
			{"one that claims", other, true},
			{"one that does not claim", aGet, false},
			{"one that says it does not", shared, false},
			{"none, which finds nothing", nil, true},
			{"the first", p.handlers, true},
		} {
			err := p.server.SetSessionCallbacks(sessioncb.Callbacks{New: p.handlers, Get: x.get})
			if x.ok && err != nil {
				t.Errorf("%s, %s: %v", when, x.name, err)
			}
			if !x.ok {
				saysWhy(t, err, "ssl: set session callbacks", "SingleUser")
			}
		}
		s, c := p.resume()
		early(t, c, "x")
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		outcomeRead(t, s, c, "x")
	}
}

func outcomeRead(t *testing.T, s, c *Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := s.Read(b); err != nil || string(b[:n]) != want {
		t.Errorf("read %q, %v, want %q", b[:n], err, want)
	}
	outcome(t, s, c, true, true)
}

// Nothing is kept in libssl's own cache, which another node would not see.
func TestEarlyDataLeavesTheInternalCacheEmpty(t *testing.T) {
	p := newEarlyPair(t, transports[0].wrap, nil)
	s, c := p.resume()
	early(t, c, "x")
	if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	outcomeRead(t, s, c, "x")
	if stats := p.server.Stats(); stats.Number != 0 || stats.CallbackHits != 1 {
		t.Errorf("%d sessions in the internal cache, %d found by the callback, want 0 and 1", stats.Number, stats.CallbackHits)
	}
}
