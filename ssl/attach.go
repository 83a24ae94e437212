package ssl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// Existing says what Attach does about C callbacks that are set already.
type Existing int

const (
	// RefuseExisting: Attach fails and changes nothing.
	RefuseExisting Existing = cshim.Refuse
	// ChainExisting: the C callback is called too: for a new session and for a
	// removal after the Go handler was told, for a lookup when the Go handler has
	// no session.
	ChainExisting Existing = cshim.Chain
	// ReplaceExisting: the C callback is not called, unless a handler does so
	// through the Attachment.
	ReplaceExisting Existing = cshim.Replace
)

// AttachOptions are the bounds of an Attachment; nil means the zero value.
type AttachOptions struct {
	// Name is what handlers see as Context.Name.
	Name     string
	Existing Existing
	// Exclusive is the caller's promise that no SSL of the SSL_CTX is alive and
	// no call on it runs when the Attachment is closed. Close then restores the C callbacks;
	// without it they stay in place and pass to the earlier ones.
	Exclusive bool
	// MaxHandlers bounds how many New- and GetHandlers are waited for at once.
	// Each holds a thread of the C program; a lookup too many is a miss, and a
	// new session too many is not announced. 0 is 64. A handler past its time
	// limit is not waited for, and does not count.
	MaxHandlers int
	// LookupTimeout bounds a GetHandler, StoreTimeout a New- or RemoveHandler;
	// 0 is 2 s each.
	LookupTimeout, StoreTimeout time.Duration
	// OnHandlerPanic is told of each panic or Goexit of a handler; nil logs it with slog.
	OnHandlerPanic func(*HandlerPanicError)
}

// Attachment is Go handlers on an SSL_CTX that C code made and drives. The C
// program's threads wait in OpenSSL while a New- or GetHandler runs, on a
// goroutine of its own; a RemoveHandler runs later, with no lock of OpenSSL
// held. OpenSSL behaves as the C program configured it; in particular a peer
// that just disappears removes its session, with the reason Faulty, unless
// SSL_OP_IGNORE_UNEXPECTED_EOF is set.
//
// The reason of a removal is less sure here: it is Faulty if the thread's error
// queue ends with an error of libssl, else Unknown, and Removal.HandshakeDone is
// never set. A C program that leaves its queue dirty makes other removals look
// Faulty.
type Attachment struct {
	//lint:ignore U1000 its method closes the interfaces of sessioncb
	mark
	name      string
	side      *side
	exclusive bool

	mu     sync.RWMutex
	closed bool
}

var _ sessioncb.Context = (*Attachment)(nil)

// ErrAttachmentClosed is what methods of a closed Attachment report.
var ErrAttachmentClosed = errors.New("ssl: attachment is closed")

// Attach registers cb on sslCtx, an SSL_CTX * (SSL_CTX_sess_set_new_cb,
// SSL_CTX_sess_set_get_cb, SSL_CTX_sess_set_remove_cb), and keeps a reference
// of its own on it until Close. A nil handler leaves the C callback alone.
//
// It must be called before the first SSL_new on sslCtx: OpenSSL reads the
// callbacks without a lock, and Attach cannot tell. A second Attach, or one on
// a Context of this package, is an error, as is one beyond 64 attached SSL_CTXs
// that are alive. The calling thread's error queue
// stays as it was.
func Attach(sslCtx unsafe.Pointer, cb sessioncb.Callbacks, o *AttachOptions) (*Attachment, error) {
	const op = "attach"
	if o == nil {
		o = &AttachOptions{}
	}
	bits := callbackBits(cb)
	fail := func(format string, args ...any) (*Attachment, error) {
		return nil, &Error{Op: op, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case cshim.ErrStart != nil:
		return nil, cshim.ErrStart
	case sslCtx == nil:
		return fail("the SSL_CTX is NULL")
	case bits == 0:
		return fail("no handler is given")
	case o.Existing < RefuseExisting || o.Existing > ReplaceExisting:
		return fail("Existing: unknown mode %d", o.Existing)
	case o.MaxHandlers < 0:
		return fail("MaxHandlers is negative: %d", o.MaxHandlers)
	case o.LookupTimeout < 0 || o.StoreTimeout < 0:
		return fail("LookupTimeout or StoreTimeout is negative")
	}
	a := &Attachment{name: o.Name, exclusive: o.Exclusive}
	a.side = newSide(a, cb, newHandlerOptions(o.LookupTimeout, o.StoreTimeout, o.OnHandlerPanic))
	a.side.foreign = newForeignCalls(o.MaxHandlers)
	code, which := cshim.Attach(sslCtx, bits, int(o.Existing), func(shim *cshim.Context) cshim.Side {
		a.side.c = shim
		return a.side
	})
	switch {
	case code == 1:
	case code == cshim.AttachOurs:
		return fail("the SSL_CTX is that of a Context")
	case code == cshim.AttachTaken && which == 0:
		return fail("the SSL_CTX has an attachment already")
	case code == cshim.AttachTaken:
		return fail("the SSL_CTX has C callbacks already: %s; say what to do about them with AttachOptions.Existing", bitNames(which))
	case code == cshim.AttachCopied:
		return fail("the C callbacks of the SSL_CTX are those of another attachment; they were copied, and cannot be called for this one")
	case code == cshim.AttachFull:
		return fail("%d SSL_CTXs are attached and alive, which is the most", cshim.MostAttached)
	default:
		return fail("out of memory")
	}
	return a, nil
}

func bitNames(bits int) string {
	var names []string
	for _, x := range []struct {
		bit  int
		name string
	}{{cshim.New, "new"}, {cshim.Get, "get"}, {cshim.Remove, "remove"}} {
		if bits&x.bit != 0 {
			names = append(names, x.name)
		}
	}
	return strings.Join(names, ", ")
}

// Close ends the calls of handlers and waits for those that run, within their
// time limits, so it is not for handlers. The C callbacks of OpenSSL are not touched, since connections
// may be alive: from now on they pass straight to the earlier ones. With
// AttachOptions.Exclusive the earlier ones are set again. A second Close does
// nothing.
func (a *Attachment) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.closed = true
	a.mu.Unlock()
	a.side.c.Pass() // first, so that no call is lost between Go and the C callbacks
	a.side.foreign.close()
	a.side.after(a.side.c.Detach(a.exclusive))
	a.side.settle()
	// A thread that was inside remove_session_cb may still add one, which the
	// earlier C callback was told of too.
	a.side.muted.Store(true)
	a.side.settle()
	return nil
}

// Wait returns when the Attachment is closed and its SSL_CTX is gone (or
// restored), or with ctx's error. It is not for handlers.
func (a *Attachment) Wait(ctx context.Context) error {
	select {
	case <-a.side.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Attachment) with(f func(*cshim.Context) cshim.Events) error {
	a.mu.RLock()
	if a.closed {
		a.mu.RUnlock()
		return ErrAttachmentClosed
	}
	events := f(a.side.c)
	a.mu.RUnlock()
	a.side.after(events)
	return nil
}

// Name returns AttachOptions.Name.
func (a *Attachment) Name() string { return a.name }

// AddSession is [Context.AddSession].
func (a *Attachment) AddSession(s sessioncb.Session) (bool, error) {
	return cacheOp(a.with, "add session", s, (*cshim.Context).Add)
}

// RemoveSession is [Context.RemoveSession].
func (a *Attachment) RemoveSession(s sessioncb.Session) (bool, error) {
	return cacheOp(a.with, "remove session", s, (*cshim.Context).Remove)
}

// FlushSessions is [Context.FlushSessions].
func (a *Attachment) FlushSessions(t time.Time) error { return a.with(flush(t)) }

// Stats is [Context.Stats].
func (a *Attachment) Stats() (s Stats) {
	a.with(func(shim *cshim.Context) cshim.Events { s = Stats(shim.Stats()); return 0 })
	return s
}

// HandlerStats is [Context.HandlerStats].
func (a *Attachment) HandlerStats() (s HandlerStats) {
	a.with(func(shim *cshim.Context) cshim.Events { s = a.side.stats(); return 0 })
	return s
}

// SessionCallbacks returns the handlers.
func (a *Attachment) SessionCallbacks() sessioncb.Callbacks { return *a.side.handlers.Load() }

// SetSessionCallbacks replaces the handlers. The C callbacks are fixed: a nil
// field makes one do nothing, and a handler for one that Attach did not
// register is an error.
func (a *Attachment) SetSessionCallbacks(cb sessioncb.Callbacks) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrAttachmentClosed
	}
	if extra := callbackBits(cb) &^ a.side.c.Bits(); extra != 0 {
		return &Error{Op: "set session callbacks",
			Err: errors.New("Attach did not register: " + bitNames(extra))}
	}
	a.side.handlers.Store(&cb)
	return nil
}

// CPointers are C function pointers, 0 where none is set.
type CPointers struct{ New, Get, Remove uintptr }

// Prior returns the C callbacks that were there before Attach
// (SSL_CTX_sess_get_new_cb, SSL_CTX_sess_get_get_cb, SSL_CTX_sess_get_remove_cb).
// PriorNew, PriorGet and PriorRemove call them.
func (a *Attachment) Prior() (p CPointers) {
	a.with(func(shim *cshim.Context) cshim.Events {
		p.New, p.Get, p.Remove = shim.Prior()
		return 0
	})
	return p
}

// PriorNew calls the C new_session_cb that was there before, for a handler
// that chains to it under ReplaceExisting. c and s are those of the handler's
// call, and the call is on the handler's thread. It reports whether the C
// callback kept a reference, which is its own.
func (a *Attachment) PriorNew(c sessioncb.Conn, s sessioncb.Session) (kept bool, err error) {
	err = a.prior("prior new", c, func(shim *cshim.Context, f cshim.Foreign) error {
		if session, ok := s.(*Session); !ok || !session.use(func(b cshim.Session) { kept = shim.PriorNew(f, b) }) {
			return sessioncb.ErrSessionClosed
		}
		return nil
	})
	return kept, err
}

// PriorGet calls the C get_session_cb that was there before; see PriorNew. It
// returns nil for a miss; the caller owns the Session, and may answer with
// Live and Close it in a later call, or answer with its encoding.
func (a *Attachment) PriorGet(c sessioncb.Conn, id []byte) (s *Session, err error) {
	err = a.prior("prior get", c, func(shim *cshim.Context, f cshim.Foreign) error {
		if len(id) == 0 || len(id) > 32 {
			return fmt.Errorf("a session id has 1 to 32 bytes, not %d", len(id))
		}
		if b := shim.PriorGet(f, id); !b.IsZero() {
			s = own(b)
		}
		return nil
	})
	return s, err
}

// PriorRemove calls the C remove_session_cb that was there before, for a
// RemoveHandler that chains to it under ReplaceExisting. No lock of OpenSSL is
// held, other than when OpenSSL calls it.
func (a *Attachment) PriorRemove(s sessioncb.Session) error {
	alive := false
	err := a.with(func(shim *cshim.Context) cshim.Events {
		if session, ok := s.(*Session); ok {
			alive = session.use(func(b cshim.Session) { shim.PriorRemove(b) })
		}
		return 0
	})
	if err == nil && !alive {
		err = sessioncb.ErrSessionClosed
	}
	return err
}

func (a *Attachment) prior(op string, c sessioncb.Conn, f func(*cshim.Context, cshim.Foreign) error) error {
	view, _ := c.(*foreignConn)
	if view == nil || view.owner != a {
		return &Error{Op: op, Err: errors.New("the Conn is not that of a handler's call of this attachment")}
	}
	view.mu.Lock()
	defer view.mu.Unlock()
	if !view.alive {
		return &Error{Op: op, Err: errors.New("the handler's call is over")}
	}
	// The SSL_CTX is alive: its SSL waits for the handler, as Close does.
	if err := f(a.side.c, view.ssl); err != nil {
		return &Error{Op: op, Err: err}
	}
	return nil
}

// SessionIDContext is unknown for an SSL_CTX of C code: OpenSSL compares it.
func (c *foreignConn) SessionIDContext() []byte { return nil }

// foreignConn is an SSL that C code drives, while its thread waits in a
// callback; dead after it.
type foreignConn struct {
	//lint:ignore U1000 its method closes the interfaces of sessioncb
	mark
	owner *Attachment

	mu    sync.Mutex
	alive bool
	ssl   cshim.Foreign
}

func (c *foreignConn) Context() sessioncb.Context { return c.owner }
func (c *foreignConn) RemoteAddr() net.Addr       { return nil }

func (c *foreignConn) IsServer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alive && c.ssl.IsServer()
}

func (c *foreignConn) ServerName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.alive {
		return ""
	}
	return c.ssl.ServerName()
}

func (c *foreignConn) Version() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.alive {
		return 0
	}
	return c.ssl.Version()
}

func (c *foreignConn) die() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = false
}

// foreignCalls counts the handlers that C threads wait for.
type foreignCalls struct {
	mu      sync.Mutex
	idle    *sync.Cond
	running int
	max     int
	closed  bool
}

func newForeignCalls(max int) *foreignCalls {
	if max == 0 {
		max = 64
	}
	f := &foreignCalls{max: max}
	f.idle = sync.NewCond(&f.mu)
	return f
}

func (f *foreignCalls) enter() (ok, full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.running == f.max {
		return false, !f.closed
	}
	f.running++
	return true, false
}

func (f *foreignCalls) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	f.idle.Broadcast()
}

func (f *foreignCalls) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for f.running > 0 {
		f.idle.Wait()
	}
}

// during runs call with a view of the SSL, if another handler may run now.
func (s *side) during(ssl cshim.Foreign, call func(*foreignConn)) bool {
	owner, _ := s.owner.(*Attachment)
	if owner == nil {
		return false // an SSL of ours never gets here
	}
	ok, full := s.foreign.enter()
	if full {
		s.counts.turnedAway.Add(1)
	}
	if !ok {
		return false
	}
	defer s.foreign.leave()
	view := &foreignConn{owner: owner, alive: true, ssl: ssl}
	defer view.die()
	call(view)
	return true
}

// NewSession is new_session_cb of an SSL that C code drives.
func (s *side) NewSession(ssl cshim.Foreign, b cshim.Session) bool {
	return s.during(ssl, func(view *foreignConn) {
		s.announce(context.Background(), limits{}, view, b, cshim.Session.Free)
	})
}

// GetSession is get_session_cb of an SSL that C code drives.
func (s *side) GetSession(ssl cshim.Foreign, id []byte) (der []byte, live cshim.Session) {
	s.during(ssl, func(view *foreignConn) {
		a, _ := s.get(context.Background(), limits{}, view, id)
		if live = privateCopy(a.Session()); live.IsZero() && len(a.Encoded()) <= maxEncoded {
			der = a.Encoded()
		}
	})
	return der, live
}
