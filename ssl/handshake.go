package ssl

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// Handshake runs the handshake if it has not run (SSL_do_handshake), within
// Config.HandshakeTimeout on a server.
func (c *Conn) Handshake() error {
	if c.established.Load() {
		return c.result
	}
	timed := c.server && c.ctx.timeout > 0
	h := c.hs.Load()
	if h == nil {
		return c.result // it has just ended
	}
	select {
	case h.running <- struct{}{}: // nobody else runs it: no context is needed
		defer h.yield()
		if c.established.Load() {
			return c.result
		}
		return c.advance(context.Background(), timed)
	default:
	}
	ctx := context.Background()
	if timed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.ctx.timeout)
		defer cancel()
	}
	return c.HandshakeContext(ctx)
}

// HandshakeContext runs the handshake if it has not run. A session that it
// makes is stored, and one that the client asks for is looked up, before it
// returns. When ctx ends first, the transport is closed and ctx's error
// returned. What the first call came to is what every later call reports.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	if c.established.Load() {
		return c.result
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// Whoever waits here for another goroutine's handshake has its own limits.
	h, err := c.begin("handshake", ctx, nil)
	if err != nil {
		return err
	}
	defer h.yield()
	if c.established.Load() {
		return c.result
	}
	return c.advance(ctx, false)
}

// advance runs the handshake as far as hs.until says, within ctx and, if timed, the
// Context's time; the caller holds the token, and has seen that it has not ended.
func (c *Conn) advance(ctx context.Context, timed bool) error {
	h := c.hs.Load()
	if timed {
		c.ctx.running.start(&h.timeout, c.NetConn())
		defer c.ctx.running.stop(&h.timeout) // of a handler in place that ended this goroutine
	} else {
		h.end = time.Time{}
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { c.NetConn().Close() })
	}
	err := c.handshake(ctx)
	late := timed && !c.ctx.running.stop(&h.timeout)
	switch {
	case !stop():
		err = ctx.Err()
	case late || h.result.Status == cshim.Late:
		c.NetConn().Close()
		err = context.DeadlineExceeded
	case isTimeout(err):
		return err // a deadline of the Conn: the next call goes on
	}
	if err == nil && h.result.Status == cshim.Early {
		return nil
	}
	c.tr.established()
	c.result = err
	c.established.Store(true)
	c.mu.Lock()
	clear(h.answers) // that no step took
	c.rest.settle()
	c.mu.Unlock()
	c.hs.Store(nil)
	return err
}

// handshake makes steps until one ends it, or is as far as it should go.
func (c *Conn) handshake(ctx context.Context) error {
	h := c.hs.Load()
	defer h.leave()
	if c.ctx.bits&cshim.Get != 0 {
		growStack()
	}
	for {
		h.needSlot, h.needQueue = false, false
		if err := c.tr.input((*toHandshake)(c)); err != nil {
			return c.cutOff(ctx, err)
		}
		if h.needSlot {
			h.enter()
		} else if over, err := c.made(ctx); over {
			return err
		}
	}
}

// growStack makes a stack of 2 KiB grow, which handlers would do anyway: Go copies it
// frame by frame, and here are the fewest. It is 2 % of a resumption of TLS 1.2.
//
//go:noinline
func growStack() {
	var room [1100]byte // with what Go keeps free, it is more than is left
	touch(&room)
}

//go:noinline
func touch(*[1100]byte) {}

// enter waits for what the last step had not, outside the poll function, which Close
// waits for.
func (h *handshakeStep) enter() {
	if h.needQueue {
		queued.enter()
		h.queued = true
	} else {
		steps.enter()
		h.slot = true
	}
}

// made does what the step that was made asks for, and says whether it was the last.
func (c *Conn) made(ctx context.Context) (last bool, err error) {
	h := c.hs.Load()
	r := &h.result
	if r.Sessions {
		c.announce(ctx, c.handshakeLimits())
	}
	if r.Held || r.Pending > 0 && r.WriteErr == 0 {
		if c.early.open.Load() {
			c.sendBeside(r.Status == cshim.Failed)
		} else if err := c.release(); err != nil {
			return true, c.cut(err)
		}
	}
	switch {
	case h.refused != nil && r.Status == cshim.Failed:
		return true, h.refused
	case r.Status == cshim.Failed || r.WriteErr != 0:
		return true, h.failure
	case r.Status == cshim.Late:
		return true, context.DeadlineExceeded
	case r.Status == cshim.Truncated || r.Status == cshim.Closed:
		return true, &Error{Op: "handshake", Err: io.ErrUnexpectedEOF}
	case r.Status == cshim.WantLookup && c.asksHost():
		c.chooseHost(ctx)
	case r.Status == cshim.WantLookup:
		c.lookUp(ctx)
	case r.Status == cshim.Done || r.Status == cshim.Early:
		return true, nil
	}
	return false, nil
}

// handshakeLimits bound the handlers that a handshake waits for.
func (c *Conn) handshakeLimits() limits { return limits{&c.readDeadline, &c.closed, c.hs.Load().end} }

// release sends what is kept, a hold included.
func (c *Conn) release() error {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	return c.flush()
}

// cutOff is for a step whose bytes could not leave.
func (c *Conn) cutOff(ctx context.Context, err error) error {
	c.announce(ctx, c.handshakeLimits())
	return c.cut(err)
}

// cut names the handshake in an error of the transport.
func (c *Conn) cut(err error) error {
	if c.closing.Load() {
		return net.ErrClosed
	}
	return transportError("handshake", err)
}

// asksHost says whether the handshake waits for the choice of its Context.
func (c *Conn) asksHost() (asks bool) {
	c.locked(func() error { asks = c.ssl.AsksHost(); return nil })
	return asks
}

// lookUp asks for the sessions that the ClientHello named, and leaves the answers for
// the next step. No C frame, no lock and no slot of the gate waits meanwhile.
func (c *Conn) lookUp(ctx context.Context) {
	// Room for what a client asks for; more is allocated.
	var idRoom [2][]byte
	var foundRoom [2]sessioncb.Answer
	ids := idRoom[:0]
	c.mu.Lock()
	if c.ssl != nil {
		ids = c.ssl.AppendLookups(ids)
	}
	c.mu.Unlock()
	found := slices.Grow(foundRoom[:0], len(ids))[:len(ids)]
	c.ask(ctx, ids, found)
	c.answer(found, c.allowEarlyData(ctx, found))
}

// ask asks the GetHandler for the ids, in their order, until one is answered with a
// session that can be resumed: libssl takes the first, and a handler that takes
// sessions out of its store must not lose the others.
func (c *Conn) ask(ctx context.Context, ids [][]byte, found []sessioncb.Answer) {
	s := c.ctx.side
	for i, id := range ids {
		var err error
		if immediate(s.handlers.Load().Get) {
			found[i], err = s.getInPlace(ctx, c, id)
		} else {
			found[i], err = s.get(ctx, c.handshakeLimits(), c, id)
		}
		c.note(err)
		if i+1 < len(ids) && c.good(id, found[i]) {
			break
		}
	}
}

// answer leaves what was found for the next step.
func (c *Conn) answer(found []sessioncb.Answer, allowed bool) {
	h := c.hs.Load()
	size := 0
	for _, a := range found {
		size += len(a.Encoded()) + 16
	}
	// Of the size that it needs: a slice that grows leaves copies of secrets.
	answers := h.room[:0]
	if size > len(h.room) {
		answers = make([]byte, 0, size)
	}
	var livesRoom [2]cshim.Session
	lives := livesRoom[:0]
	hit, slow := false, false
	for _, a := range found {
		if live := privateCopy(a.Session()); !live.IsZero() {
			lives = append(lives, live)
			answers = cshim.AppendLive(answers, live)
			hit = true
		} else if der := a.Encoded(); len(der) > 0 && len(der) <= maxEncoded {
			answers = cshim.AppendDER(answers, der)
			hit, slow = true, slow || len(der) >= withCertificate
		} else {
			answers = cshim.AppendMiss(answers)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		clear(answers)
		cshim.FreeSessions(lives)
		return
	}
	c.ssl.AllowEarlyData(allowed)
	h.answers = answers
	if len(lives) > 0 {
		l := c.rest.sessions()
		l.lives = append(l.lives, lives...)
	}
	// A resumption of TLS 1.2 has no public key operation, and one of TLS 1.3 a quick
	// one as a rule; the step sees whether it is one.
	h.light = hit && !slow
	if h.light && c.ssl.Version() == tls.VersionTLS13 && c.poolable() {
		h.light = resumptions.next()
	}
	h.heavy = !h.light
}

// good says whether libssl will be given this answer.
func (c *Conn) good(id []byte, a sessioncb.Answer) (good bool) {
	judge := func(live cshim.Session) {
		c.locked(func() error { good = c.ssl.Judge(id, a.Encoded(), live); return nil })
	}
	if s, ok := a.Session().(*Session); ok && s != nil {
		s.use(judge)
	} else if n := len(a.Encoded()); n > 0 && n <= maxEncoded {
		judge(cshim.Session{})
	}
	return good
}

// privateCopy returns a new object: none of a handler's enters an SSL.
func privateCopy(s sessioncb.Session) (b cshim.Session) {
	if session, ok := s.(*Session); ok && session != nil {
		session.use(func(p cshim.Session) { b, _ = p.Dup() })
	}
	return b
}

// maxEncoded bounds what a store may answer with: a session is 140 bytes, and
// some 2 KiB with a large certificate.
const maxEncoded = 64 << 10

// A session of so many bytes has the peer's certificate in it, or may: to decode
// that takes OpenSSL 3.0 as long as a public key operation.
const withCertificate = 400
