package ssl

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/sessioncb/openssl/cshim"
)

// The steps of a Conn are the Conn itself under other names, so that none has to be
// made. Each takes the lock, makes one crossing, and takes out of it all that it
// left. The transport calls them in its poll function, so none waits for anything.
type (
	toHandshake Conn
	toRead      Conn
	toPeek      Conn
	toWrite     Conn
	toFlush     Conn
	toShutDown  Conn
)

// lock takes the lock for a crossing, unless the SSL is freed already.
func (c *Conn) lock(r *cshim.Result, failure *error) bool {
	c.mu.Lock()
	if c.ssl == nil {
		c.mu.Unlock()
		*r, *failure = cshim.Result{Status: cshim.Failed}, net.ErrClosed
		return false
	}
	return true
}

// crossed sees to what a crossing left. Removals are queued with the lock held; New
// handlers run later, without.
func (c *Conn) crossed(op string, r *cshim.Result, failure *error) {
	if r.Events != 0 {
		c.ctx.side.after(r.Events)
	}
	if r.Sessions {
		l := c.rest.sessions()
		before := len(l.announced)
		l.announced = c.ssl.AppendAnnounced(l.announced)
		c.announcing += int32(len(l.announced) - before)
	}
	switch {
	case r.Status == cshim.Failed:
		*failure = stepError(op, c.ssl)
	case r.WriteErr != 0:
		*failure = &Error{Op: op, Err: r.WriteErr}
	}
}

// A step of the handshake is made in place or, if it has a public key operation and
// the transport is a descriptor, on the pool. A ClientHello is always read in
// place: Go answers what it asks for, and it may need no such operation.
func (s *toHandshake) try(tr cshim.IO) (wait bool, in, out int) {
	c := (*Conn)(s)
	h := c.hs.Load()
	if h.given {
		c.stepGiven()
		return false, h.result.In, 0
	}
	untouched := 0 // in: of a step that is not made
	if tr.Quiet {
		untouched = 1
	}
	gated := c.host.Load().gated
	pool := c.poolable() && workers.starts()
	if !pool || !h.heavy {
		if gated && !h.slot {
			if !steps.try() {
				h.needSlot = true
				return false, untouched, 0
			}
			h.slot = true
		}
		c.stepInPlace(tr, pool)
		h.leave()
		h.heavy = h.result.Status == cshim.WantPool
	}
	if pool && h.heavy {
		if !h.queued && !queued.try() {
			h.needSlot, h.needQueue = true, true
			return false, untouched, 0
		}
		h.queued = true
		c.stepOnPool(tr)
		h.leave()
	}
	r := &h.result
	return r.Status == cshim.WantRead && (r.Pending == 0 || c.early.open.Load()) && r.WriteErr == 0, r.In, r.Out
}

// poolable says whether steps of the handshake may be made on the pool: OpenSSL has
// the descriptor, no slow key blocks a thread, and no early data is waited for.
func (c *Conn) poolable() bool {
	return c.server && !c.throughMemory && c.host.Load().gated && c.hs.Load().early == nil
}

func (c *Conn) stepInPlace(tr cshim.IO, pool bool) {
	h := c.hs.Load()
	if !c.lock(&h.result, &h.failure) {
		return
	}
	defer c.mu.Unlock()
	light := pool && h.light
	switch {
	case light:
		c.ssl.SetShare(cshim.QuickResumption)
	case pool:
		c.ssl.SetShare(cshim.Nothing)
	default:
		c.ssl.SetShare(cshim.All)
	}
	c.ssl.Handshake(tr, h.answers, h.until, h.early, &h.result)
	if light {
		resumptions.note(c.ssl.SlowPulses())
	}
	c.shookHands()
}

func (c *Conn) stepOnPool(tr cshim.IO) {
	h := c.hs.Load()
	if !c.lock(&h.result, &h.failure) {
		return
	}
	defer c.mu.Unlock()
	workers.handshake(c.ssl, tr, h.answers, h.until, &h.result)
	c.shookHands()
}

// stepGiven is for the step that a door's thread made.
func (c *Conn) stepGiven() {
	h := c.hs.Load()
	h.given = false
	if !c.lock(&h.result, &h.failure) {
		return
	}
	defer c.mu.Unlock()
	c.ssl.StepResult(&h.result)
	c.shookHands()
}

// shookHands sees to what a step of the handshake left.
func (c *Conn) shookHands() {
	h := c.hs.Load()
	h.begun = true
	c.early.accepted = c.ssl.EarlyDataAccepted()
	clear(h.answers)
	h.answers = nil
	if l := c.rest.loose; l != nil {
		l.lives = l.lives[:0]
	}
	if c.ssl.Resumes() || c.ssl.Version() == tls.VersionTLS13 && !c.host.Load().asksClient() {
		h.heavy = false // the client's Finished is left, and no signature
	}
	c.crossed("handshake", &h.result, &h.failure)
}

// leave gives the slot of the gate back, if there is one.
func (h *handshakeStep) leave() {
	if h.slot {
		steps.leave()
		h.slot = false
	}
	if h.queued {
		queued.leave()
		h.queued = false
	}
}

func (s *toRead) try(tr cshim.IO) (wait bool, in, out int) {
	c := (*Conn)(s)
	r := &c.rd.result
	if !c.lock(r, &c.rd.failure) {
		return false, 0, 0
	}
	defer c.mu.Unlock()
	// A Write that waits for what this step reads is told of it, whatever it is.
	if tr.Quiet && c.moved == nil && c.ssl.Idle() {
		*r = cshim.Result{Status: cshim.WantRead}
		return true, 1, 0
	}
	c.ssl.Read(tr, c.rd.buf, r)
	return c.hasRead(), r.In, r.Out
}

func (s *toPeek) try(tr cshim.IO) (wait bool, in, out int) {
	c := (*Conn)(s)
	r := &c.rd.result
	if !c.lock(r, &c.rd.failure) {
		return false, 0, 0
	}
	defer c.mu.Unlock()
	c.ssl.Peek(tr, r)
	return c.hasRead(), r.In, r.Out
}

// hasRead says whether the step that read waits. A client's new sessions are
// announced before it waits on. That an answer of OpenSSL could not be sent is for
// the next Write to find out.
func (c *Conn) hasRead() (wait bool) {
	r := &c.rd.result
	c.crossed("read", r, &c.rd.failure)
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
	return r.Status == cshim.WantRead && !r.Sessions
}

func (s *toWrite) try(tr cshim.IO) (wait bool, in, out int) {
	c := (*Conn)(s)
	r := &c.wr.result
	if !c.lock(r, &c.wr.failure) {
		return false, 0, 0
	}
	defer c.mu.Unlock()
	c.ssl.Write(tr, c.wr.buf[c.wr.n:], r)
	c.crossed("write", r, &c.wr.failure)
	c.wr.n += r.N
	if r.Status == cshim.WantRead && c.moved == nil {
		c.moved = make(chan struct{})
	}
	return r.Status == cshim.WantWrite && !r.Held, r.In, r.Out
}

func (s *toFlush) try(tr cshim.IO) (wait bool, in, out int) {
	c := (*Conn)(s)
	r := &c.wr.result
	if !c.lock(r, &c.wr.failure) {
		return false, 0, 0
	}
	defer c.mu.Unlock()
	c.ssl.Flush(tr, c.announcing == 0, r)
	c.crossed("write", r, &c.wr.failure)
	return r.Status == cshim.WantWrite && !r.Held, r.In, r.Out
}

func (s *toShutDown) try(tr cshim.IO) (wait bool, in, out int) {
	c := (*Conn)(s)
	r := &c.wr.result
	if !c.lock(r, &c.wr.failure) {
		return false, 0, 0
	}
	defer c.mu.Unlock()
	c.ssl.Shutdown(tr, r)
	c.crossed("close", r, &c.wr.failure)
	return r.Status == cshim.WantWrite && !r.Held && !c.wr.once, r.In, r.Out
}

// announce tells the NewHandler of the sessions that the steps so far
// announced, one after the other, and waits for it within the limits.
func (c *Conn) announce(ctx context.Context, l limits) {
	c.mu.Lock()
	var list []cshim.Session
	if l := c.rest.loose; l != nil {
		list = l.announced
		l.announced = nil
	}
	c.mu.Unlock()
	left := list
	defer func() { // of a handler in place that ended this goroutine
		if len(left) == 0 {
			return
		}
		cshim.FreeSessions(left[1:])
		c.mu.Lock()
		if c.announcing -= int32(len(left)); c.announcing == 0 && c.stored != nil {
			close(c.stored)
			c.stored = nil
		}
		c.mu.Unlock()
	}()
	for i, b := range list {
		if s := c.ctx.side; immediate(s.handlers.Load().New) {
			c.note(s.announceInPlace(ctx, c, b, c.drop))
		} else {
			c.note(s.announce(ctx, l, c, b, c.drop))
		}
		c.mu.Lock()
		left = list[i+1:]
		if c.announcing--; c.announcing == 0 && c.stored != nil {
			close(c.stored)
			c.stored = nil
		}
		c.mu.Unlock()
	}
}

// drop frees a session with the next step, which costs no crossing of its own.
func (c *Conn) drop(b cshim.Session) {
	if b.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl != nil {
		c.ssl.Drop(b)
	} else {
		b.Free()
	}
}
