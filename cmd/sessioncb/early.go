package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sessioncb/openssl/ssl"
)

// early is the early data of a connection, on its way to net/http, and the
// handshake behind it. The handshake has a goroutine of its own: net/http
// breaks its reads off with a deadline in the past, and that would break off
// the storing of the session too, which comes with the end of the handshake.
type early struct {
	data *ssl.EarlyData
	pipe net.Conn      // where net/http reads it; io.EOF after the handshake
	done chan struct{} // the handshake is over
	err  error         // how, once done is closed

	mu       sync.Mutex
	over     bool      // pipe was read to its end: what follows is read of the Conn
	deadline time.Time // of reads
}

// beginEarly says whether the client's early data was accepted. Then requests
// are read and answered before the handshake has finished: one round trip
// sooner, and by a client that may be a replay of another one.
func (c *conn) beginEarly() bool {
	data, err := c.Conn.EarlyData(context.Background()) // Config.HandshakeTimeout bounds it
	if err != nil || !c.Conn.EarlyDataAccepted() {
		return false
	}
	c.mu.Lock()
	c.describe(c.Conn.ConnectionState())
	c.report.early = "accepted"
	c.mu.Unlock()
	e := &early{data: data, done: make(chan struct{})}
	var in net.Conn
	e.pipe, in = net.Pipe()
	c.early = e
	go func() {
		io.Copy(in, earlyReader{data}) // an error of it is one of the handshake too, or nobody reads
		e.err = c.Conn.Handshake()
		c.finished.Do(func() { c.finish(e.err) })
		close(e.done)
		in.Close()
	}()
	return true
}

// earlyReader has the Read of early data alone.
type earlyReader struct{ data *ssl.EarlyData }

func (r earlyReader) Read(b []byte) (int, error) { return r.data.Read(b) }

// Read gives net/http the early data first, then, behind the handshake, the
// rest.
func (c *conn) Read(b []byte) (int, error) {
	if e := c.early; e != nil && !e.isOver() {
		n, err := e.pipe.Read(b)
		if err != io.EOF {
			return n, err
		}
		if e.err != nil {
			return 0, e.err
		}
		e.mu.Lock()
		e.over = true
		c.Conn.SetReadDeadline(e.deadline)
		e.mu.Unlock()
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.late.Store(true)
	}
	return n, err
}

func (e *early) isOver() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over
}

// Write answers before the handshake has finished, if there is early data.
func (c *conn) Write(b []byte) (int, error) {
	if c.early != nil {
		return c.early.data.Write(b)
	}
	return c.Conn.Write(b)
}

// SetReadDeadline is for the reads of net/http, not for the handshake.
func (c *conn) SetReadDeadline(t time.Time) error {
	e := c.early
	if e == nil {
		return c.Conn.SetReadDeadline(t)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deadline = t
	if e.over {
		return c.Conn.SetReadDeadline(t)
	}
	return e.pipe.SetReadDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// earlyEnd is how long a client may take to finish the handshake after it was
// answered: only then it gets the session for its next visit.
const earlyEnd = time.Second

// end ends what reads, and waits for the handshake if the client was answered.
func (e *early) end(answered bool) {
	e.pipe.Close()
	if !answered {
		return
	}
	select {
	case <-e.done:
	case <-time.After(earlyEnd):
	}
}

// inEarlyData says whether all that the client sent so far was early data.
func (c *conn) inEarlyData() bool { return c.early != nil && !c.late.Load() }

// notTooEarly answers 425 to a request that came in early data and might change
// something: its client sends it again when the handshake has finished
// (RFC 8470).
func notTooEarly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		default:
			if connOf(r).inEarlyData() {
				http.Error(w, "a "+printable(r.Method)+" in early data may be a replay: send it again after the handshake", http.StatusTooEarly)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
