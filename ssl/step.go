package ssl

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/sessioncb/openssl/cshim"
)

// The steps: each takes the lock, makes one crossing, and takes out of it all
// that it left. They run as poll functions, so none waits for anything.

// cross makes the crossing f, unless the SSL is freed already. Removals are
// queued with the lock held; New handlers run later, without.
func (c *Conn) cross(op string, r *cshim.Result, failure *error, f func() cshim.Result) {
	if c.ssl == nil {
		*r, *failure = cshim.Result{Status: cshim.Failed}, net.ErrClosed
		return
	}
	*r = f()
	c.ctx.side.after(r.Events)
	if r.Sessions {
		before := len(c.loose.announced)
		c.loose.announced = c.ssl.AppendAnnounced(c.loose.announced)
		c.announcing += len(c.loose.announced) - before
	}
	switch {
	case r.Status == cshim.Failed:
		*failure = stepError(op, c.ssl)
	case r.WriteErr != 0:
		*failure = &Error{Op: op, Err: r.WriteErr}
	}
}

// stepHandshake makes a step in place or, if it has a public key operation and
// the transport is a descriptor, on the pool. A ClientHello is always read in
// place: Go answers what it asks for, and it may need no such operation.
func (c *Conn) stepHandshake(tr cshim.IO) (wait bool, in, out int) {
	h := &c.hs
	if h.given {
		h.given = false
		c.handshakeStep(func() cshim.Result { return c.ssl.StepResult() })
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
		c.handshakeStep(func() cshim.Result {
			switch {
			case !pool:
				c.ssl.SetShare(cshim.All)
			case h.light:
				c.ssl.SetShare(cshim.QuickResumption)
			default:
				c.ssl.SetShare(cshim.Nothing)
			}
			r := c.ssl.Handshake(tr, h.answers, h.until, h.early)
			if pool && h.light {
				resumptions.note(c.ssl.SlowPulses())
			}
			return r
		})
		h.leave()
		h.heavy = h.result.Status == cshim.WantPool
	}
	if pool && h.heavy {
		if !h.queued && !queued.try() {
			h.needSlot, h.needQueue = true, true
			return false, untouched, 0
		}
		h.queued = true
		c.handshakeStep(func() cshim.Result { return workers.handshake(c.ssl, tr, h.answers, h.until) })
		h.leave()
	}
	r := &h.result
	return r.Status == cshim.WantRead && (r.Pending == 0 || c.early.open.Load()) && r.WriteErr == 0, r.In, r.Out
}

// poolable says whether steps of the handshake may be made on the pool: OpenSSL has
// the descriptor, no slow key blocks a thread, and no early data is waited for.
func (c *Conn) poolable() bool {
	_, memory := c.tr.(*memory)
	return c.server && !memory && c.host.Load().gated && c.hs.early == nil
}

func (c *Conn) handshakeStep(f func() cshim.Result) {
	h := &c.hs
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cross("handshake", &h.result, &h.failure, func() cshim.Result {
		h.begun = true
		r := f()
		c.early.accepted = c.ssl.EarlyDataAccepted()
		clear(h.answers)
		h.answers = nil
		c.loose.lives = c.loose.lives[:0]
		if c.ssl.Resumes() || c.ssl.Version() == tls.VersionTLS13 && !c.host.Load().asksClient() {
			h.heavy = false // the client's Finished is left, and no signature
		}
		return r
	})
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

func (c *Conn) stepRead(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads(func() cshim.Result { return c.ssl.Read(tr, c.rd.buf) })
}

func (c *Conn) stepPeek(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads(func() cshim.Result { return c.ssl.Peek(tr) })
}

func (c *Conn) reads(f func() cshim.Result) (wait bool, in, out int) {
	r := &c.rd.result
	c.cross("read", r, &c.rd.failure, f)
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
	// A client's new sessions are announced before it waits on. That an answer
	// of OpenSSL could not be sent is for the next Write to find out.
	return r.Status == cshim.WantRead && !r.Sessions, r.In, r.Out
}

func (c *Conn) stepWrite(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.wr.result
	c.cross("write", r, &c.wr.failure, func() cshim.Result { return c.ssl.Write(tr, c.wr.buf[c.wr.n:]) })
	c.wr.n += r.N
	if r.Status == cshim.WantRead {
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		c.wr.moved = c.moved
	}
	return r.Status == cshim.WantWrite && !r.Held, r.In, r.Out
}

func (c *Conn) stepFlush(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.wr.result
	c.cross("write", r, &c.wr.failure, func() cshim.Result { return c.ssl.Flush(tr, c.announcing == 0) })
	return r.Status == cshim.WantWrite && !r.Held, r.In, r.Out
}

func (c *Conn) stepShutdown(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.wr.result
	c.cross("close", r, &c.wr.failure, func() cshim.Result { return c.ssl.Shutdown(tr) })
	return r.Status == cshim.WantWrite && !r.Held && !c.wr.once, r.In, r.Out
}

// announce tells the NewHandler of the sessions that the steps so far
// announced, one after the other, and waits for it within the limits.
func (c *Conn) announce(ctx context.Context, l limits) {
	c.mu.Lock()
	list := c.loose.announced
	c.loose.announced = nil
	c.mu.Unlock()
	left := list
	defer func() { // of a handler in place that ended this goroutine
		if len(left) == 0 {
			return
		}
		cshim.FreeSessions(left[1:])
		c.mu.Lock()
		if c.announcing -= len(left); c.announcing == 0 && c.stored != nil {
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
