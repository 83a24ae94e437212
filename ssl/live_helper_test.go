package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
)

// liveCache is a Cache of live sessions that watches what goes through it.
type liveCache struct {
	*sessioncb.Cache
	t     testing.TB
	store *livestore.Store
	lives atomic.Int64 // answers with a session
	taken func()       // called when the store took a session, before NewSession returns

	mu   sync.Mutex
	last []byte // the id of the session taken last
}

// newLiveCache closes its store at the test's end, after the contexts that are
// made later, and then no session may be alive that was not before.
func newLiveCache(t testing.TB, o livestore.Options, co sessioncb.CacheOptions) *liveCache {
	t.Helper()
	balanced(t)
	store, err := livestore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cache, err := sessioncb.NewCache(store, co)
	if err != nil {
		t.Fatal(err)
	}
	return &liveCache{Cache: cache, t: t, store: store}
}

// GetSession fails the test when the answer has bytes, which would be decoded.
func (c *liveCache) GetSession(ctx context.Context, conn sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	a, err := c.Cache.GetSession(ctx, conn, id)
	if a.Encoded() != nil {
		c.t.Error("an answer with an encoded session")
	}
	if a.Session() != nil {
		c.lives.Add(1)
	}
	return a, err
}

func (c *liveCache) NewSession(ctx context.Context, conn sessioncb.Conn, s sessioncb.Session) bool {
	keep := c.Cache.NewSession(ctx, conn, s)
	if keep {
		c.mu.Lock()
		c.last = s.ID()
		c.mu.Unlock()
		if c.taken != nil {
			c.taken()
		}
	}
	return keep
}

// newest returns the session that the store took last. It is the store's.
func (c *liveCache) newest() *Session {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.store.GetSession(sessioncb.Key{ID: c.last})
	if err != nil {
		c.t.Fatalf("the newest session: %v", err)
	}
	return s.(*Session)
}

// server makes a Context with the cache, watched.
func (c *liveCache) server(cfg Config) *Context {
	c.t.Helper()
	cfg.SessionCache = c.Cache
	server := newContext(c.t, cfg)
	if err := server.SetSessionCallbacks(sessioncb.Callbacks{New: c, Get: c, Remove: c.Cache}); err != nil {
		c.t.Fatal(err)
	}
	return server
}

// tryVisit is visit for other goroutines than the test's.
func tryVisit(t testing.TB, server, client *Context, session *Session) (resumed bool, err error) {
	s, c := pair(t, server, client, &ClientOptions{Session: session}, nil)
	serverErr, clientErr := handshake(s, c)
	if err = errors.Join(serverErr, clientErr); err == nil {
		err = echo(s, c)
	}
	resumed = s.ConnectionState().DidResume
	s.Close()
	c.Close()
	return resumed, err
}

// clientAs is newClient with certificates.
func clientAs(t testing.TB, version uint16, certificates []Certificate) (*Context, *clientSessions) {
	t.Helper()
	got := &clientSessions{}
	cfg := clientConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	cfg.Certificates = certificates
	cfg.SessionCallbacks.New = got
	c := newContext(t, cfg)
	t.Cleanup(got.close)
	return c, got
}

// identities are what clients show of themselves.
func identities(t testing.TB) []struct {
	name string
	is   []Certificate
} {
	t.Helper()
	ca, err := tls.X509KeyPair(readCert(t, "ca.pem"), readCert(t, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return []struct {
		name string
		is   []Certificate
	}{
		{"anonymous", nil},
		{"leaf", files("client.pem", "client-key.pem")},
		{"chain", []Certificate{under(t, ca, 1)}},
	}
}
