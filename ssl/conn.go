package ssl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// closeNotifyTimeout bounds how long Close waits to send close_notify.
const closeNotifyTimeout = 5 * time.Second

// errShutdown is what Write reports after CloseWrite.
var errShutdown = errors.New("ssl: protocol is shut down for writing")

// Conn is a TLS connection, and a [net.Conn]: Read and Write from different
// goroutines, deadlines, Close from any. The handshake runs with the first
// Read, Write or ConnectionState, or by Handshake.
//
// A Conn whose transport is exactly a *net.TCPConn or a stream *net.UnixConn
// lets OpenSSL use the descriptor; any other net.Conn is read and written
// through memory. The behaviour is the same.
type Conn struct {
	//lint:ignore U1000 its method closes the interfaces of sessioncb
	mark
	ctx  *Context                // the birth context, whose callbacks run
	host atomic.Pointer[Context] // in force: ctx, or what the ClientHello chose
	tr   transport

	server        bool
	throughMemory bool // OpenSSL has no descriptor
	established   atomic.Bool
	closing       atomic.Bool

	// How many sessions libssl announced that no handler has returned from. While
	// there are any, the bytes that announce them to the peer are held; stored, which
	// who waits makes, is closed when there are none.
	announcing int32
	mu         sync.Mutex // held for one crossing, and never while waiting
	stored     chan struct{}
	moved      chan struct{} // closed by the next step that reads; nil: nobody waits
	ssl        *cshim.Conn   // nil once freed
	rest       *remains

	result error                         // of the handshake, once established
	hs     atomic.Pointer[handshakeStep] // nil when established: an idle Conn is small
	early  earlyData

	rd readStep
	wr writeStep

	readDeadline, writeDeadline deadline
	closed                      signal
	cleanup                     runtime.Cleanup         // of rest
	reports                     atomic.Pointer[[]error] // of handlers
}

// The state of a running operation.
type (
	handshakeStep struct {
		running           chan struct{} // holds one token: who has it runs the handshake
		result            cshim.Result
		failure           error
		answers           []byte
		room              [48]byte // for answers that are few and short
		refused           error    // by GetConfigForClient: the next step fails
		slot              bool     // has a slot of the gate
		until             cshim.Until
		timeout                  // of the running call; its end is zero if there is none
		early             []byte // to be filled
		begun             bool
		given             bool // by a door: a step was made, and its result is there
		needSlot          bool
		needQueue, queued bool
		// On the pool, if there is one; light is what is known not to be heavy.
		heavy, light bool
	}
	readStep struct {
		mu      sync.Mutex
		buf     []byte
		result  cshim.Result
		failure error
		err     error // of every later Read
		streak  streak
	}
	writeStep struct {
		mu       sync.Mutex
		buf      []byte
		n        int // of buf, taken by OpenSSL
		result   cshim.Result
		failure  error
		err      error        // of every later Write
		calls    atomic.Int32 // of the program, that have mu or wait for it
		flushing atomic.Bool  // flushSoon waits for its turn
		streak   streak
		once     bool // the step does not wait
	}
)

var (
	_ net.Conn       = (*Conn)(nil)
	_ sessioncb.Conn = (*Conn)(nil)
)

// Server makes the server side of a TLS connection over nc, which the Conn
// owns from then on. It does not handshake yet.
func Server(nc net.Conn, ctx *Context) (*Conn, error) {
	return newConn("server", nc, ctx, true, nil)
}

// ClientOptions are what one client connection needs beyond its Context. The
// zero value, and nil, mean no name and no session.
type ClientOptions struct {
	// ServerName is sent (SNI) unless it is an IP address, and verified
	// against the server's certificate in the handshake
	// (SSL_set_tlsext_host_name, X509_VERIFY_PARAM_set1_host, _set1_ip_asc).
	// It may be empty only with VerifyNone; Dial fills it in.
	ServerName string
	// Session is offered for resumption; it stays the caller's
	// (SSL_set_session of a duplicate). It is not offered, and the handshake is a
	// full one, if it was made under another session id context (by a Context
	// that trusts or verifies otherwise), or if the certificate in it is not
	// valid for ServerName: libssl verifies no name on a resumption.
	Session *Session
}

// Client makes the client side of a TLS connection over nc, which the Conn
// owns from then on. It does not handshake yet. New sessions come to the
// Context's NewHandler: in TLS 1.3 after the handshake, with a Read, and more
// than one.
func Client(nc net.Conn, ctx *Context, o *ClientOptions) (*Conn, error) {
	if o == nil {
		o = &ClientOptions{}
	}
	return newConn("client", nc, ctx, false, o)
}

func newConn(op string, nc net.Conn, ctx *Context, server bool, o *ClientOptions) (*Conn, error) {
	fail := func(err error) (*Conn, error) { return nil, &Error{Op: op, Err: err} }
	switch {
	case nc == nil:
		return fail(errors.New("the net.Conn is nil"))
	case ctx == nil:
		return fail(errors.New("the Context is nil"))
	case server && !ctx.serves():
		return fail(errNoCertificate)
	case !server && ctx.verify != VerifyNone && !ctx.trusts:
		return fail(errors.New("the Context has no CA certificates to verify a server: set CAPEM, CAFile, CADir or SystemCAs, or VerifyNone"))
	case !server && ctx.verify != VerifyNone && o.ServerName == "":
		return fail(errors.New("ServerName is empty: there is nothing to verify the server's certificate against; set it, or VerifyNone"))
	}
	tr, err := newTransport(nc)
	if err != nil {
		return fail(err)
	}
	c := makeConn(tr, ctx, server)
	c.hs.Store(newHandshakeStep())
	c.rest.sessions()
	var ids [][32]byte
	if server {
		ids = ctx.side.newIDs(ctx.plan.mostTickets())
	}
	var q cshim.Queue
	ok := false
	ctx.mu.RLock()
	if ctx.closed {
		ctx.mu.RUnlock()
		return nil, ErrContextClosed
	}
	ctx.born.Store(true)
	steps.through(ctx.gated, func() { c.ssl, q, ok = cshim.NewConn(ctx.side.c, server) })
	if ok {
		if _, ok := tr.(*socket); ok {
			c.ssl.SetPolled()
		}
		c.ssl.AddIDs(ids) // without memory OpenSSL makes them
	}
	ctx.mu.RUnlock()
	if !ok {
		return nil, opError(op, q)
	}
	if !server {
		if err := c.setClient(o); err != nil {
			c.free(true)
			return nil, err
		}
	}
	c.keep()
	return c, nil
}

func newHandshakeStep() *handshakeStep { return &handshakeStep{running: make(chan struct{}, 1)} }

// makeConn makes a Conn without an SSL, and without the state of a handshake.
func makeConn(tr transport, ctx *Context, server bool) *Conn {
	c := &Conn{ctx: ctx, tr: tr, server: server, rest: &remains{side: ctx.side}}
	c.host.Store(ctx)
	_, c.throughMemory = tr.(*memory)
	return c
}

// keep sees to what a Conn that is forgotten leaves.
func (c *Conn) keep() {
	c.rest.ssl = c.ssl
	if s, ok := c.tr.(*socket); ok && s.owner == nil { // else it is the NetConn of another Conn
		s.owner, c.rest.fd, c.rest.socket = c, s.fd, s.readiness
	}
	c.cleanup = runtime.AddCleanup(c, (*remains).free, c.rest)
}

// hostnameBytes are the bytes of a host name in a certificate; other names are
// to be in their ASCII form (xn--...).
const hostnameBytes = "-_.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (c *Conn) setClient(o *ClientOptions) error {
	verify := c.ctx.verify != VerifyNone
	name := strings.TrimSuffix(o.ServerName, ".")
	sni, host, ip := name, name, ""
	switch {
	case net.ParseIP(name) != nil:
		sni, host, ip = "", "", name
	case strings.Trim(name, hostnameBytes) != "":
		return &Error{Op: "client", Err: fmt.Errorf("ServerName %q is neither a host name nor an IP address", o.ServerName)}
	}
	if !verify {
		host, ip = "", ""
	}
	var q cshim.Queue
	ok := false
	set := func(offer cshim.Session) { q, ok = c.ssl.SetClient(sni, host, ip, verify, offer) }
	if o.Session == nil {
		set(cshim.Session{})
	} else if !o.Session.use(set) {
		return &Error{Op: "client: session", Err: sessioncb.ErrSessionClosed}
	}
	if !ok {
		return opError("client: server name or session", q)
	}
	return nil
}

// Context returns the birth context: its callbacks run for this connection.
func (c *Conn) Context() sessioncb.Context { return c.ctx }

// IsServer says which side this is (SSL_is_server).
func (c *Conn) IsServer() bool { return c.server }

// SessionIDContext returns the session id context in force.
func (c *Conn) SessionIDContext() []byte { return c.host.Load().SessionIDContext() }

// NetConn returns the transport. What is read from it or written to it is
// missing from the TLS stream.
func (c *Conn) NetConn() net.Conn { return c.tr.conn() }

// LocalAddr returns the transport's local address.
func (c *Conn) LocalAddr() net.Addr { return c.NetConn().LocalAddr() }

// RemoteAddr returns the transport's remote address.
func (c *Conn) RemoteAddr() net.Addr { return c.NetConn().RemoteAddr() }

// SetDeadline sets the deadlines of Read and Write, and of the handlers and
// the handshake that run for them. The zero Time is none. After a Write that
// timed out the connection cannot be written any more.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readDeadline.set(t)
	c.writeDeadline.set(t)
	return c.NetConn().SetDeadline(t)
}

// SetReadDeadline sets the deadline of Read; see SetDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return c.NetConn().SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Write; see SetDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return c.NetConn().SetWriteDeadline(t)
}

// CloseWrite sends close_notify (SSL_shutdown); Read goes on. It is an error
// before the handshake finished.
func (c *Conn) CloseWrite() error {
	if !c.established.Load() || c.result != nil {
		return &Error{Op: "close write", Err: errors.New("the handshake has not finished")}
	}
	c.wr.lock()
	defer c.wr.unlock()
	if c.wr.err != nil {
		return c.wr.err
	}
	err := c.sendClose()
	c.wr.err = errShutdown
	if err != nil {
		return transportError("close write", err)
	}
	return nil
}

// sendClose sends what is queued, and close_notify; wr.mu is held.
func (c *Conn) sendClose() error {
	return c.closeSent(c.tr.output((*toShutDown)(c)))
}

// closeSent does what the step left to be done.
func (c *Conn) closeSent(err error) error {
	if c.wr.result.Sessions {
		c.announce(context.Background(), limits{deadline: &c.writeDeadline, closed: &c.closed})
	}
	switch {
	case err != nil:
		return err
	case c.wr.result.Held:
		return c.flush()
	case c.wr.result.Status == cshim.Failed:
		return c.wr.failure
	}
	return nil
}

// Close sends close_notify if no Write is under way, waiting 5 s at the most,
// and closes the transport. The session stays resumable unless a fatal alert
// was seen (SSL_set_shutdown, SSL_free). Calls that wait return net.ErrClosed,
// as does a second Close.
func (c *Conn) Close() error { return c.end(true) }

// Abort closes the transport at once, without close_notify, and lets OpenSSL
// declare the session dead: remove_session_cb runs, with the reason
// UncleanClose. It is for a peer that broke the protocol above TLS.
func (c *Conn) Abort() error { return c.end(false) }

func (c *Conn) end(clean bool) error {
	if !c.closing.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	if clean && c.mayNotify() && c.lockForClose() {
		c.mu.Lock()
		held := c.announcing > 0 // by a handler that runs, and may be who calls
		c.mu.Unlock()
		if c.wr.err == nil && !held {
			c.sendLast()
			c.wr.err = net.ErrClosed
		}
		c.wr.mu.Unlock()
	}
	c.closed.give() // ends the waits of handlers
	err := c.NetConn().Close()
	c.free(clean)
	return err
}

// sendLast sends close_notify for Close; wr.mu is held. The peer may be gone:
// there is nothing to report. Nearly always the transport has room, and no
// deadline is needed.
func (c *Conn) sendLast() {
	own := !c.throughMemory
	var err error
	r := &c.wr.result
	if own {
		c.wr.once = true
		err = c.tr.output((*toShutDown)(c))
		c.wr.once = false
		if err == nil && r.Status == cshim.Done && !r.Held && !r.Sessions {
			return
		}
	}
	limit := time.Now().Add(closeNotifyTimeout)
	c.writeDeadline.set(limit)
	c.NetConn().SetWriteDeadline(limit)
	if !own || err != nil || r.Status == cshim.WantWrite && !r.Held && !r.Sessions {
		c.sendClose()
	} else {
		c.closeSent(nil)
	}
}

// mayNotify says whether the state allows a close_notify.
func (c *Conn) mayNotify() bool {
	if c.established.Load() {
		return c.result == nil
	}
	return c.early.open.Load()
}

// lockForClose takes wr.mu, unless a Write has it. What OpenSSL itself has to
// send does not cost the peer its close_notify: it is waited for as long.
func (c *Conn) lockForClose() bool {
	if c.wr.mu.TryLock() {
		return true
	}
	if c.wr.calls.Load() > 0 {
		return false
	}
	limit := time.Now().Add(closeNotifyTimeout)
	c.writeDeadline.set(limit)
	c.NetConn().SetWriteDeadline(limit)
	c.wr.mu.Lock()
	return true
}

// lock and unlock are for a call of the program; what sends for OpenSSL takes
// mu alone. Close finds mu taken and calls 0 only if the holder needs no more
// than the transport.
func (w *writeStep) lock() {
	w.calls.Add(1)
	w.mu.Lock()
}

func (w *writeStep) unlock() {
	w.calls.Add(-1)
	w.mu.Unlock()
}

// free frees the SSL. No operation is inside it: each holds mu for its call.
func (c *Conn) free(mark bool) {
	c.mu.Lock()
	s := c.ssl
	c.ssl = nil
	waiting := c.rest.loose.take()
	if h := c.hs.Load(); h != nil {
		clear(h.answers) // that no step took
	}
	var events cshim.Events
	if s != nil {
		c.cleanup.Stop()
	}
	c.mu.Unlock()
	if s != nil {
		steps.through(c.host.Load().gated, func() { events = s.Free(mark) })
	}
	cshim.FreeSessions(waiting)
	c.ctx.side.after(events)
}

// NewSessionTicket queues one more TLS 1.3 ticket, which the next Write sends
// (SSL_new_session_ticket). Its session is announced to the NewHandler by that Write.
func (c *Conn) NewSessionTicket() error {
	ids := c.ctx.side.newIDs(1)
	return c.queue("new session ticket", func(s *cshim.Conn) bool {
		queued := s.SSL_new_session_ticket()
		if queued {
			s.AddIDs(ids)
		}
		return queued
	})
}

// KeyUpdate queues a change of our sending keys, sent with the next Write, in
// TLS 1.3 (SSL_key_update); request asks the peer to change its own.
func (c *Conn) KeyUpdate(request bool) error {
	return c.queue("key update", func(s *cshim.Conn) bool { return s.SSL_key_update(request) })
}

func (c *Conn) queue(op string, f func(*cshim.Conn) bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ssl == nil:
		return net.ErrClosed
	case !f(c.ssl):
		return &Error{Op: op, Err: errors.New("not possible in this state: it needs TLS 1.3 and a finished handshake")}
	}
	return nil
}

// HandlerErrors returns what the handlers of this connection reported: errors
// of the GetHandler, and panics. They never fail the handshake.
func (c *Conn) HandlerErrors() []error {
	if list := c.reports.Load(); list != nil {
		return slices.Clone(*list)
	}
	return nil
}

func (c *Conn) note(err error) {
	if err == nil {
		return
	}
	for {
		old := c.reports.Load()
		var list []error
		if old != nil {
			list = *old
		}
		if len(list) == 16 { // a bound, whatever the peer makes us do
			return
		}
		list = append(slices.Clip(list), err)
		if c.reports.CompareAndSwap(old, &list) {
			return
		}
	}
}
