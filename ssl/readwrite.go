package ssl

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"

	"github.com/sessioncb/openssl/cshim"
)

// Read reads what the peer sent (SSL_read_ex). It returns io.EOF after the
// peer's close_notify, and io.ErrUnexpectedEOF if the transport ended without
// one: the data may be cut.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if len(b) == 0 {
		return 0, nil
	}
	c.rd.mu.Lock()
	over := false // others are to run
	defer func() {
		c.rd.buf = nil
		c.rd.mu.Unlock()
		if over {
			runtime.Gosched()
		}
	}()
	if c.rd.err != nil {
		return 0, c.rd.err
	}
	c.rd.buf = b
	r := &c.rd.result
	err := c.tr.input((*toRead)(c))
	if err == nil && r.Sessions {
		err = c.readOn()
	}
	if r.Pending > 0 {
		c.flushSoon()
	}
	switch {
	case err != nil:
		return 0, transportError("read", err)
	case r.Status == cshim.Done:
		over = c.rd.streak.add(r.N)
		return r.N, nil
	case r.Status == cshim.Closed:
		c.rd.err = io.EOF
	case r.Status == cshim.Truncated:
		c.rd.err = io.ErrUnexpectedEOF
	default:
		c.rd.err = c.rd.failure
	}
	return 0, c.rd.err
}

// readOn announces the sessions that came, and reads until there is something else.
func (c *Conn) readOn() (err error) {
	for r := &c.rd.result; err == nil && r.Sessions; {
		c.announce(context.Background(), limits{deadline: &c.readDeadline, closed: &c.closed})
		if r.Status != cshim.WantRead {
			break
		}
		if r.Pending > 0 {
			c.flushSoon()
		}
		err = c.tr.input((*toRead)(c))
	}
	return err
}

// Write writes b (SSL_write_ex), and returns when the transport has taken all
// of it. After a failure with bytes on the way every later Write reports it
// again: half a record cannot be taken back.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	return c.write(b)
}

// write writes b as early data, or a server's answer to it, if the handshake
// has not finished.
func (c *Conn) write(b []byte) (int, error) {
	c.wr.lock()
	over := false // others are to run
	defer func() {
		c.wr.buf = nil
		c.wr.unlock()
		if over {
			runtime.Gosched()
		}
	}()
	if c.wr.err != nil {
		return 0, c.wr.err
	}
	c.wr.buf, c.wr.n, c.wr.result = b, 0, cshim.Result{}
	for {
		if over {
			runtime.Gosched()
		}
		err := c.tr.output((*toWrite)(c))
		r := c.wr.result
		over = c.wr.streak.add(r.N)
		if r.Sessions {
			// A ticket that NewSessionTicket queued: it leaves when it is stored.
			c.announce(context.Background(), limits{deadline: &c.writeDeadline, closed: &c.closed})
		}
		switch {
		case err != nil:
		case r.Held:
			err = c.flush()
		case r.Status == cshim.WantRead:
			err = c.awaitInput()
		case r.Status == cshim.Failed:
			err = c.wr.failure
		case r.Status == cshim.Truncated || r.Status == cshim.Closed: // in the middle of a message
			err = &Error{Op: "write", Err: io.ErrUnexpectedEOF}
		}
		if err != nil {
			err = transportError("write", err)
			if r.Pending > 0 || c.wr.n > 0 || !isTimeout(err) {
				c.wr.err = err
			}
			return c.wr.n, err
		}
		if c.wr.n == len(b) && (r.Held || r.Status == cshim.Done) {
			return c.wr.n, nil
		}
	}
}

// flush sends what is kept, once every session that was announced is stored;
// wr.mu is held.
func (c *Conn) flush() error {
	for {
		c.mu.Lock()
		if c.announcing > 0 && c.stored == nil {
			c.stored = make(chan struct{})
		}
		stored := c.stored
		c.mu.Unlock()
		if stored != nil {
			if err := c.await(stored); err != nil {
				return err
			}
		}
		if err := c.tr.output((*toFlush)(c)); err != nil {
			return err
		}
		if r := &c.wr.result; r.Status == cshim.Failed {
			return c.wr.failure
		} else if !r.Held {
			return nil
		}
	}
}

// await waits within the write deadline.
func (c *Conn) await(done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-c.writeDeadline.wait():
		return c.pastDeadline("write")
	case <-c.closed.wait():
		return net.ErrClosed
	}
}

func (c *Conn) pastDeadline(op string) error {
	e := &net.OpError{Op: op, Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.ErrDeadlineExceeded}
	if e.Addr != nil {
		e.Net = e.Addr.Network()
	}
	return e
}

// flushSoon sends what a Read left to be sent: answers of OpenSSL itself, or a
// ticket. A Write that runs sends them; else a goroutine does, so that Read
// never waits for the other direction.
func (c *Conn) flushSoon() {
	if !c.wr.flushing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		c.wr.mu.Lock()
		defer c.wr.mu.Unlock()
		c.wr.flushing.Store(false)
		if c.wr.err == nil {
			if err := c.flush(); err != nil && !isTimeout(err) {
				c.wr.err = transportError("write", err)
			}
		}
	}()
}

// awaitInput waits until a step of the reading side moved on: libssl cannot
// write in the middle of a message that it has begun to read. A Read that runs
// does it; else a goroutine reads what is not application data, which a read
// deadline that is past forbids.
func (c *Conn) awaitInput() error {
	c.mu.Lock()
	moved := c.moved
	c.mu.Unlock()
	if moved == nil {
		return nil // it did meanwhile
	}
	pumped := make(chan error, 1)
	go func() { pumped <- c.pump(moved) }()
	select {
	case <-moved:
		return nil
	case err := <-pumped:
		return err
	case <-c.writeDeadline.wait():
		return c.pastDeadline("write")
	case <-c.closed.wait():
		return net.ErrClosed
	}
}

// pump reads until something moved.
func (c *Conn) pump(moved <-chan struct{}) error {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	select {
	case <-moved:
		return nil
	default:
	}
	if c.rd.err != nil {
		return c.rd.err
	}
	err := c.tr.input((*toPeek)(c))
	c.announce(context.Background(), limits{deadline: &c.readDeadline, closed: &c.closed})
	if err == nil && c.rd.result.Status == cshim.Failed {
		c.rd.err = c.rd.failure
		err = c.rd.err
	}
	return err
}

func isTimeout(err error) bool {
	if err == nil {
		return false
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
