package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// defaultHandshakeTimeout bounds a server's handshake.
const defaultHandshakeTimeout = 10 * time.Second

// ErrContextClosed is what methods of a closed Context report.
var ErrContextClosed = errors.New("ssl: context is closed")

// Context is an SSL_CTX with its Go handlers. It is configured once, by
// NewContext; its methods may be called from any goroutine, and from handlers.
// Its owner must Close it.
type Context struct {
	//lint:ignore U1000 its method closes the interfaces of sessioncb
	mark
	name     string
	sidCtx   []byte
	identity bool // it has a certificate
	trusts   bool // it has CA certificates
	verify   VerifyMode
	cache    *sessioncb.Cache // whose handlers it has, or nil
	getHost  func(*tls.ClientHelloInfo) (*Context, error)
	plan     plan
	derived  bool     // the session id context was not given
	trust    [32]byte // a digest of the verification alone
	hosts    hostTrust
	versions [2]uint16
	timeout  time.Duration
	running  *timeouts
	gated    bool

	maxEarlyData   uint32
	allowEarlyData func(context.Context, sessioncb.Conn) bool

	side *side

	mu     sync.RWMutex // a reader has the SSL_CTX for its call
	closed bool
	born   atomic.Bool // an SSL was made: the C callbacks are fixed
	bits   int
}

var _ sessioncb.Context = (*Context)(nil)

// asksClient says whether a server asks its clients for a certificate.
func (c *Context) asksClient() bool { return c.verify == VerifyPeer || c.verify == VerifyRequired }

// NewContext makes an SSL_CTX (SSL_CTX_new with TLS_method). The configuration
// is checked whole: what contradicts itself is an error here, and never a
// surprise in a handshake. The caller owns the Context.
func NewContext(cfg Config) (*Context, error) {
	if cshim.ErrStart != nil {
		return nil, cshim.ErrStart
	}
	if err := cfg.check(); err != nil {
		return nil, &Error{Op: "new context", Err: err}
	}
	cb := cfg.callbacks()
	c := &Context{
		name: cfg.Name, identity: len(cfg.Certificates) > 0, trusts: cfg.trusts(), verify: cfg.Verify,
		cache: cfg.SessionCache, getHost: cfg.GetConfigForClient, plan: cfg.plan(),
		timeout: cfg.HandshakeTimeout, gated: !cfg.SlowPrivateKey, bits: callbackBits(cb),
		maxEarlyData: cfg.MaxEarlyData, allowEarlyData: cfg.AllowEarlyData,
	}
	if c.timeout == 0 {
		c.timeout = defaultHandshakeTimeout
	}
	c.running = &timeouts{each: c.timeout}
	c.side = newSide(c, cb, newHandlerOptions(cfg.LookupTimeout, cfg.StoreTimeout, cfg.OnHandlerPanic))
	shim, q, ok := cshim.NewContext(c.side)
	if !ok {
		return nil, opError("new context", q)
	}
	c.side.c = shim
	if c.getHost != nil {
		shim.AskHost() // first: groups depend on it
	}
	var err error
	if c.sidCtx, c.trust, err = cfg.apply(shim); err != nil {
		c.Close()
		return nil, err
	}
	shim.SetCallbacks(c.bits)
	c.derived = len(cfg.SessionIDContext) == 0
	c.versions = [2]uint16{max(cfg.MinVersion, tls.VersionTLS12), cfg.MaxVersion}
	return c, nil
}

// errNoCertificate is why a Context is no server's.
var errNoCertificate = errors.New("the Context has no certificate")

// serves says whether c can accept connections: a certificate may come with the
// Context that GetConfigForClient chooses.
func (c *Context) serves() bool { return c.identity || c.getHost != nil }

// Close drops our reference on the SSL_CTX (SSL_CTX_free). Connections that a
// Listener returned go on; the SSL_CTX, and the delivery of removals, end with the
// last of them. A second Close does nothing.
func (c *Context) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	events := c.side.c.Close()
	c.mu.Unlock()
	c.side.after(events)
	c.closeDoors()
	return nil
}

// Wait returns when the Context is closed, its last connection is gone, and
// every removal was delivered; or with ctx's error. It is not for handlers.
func (c *Context) Wait(ctx context.Context) error {
	select {
	case <-c.side.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// with calls f while the SSL_CTX cannot go away.
func (c *Context) with(f func(*cshim.Context) cshim.Events) error {
	c.mu.RLock()
	if c.closed {
		c.mu.RUnlock()
		return ErrContextClosed
	}
	events := f(c.side.c)
	c.mu.RUnlock()
	c.side.after(events)
	return nil
}

// Name returns Config.Name.
func (c *Context) Name() string { return c.name }

// SessionIDContext returns a copy of the session id context in use, given or
// derived: servers that show the same one resume each other's sessions.
func (c *Context) SessionIDContext() []byte { return slices.Clone(c.sidCtx) }

// SessionCallbacks returns the handlers (SSL_CTX_sess_get_new_cb,
// SSL_CTX_sess_get_get_cb, SSL_CTX_sess_get_remove_cb).
func (c *Context) SessionCallbacks() sessioncb.Callbacks { return *c.side.handlers.Load() }

// SetSessionCallbacks replaces the handlers (SSL_CTX_sess_set_new_cb,
// SSL_CTX_sess_set_get_cb, SSL_CTX_sess_set_remove_cb). Until the first
// connection is made a nil field takes the C callback back; from then on the C
// callbacks are fixed, a nil field makes one do nothing, and a handler for one
// that is not registered is an error, as is one that is not for single use with
// MaxEarlyData. Handlers that run go on.
func (c *Context) SetSessionCallbacks(cb sessioncb.Callbacks) error {
	const op = "set session callbacks"
	c.mu.Lock()
	defer c.mu.Unlock()
	bits := callbackBits(cb)
	switch {
	case c.closed:
		return ErrContextClosed
	case c.cache != nil && bits != cshim.New|cshim.Get|cshim.Remove:
		return &Error{Op: op, Err: errors.New("the context was made with a SessionCache, and needs all three handlers")}
	case c.maxEarlyData > 0 && cb.Get != nil && !singleUse(cb.Get):
		return &Error{Op: op, Err: errNotSingleUse}
	case c.born.Load() && bits&^c.bits != 0:
		return &Error{Op: op, Err: errors.New("connections exist, and OpenSSL cannot register a callback safely any more")}
	}
	if !c.born.Load() {
		c.side.c.SetCallbacks(bits)
		c.bits = bits
	}
	c.side.handlers.Store(&cb)
	return nil
}

// AddSession puts a duplicate of s into the internal cache
// (SSL_CTX_add_session). One of the same id is replaced, without a removal. It
// reports false if the session was not added.
func (c *Context) AddSession(s sessioncb.Session) (added bool, err error) {
	return c.cacheOp("add session", s, (*cshim.Context).Add)
}

// RemoveSession takes the session with the id of s out of the internal cache,
// and tells the RemoveHandler, whether it was there or not
// (SSL_CTX_remove_session). It reports whether it was there.
func (c *Context) RemoveSession(s sessioncb.Session) (removed bool, err error) {
	return c.cacheOp("remove session", s, (*cshim.Context).Remove)
}

func (c *Context) cacheOp(op string, s sessioncb.Session, f func(*cshim.Context, cshim.Session) (bool, cshim.Events)) (ok bool, err error) {
	return cacheOp(c.with, op, s, f)
}

func cacheOp(with func(func(*cshim.Context) cshim.Events) error, op string, s sessioncb.Session,
	f func(*cshim.Context, cshim.Session) (bool, cshim.Events)) (ok bool, err error) {
	session, _ := s.(*Session)
	if session == nil {
		return false, &Error{Op: op, Err: errors.New("the session is nil")}
	}
	alive := false
	err = with(func(shim *cshim.Context) (e cshim.Events) {
		alive = session.use(func(b cshim.Session) { ok, e = f(shim, b) })
		return e
	})
	if err == nil && !alive {
		err = sessioncb.ErrSessionClosed
	}
	return ok, err
}

// FlushSessions removes what has expired at t from the internal cache; the
// zero Time removes all (SSL_CTX_flush_sessions).
func (c *Context) FlushSessions(t time.Time) error {
	return c.with(flush(t))
}

func flush(t time.Time) func(*cshim.Context) cshim.Events {
	when := int64(0)
	if !t.IsZero() {
		when = max(t.Unix(), 1)
	}
	return func(shim *cshim.Context) cshim.Events { return shim.Flush(when) }
}

// CacheSize returns the bound of the internal cache (SSL_CTX_sess_get_cache_size);
// 0 is no bound, and the value of a closed Context.
func (c *Context) CacheSize() (n int) {
	c.with(func(shim *cshim.Context) cshim.Events { n = int(shim.CacheSize()); return 0 })
	return n
}

// SetCacheSize bounds the internal cache to n-1 sessions (n = 1: one; 0: no
// bound). What is too much goes with the next session (SSL_CTX_sess_set_cache_size).
func (c *Context) SetCacheSize(n int) error {
	if n < 0 {
		return &Error{Op: "set cache size", Err: fmt.Errorf("%d is negative", n)}
	}
	return c.with(func(shim *cshim.Context) cshim.Events { shim.SetCacheSize(int64(n)); return 0 })
}

// SessionTimeout returns the lifetime of new sessions (SSL_CTX_get_timeout).
func (c *Context) SessionTimeout() (d time.Duration) {
	c.with(func(shim *cshim.Context) cshim.Events {
		d = time.Duration(shim.Timeout()) * time.Second
		return 0
	})
	return d
}

// SetSessionTimeout sets the lifetime of new sessions, 1 s to a year in whole
// seconds, and no more than Config.MaxResumptionAge (SSL_CTX_set_timeout).
func (c *Context) SetSessionTimeout(d time.Duration) error {
	if d < time.Second || d%time.Second != 0 || d > 366*24*time.Hour {
		return &Error{Op: "set session timeout", Err: fmt.Errorf("%v is not 1 s to a year in whole seconds", d)}
	}
	if age := c.plan.maxAge; age > 0 && d > age {
		return &Error{Op: "set session timeout", Err: fmt.Errorf("%v is longer than MaxResumptionAge of %v", d, age)}
	}
	return c.with(func(shim *cshim.Context) cshim.Events { shim.SetTimeout(int64(d / time.Second)); return 0 })
}

// Stats are the twelve counters of an SSL_CTX (SSL_CTX_sess_number(3)).
type Stats struct {
	Number             int64 // sessions in the internal cache
	Connect            int64 // client handshakes begun
	ConnectGood        int64 // and finished
	ConnectRenegotiate int64
	Accept             int64 // server handshakes begun
	AcceptGood         int64 // and finished
	AcceptRenegotiate  int64
	Hits               int64 // resumptions
	CallbackHits       int64 // sessions found by the Get callback
	Misses             int64 // sessions offered and not found
	Timeouts           int64 // found and expired
	CacheFull          int64 // evicted
}

// Stats reads all twelve at once; zeros for a closed Context.
func (c *Context) Stats() (s Stats) {
	c.with(func(shim *cshim.Context) cshim.Events { s = Stats(shim.Stats()); return 0 })
	return s
}

// HandlerStats counts what the binding did about the handlers of a context.
type HandlerStats struct {
	Panics     uint64 // panics and Goexits contained
	Errors     uint64 // errors of Get handlers, panics included
	Late       uint64 // handlers that did not return in time
	TurnedAway uint64 // calls over AttachOptions.MaxHandlers
	// Answers of Get handlers that were not given to libssl, by cause; each
	// was a miss.
	Malformed, WrongID, WrongContext, WrongVersion, Expired, NotResumable,
	NoCipher, CipherNotOffered, MasterSecretMissing, NoPeerCertificate uint64
}

// HandlerStats reads the counters; zeros for a closed Context.
func (c *Context) HandlerStats() (s HandlerStats) {
	c.with(func(shim *cshim.Context) cshim.Events { s = c.side.stats(); return 0 })
	return s
}

func (s *side) stats() HandlerStats {
	r := s.c.Refused()
	n := &s.counts
	return HandlerStats{n.panics.Load(), n.errors.Load(), n.late.Load(), n.turnedAway.Load(), r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10]}
}
