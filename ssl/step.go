package ssl

import (
	"context"
	"net"

	"github.com/sessioncb/openssl/cshim"
)

// The steps: each takes the lock, makes one crossing, and takes out of it all
// that it left. They run as poll functions, so none waits for anything.

// crossed looks at what a step left behind; mu is held. Removals are queued
// here; New handlers run later, with no lock.
func (c *Conn) crossed(op string, r *cshim.Result) {
	c.ctx.side.after(r.Events)
	if r.Sessions {
		c.announced = append(c.announced, c.ssl.TakeAnnounced()...)
	}
	switch {
	case r.Status == cshim.Failed:
		c.failure = stepError(op, c.ssl)
	case r.WriteErr != 0:
		c.failure = &Error{Op: op, Err: r.WriteErr}
	}
}

// freed is the result of a step that came after Close.
var freed = cshim.Result{Status: cshim.Failed}

func (c *Conn) stepHandshake(tr cshim.IO) (wait bool, in, out int) {
	h := &c.hs
	if c.ctx.gated && !h.slot {
		if !steps.try() {
			h.needSlot = true
			return false, 0, 0
		}
		h.slot = true
	}
	c.mu.Lock()
	if c.ssl == nil {
		h.result, c.failure = freed, net.ErrClosed
	} else {
		h.result = c.ssl.Handshake(tr, h.answers)
		c.crossed("handshake", &h.result)
	}
	c.mu.Unlock()
	h.answers = nil
	h.lent.release()
	if h.slot {
		steps.leave()
		h.slot = false
	}
	r := &h.result
	return r.Status == cshim.WantRead && r.Pending == 0 && r.WriteErr == 0, r.In, r.Out
}

func (c *Conn) stepRead(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.rd.result
	if c.ssl == nil {
		*r, c.failure = freed, net.ErrClosed
		return false, 0, 0
	}
	*r = c.ssl.Read(tr, c.rd.buf)
	r.WriteErr = 0 // an answer of OpenSSL could not be sent: the next Write finds out
	c.crossed("read", r)
	// A client's new sessions are announced before it waits on.
	return r.Status == cshim.WantRead && !r.Sessions, r.In, r.Out
}

func (c *Conn) stepWrite(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.wr.result
	if c.ssl == nil {
		*r, c.failure = freed, net.ErrClosed
		return false, 0, 0
	}
	*r = c.ssl.Write(tr, c.wr.buf[c.wr.n:])
	c.wr.n += r.N
	c.crossed("write", r)
	return r.Status == cshim.WantWrite && !r.Held, r.In, r.Out
}

func (c *Conn) stepFlush(tr cshim.IO, release bool) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.wr.result
	if c.ssl == nil {
		*r, c.failure = freed, net.ErrClosed
		return false, 0, 0
	}
	*r = c.ssl.Flush(tr, release)
	c.crossed("write", r)
	return r.Status == cshim.WantWrite && !r.Held, r.In, r.Out
}

func (c *Conn) stepShutdown(tr cshim.IO) (wait bool, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.wr.result
	if c.ssl == nil {
		*r, c.failure = freed, net.ErrClosed
		return false, 0, 0
	}
	*r = c.ssl.Shutdown(tr)
	c.crossed("close", r)
	return r.Status == cshim.WantWrite, r.In, r.Out
}

// stepFailure returns why the last step failed.
func (c *Conn) stepFailure(op string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		return &Error{Op: op}
	}
	return c.failure
}

// announce tells the NewHandler of the sessions that the steps so far
// announced, one after the other, and waits for it within the deadline.
func (c *Conn) announce(ctx context.Context, d *deadline) {
	c.mu.Lock()
	list := c.announced
	c.announced = nil
	c.mu.Unlock()
	for _, b := range list {
		c.note(c.ctx.side.announce(ctx, limits{d, c.closed}, c, b, c.drop))
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
