package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

var errNotSingleUse = errors.New("MaxEarlyData needs a Get handler that takes each session out of the store as it answers with it, " +
	"in the whole fleet (sessioncb.SingleUser): early data could be replayed")

// singleUse says whether no session that h answers with is answered with again.
func singleUse(h sessioncb.GetHandler) bool {
	s, ok := h.(sessioncb.SingleUser)
	return ok && s.SingleUse()
}

// checkEarlyData reports what contradicts MaxEarlyData.
func (cfg *Config) checkEarlyData() error {
	if cfg.MaxEarlyData == 0 {
		if cfg.AllowEarlyData != nil {
			return errors.New("AllowEarlyData is set, but MaxEarlyData is 0: it would never be asked")
		}
		return nil
	}
	switch {
	case cfg.MaxEarlyData > cshim.MostEarlyData:
		return fmt.Errorf("MaxEarlyData of %d is more than %d: a connection keeps as much", cfg.MaxEarlyData, cshim.MostEarlyData)
	case len(cfg.Certificates) == 0:
		return errors.New("MaxEarlyData is for a server, but there is no certificate")
	case cfg.MaxVersion == tls.VersionTLS12:
		return errors.New("MaxEarlyData needs TLS 1.3, but MaxVersion is TLS 1.2")
	case cfg.Tickets == TicketsStateless:
		return errors.New("MaxEarlyData implies TicketsStateful, but Tickets is TicketsStateless")
	case cfg.SessionCacheMode != CacheDefault && cfg.SessionCacheMode != CacheExternal:
		return errors.New("MaxEarlyData implies CacheExternal, but SessionCacheMode says otherwise")
	case cfg.SessionCacheSize != 0:
		return errors.New("MaxEarlyData uses no internal cache, but SessionCacheSize is set")
	case cfg.NumTickets < 0:
		return errors.New("MaxEarlyData needs tickets, but NumTickets says that none is sent")
	}
	if get := cfg.callbacks().Get; get == nil || !singleUse(get) {
		return errNotSingleUse
	}
	return nil
}

// earlyData is what a Conn knows of its early data. The handshake's token
// guards it, where nothing else is said.
type earlyData struct {
	asked atomic.Bool // EarlyData was called
	// open: a server's handshake goes on beside Write, which may run already,
	// so that only the writing side sends.
	open     atomic.Bool
	accepted bool          // by libssl; under Conn.mu
	begun    bool          // a client's, with the ClientHello
	left     int           // what a client may still write then
	wait     time.Duration // how long a server still waits for the client; 0: no bound
}

// EarlyData is the way to early data (0-RTT) while the handshake of a server
// runs: Conn.EarlyData returns it. It owns nothing and needs no Close. Its
// methods may be called beside those of the Conn, Read and Write from different
// goroutines. While Read waits, Handshake and Read of the Conn wait for it, and
// so does its Write until the handshake has finished; EarlyData.Write does not.
type EarlyData struct{ c *Conn }

// EarlyData runs a server's handshake until a client's early data was accepted,
// or to its end if there is none, and returns the way to the early data.
//
// Early data is of a client that holds the session, but it may be a copy of
// what that client sent before: act on it only where twice is as good as once.
// The store's claim lets one copy pass, but a client that was refused, or lost
// its connection, may have sent the same again. Who does not call this need not
// think of replays: Read returns early data when the handshake has finished, and
// a replay never gets that far.
//
// The handshake goes on with Handshake, Read and Write of the Conn, or with
// EarlyData.Read. Until it has finished ConnectionState says so.
//
// When ctx ends first, the transport is closed and ctx's error returned;
// Config.HandshakeTimeout bounds the call as well. Calls after the first go on
// in the same early data. On a client it is an error.
func (c *Conn) EarlyData(ctx context.Context) (*EarlyData, error) {
	if !c.server {
		return nil, &Error{Op: "early data", Err: errors.New("it is for a server; a client has WriteEarlyData")}
	}
	c.early.asked.Store(true)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.ctx.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.ctx.timeout)
		defer cancel()
	}
	h, err := c.begin("early data", ctx, nil)
	if err != nil {
		return nil, err
	}
	defer h.yield()
	if c.established.Load() {
		if c.result != nil {
			return nil, c.result
		}
		return &EarlyData{c}, nil
	}
	h.until = cshim.UntilEarly
	err = c.advance(ctx, false)
	h.until = cshim.UntilDone
	if err != nil {
		return nil, err
	}
	if !c.established.Load() && !c.early.open.Load() {
		c.tr.established()
		c.early.wait = max(c.ctx.timeout, 0)
		c.early.open.Store(true)
	}
	return &EarlyData{c}, nil
}

// begin takes the token of the handshake, within ctx and the deadline, if any. What
// it returns is to give it back; that the handshake has ended is no error.
func (c *Conn) begin(op string, ctx context.Context, past *deadline) (*handshakeStep, error) {
	h := c.hs.Load()
	if h == nil {
		return nil, nil
	}
	select {
	case h.running <- struct{}{}:
		return h, nil
	default:
	}
	var late <-chan struct{}
	if past != nil {
		late = past.wait()
	}
	select {
	case h.running <- struct{}{}:
		return h, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late:
		return nil, c.pastDeadline(op)
	case <-c.closed.wait():
		return nil, net.ErrClosed
	}
}

// yield gives the token back; nil has none.
func (h *handshakeStep) yield() {
	if h != nil {
		<-h.running
	}
}

// Read reads early data as it comes (SSL_read_early_data). It returns io.EOF at
// its end, at once if there is none; what it has not taken by then is for the
// Conn's Read. It obeys the Conn's read deadline; beside that the client has
// Config.HandshakeTimeout in all, and then the transport is closed.
func (e *EarlyData) Read(b []byte) (int, error) {
	c := e.c
	h, err := c.begin("read", context.Background(), &c.readDeadline)
	if err != nil {
		return 0, err
	}
	defer h.yield()
	switch {
	case c.established.Load() && c.result != nil:
		return 0, c.result
	case len(b) == 0:
		return 0, nil
	case c.established.Load():
		return c.restOfEarlyData(b)
	}
	ctx := context.Background()
	if c.early.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.early.wait)
		defer cancel()
		defer func(begin time.Time) { c.early.wait = max(c.early.wait-time.Since(begin), 1) }(time.Now())
	}
	h.until, h.early = cshim.UntilData, b
	err = c.advance(ctx, false)
	h.until, h.early = cshim.UntilDone, nil
	switch n := h.result.N; {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

// restOfEarlyData is what the handshake kept, and Read has not taken.
func (c *Conn) restOfEarlyData(b []byte) (int, error) {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return 0, net.ErrClosed
	}
	r := c.ssl.TakeEarlyData(b)
	if r.N == 0 {
		return 0, io.EOF
	}
	return r.N, nil
}

// Write answers without waiting for the handshake to finish, if early data was
// accepted (SSL_write_early_data): the client has it with the server's first
// flight. Who replayed the client's cannot read it. Once the handshake has
// finished, it is the Conn's Write.
//
// A client gets its next session after the handshake; Close before that ends
// the connection in order, and leaves the client without one.
func (e *EarlyData) Write(b []byte) (int, error) {
	if e.c.established.Load() {
		return e.c.Write(b)
	}
	return e.c.write(b)
}

// sendBeside sends what a step of the handshake left, without waiting for a
// Write that may run. An alert is on its way before the failure is reported, if
// no Write runs.
func (c *Conn) sendBeside(alert bool) {
	if alert && c.wr.mu.TryLock() {
		defer c.wr.mu.Unlock()
		c.flush() // the failure that is reported is the alert's
		return
	}
	c.flushSoon()
}

// allowEarlyData asks Config.AllowEarlyData, if a session was found and comes
// with early data.
func (c *Conn) allowEarlyData(ctx context.Context, found []sessioncb.Answer) bool {
	host := c.host.Load()
	if host.maxEarlyData == 0 {
		return false
	}
	c.mu.Lock()
	offered := c.ssl != nil && c.ssl.EarlyDataOffered()
	c.mu.Unlock()
	hit := false
	for _, a := range found {
		hit = hit || len(a.Encoded()) > 0 || a.Session() != nil
	}
	if !offered || !hit {
		return false
	}
	ask := host.allowEarlyData
	if ask == nil {
		return true
	}
	s, l := c.ctx.side, c.handshakeLimits()
	ctx, cancel := l.within(ctx, s.options.lookup)
	defer cancel()
	type verdict struct {
		allowed bool
		err     error
	}
	result := contained(func() verdict { return verdict{allowed: ask(ctx, c)} }, func(e *HandlerPanicError) verdict {
		s.panicked(e)
		return verdict{err: e}
	}, "AllowEarlyData")
	v, ok := wait(ctx, cancel, l, result)
	if !ok {
		s.counts.late.Add(1)
		c.note(errors.New("ssl: AllowEarlyData did not answer in time"))
	}
	c.note(v.err)
	return v.allowed
}

// obstacles are the words for why a client cannot send early data.
var obstacles = map[cshim.Obstacle]string{
	cshim.EarlyBegun:        "the handshake has begun",
	cshim.EarlyNoSession:    "no session is offered",
	cshim.EarlyNotPromised:  "the session's server takes none (Session.MaxEarlyData is 0)",
	cshim.EarlyWrongVersion: "the session or the Context is not of TLS 1.3",
	cshim.EarlyPast:         "the session is too old, or was used",
	cshim.EarlyOtherName:    "the session was made with another ServerName",
	cshim.EarlyOtherALPN:    "the session was made with a protocol (ALPN) that the Context does not offer",
}

// WriteEarlyData sends b with the ClientHello, or after what an earlier call
// sent, before a client's handshake (SSL_write_early_data). It needs a session
// (ClientOptions.Session) whose server takes early data, at most
// Session.MaxEarlyData bytes in all, and the ServerName and a protocol (ALPN)
// that it was made with. Otherwise it is an error that says why, nothing was
// sent, and the handshake can go on without.
//
// Early data has no forward secrecy, and who records it may send it again. The
// server can refuse it, and the handshake does not fail over that: if
// EarlyDataAccepted is false when it has finished, the server has seen nothing,
// and all must be sent again, with Write. So early data is for what may be done
// twice. A Write after a WriteEarlyData that failed with bytes on the way reports
// that failure again.
func (c *Conn) WriteEarlyData(b []byte) (int, error) {
	fail := func(format string, a ...any) (int, error) {
		return 0, &Error{Op: "write early data", Err: fmt.Errorf(format, a...)}
	}
	if c.server {
		return fail("it is for a client; a server has EarlyData")
	}
	h, err := c.begin("write", context.Background(), &c.writeDeadline)
	if err != nil {
		return 0, err
	}
	defer h.yield()
	if c.established.Load() || h.begun {
		return fail("%s", obstacles[cshim.EarlyBegun])
	}
	n := 0
	if !c.early.begun {
		var err error
		var why cshim.Obstacle
		steps.through(c.host.Load().gated, func() { n, why, err = c.startEarlyData(b) })
		if why != 0 {
			return fail("%s", obstacles[why])
		}
		if err != nil {
			return 0, err
		}
	}
	if len(b) > c.early.left {
		return fail("%d bytes are more than the %d that are left of what the session allows", len(b), c.early.left)
	}
	c.early.left -= len(b)
	m, err := c.write(b[n:])
	return n + m, err
}

// startEarlyData begins with as much of b as fits into a record, unless b is
// more than the session allows.
func (c *Conn) startEarlyData(b []byte) (n int, why cshim.Obstacle, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return 0, 0, net.ErrClosed
	}
	r, max, why := c.ssl.StartEarlyData(b)
	c.ctx.side.after(r.Events)
	c.early.left = int(max)
	c.early.begun = why == 0 && len(b) <= c.early.left
	if r.Status == cshim.Failed {
		err = stepError("write early data", c.ssl)
	}
	return r.N, why, err
}

// EarlyDataAccepted says whether early data of this connection was accepted
// (SSL_get_early_data_status): on a client once the handshake has finished, on
// a server once EarlyData returned.
func (c *Conn) EarlyDataAccepted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.early.accepted
}
