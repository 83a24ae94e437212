package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// beginEarly says whether the client's early data was accepted. Then requests
// are read and answered before the handshake has finished: one round trip
// sooner, and by a client that may be a replay of another one.
func (c *conn) beginEarly() bool {
	early, err := c.Conn.EarlyData(context.Background()) // Config.HandshakeTimeout bounds it
	if err != nil || !c.Conn.EarlyDataAccepted() {
		return false
	}
	c.early = early
	c.mu.Lock()
	defer c.mu.Unlock()
	c.describe(c.Conn.ConnectionState())
	c.report.early = "accepted"
	return true
}

// Read gives net/http the early data first; with its end comes that of the
// handshake.
func (c *conn) Read(b []byte) (int, error) {
	if c.early != nil && !c.earlyOver {
		n, err := c.early.Read(b)
		if err != io.EOF {
			return n, err
		}
		if err := c.finishEarly(); err != nil {
			return 0, err
		}
		c.earlyOver = true
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.late.Store(true)
	}
	return n, err
}

// Write answers before the handshake has finished, if there is early data.
func (c *conn) Write(b []byte) (int, error) {
	if c.early != nil {
		return c.early.Write(b)
	}
	return c.Conn.Write(b)
}

// finishEarly finishes the handshake and reports it. It may be called again
// after a deadline has passed.
func (c *conn) finishEarly() error {
	err := c.Conn.Handshake()
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	c.finished.Do(func() { c.finish(err) })
	return err
}

// earlyEnd is how long a client may take to finish the handshake after it was
// answered: only then it gets the session for its next visit.
const earlyEnd = time.Second

// endEarly finishes the handshake of a connection that is closed after an
// answer to early data.
func (c *conn) endEarly() {
	c.Conn.SetDeadline(time.Now().Add(earlyEnd))
	c.finishEarly()
	c.finished.Do(func() { c.finish(errors.New("the client was answered, and did not finish the handshake")) })
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
