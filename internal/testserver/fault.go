package testserver

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is a peer that misbehaves, on a loopback port of its own. It counts
// who came, so that a test can show that its fault happened.
type Fault struct {
	listener net.Listener
	serve    func(net.Conn)
	accepted atomic.Int64
	delay    atomic.Int64

	mu      sync.Mutex
	conns   map[net.Conn]bool // nil: closed
	closing chan struct{}
	served  sync.WaitGroup
}

// BlackHole starts a peer that accepts, reads and never answers.
func BlackHole(t TB) *Fault { t.Helper(); return endFault(t)(StartBlackHole()) }

// Garbage starts a peer that answers whatever it gets with junk.
func Garbage(t TB) *Fault { t.Helper(); return endFault(t)(StartGarbage()) }

// Slow starts a proxy to upstream ("host:port") that delays each answer; what
// is delayed travels together, so a pipeline pays once.
func Slow(t TB, upstream string, delay time.Duration) *Fault {
	t.Helper()
	return endFault(t)(StartSlow(upstream, delay))
}

func endFault(t TB) func(*Fault, error) *Fault {
	return func(f *Fault, err error) *Fault {
		t.Helper()
		if err != nil {
			t.Fatalf("%v", err)
		}
		t.Cleanup(f.Close)
		return f
	}
}

// StartBlackHole is BlackHole without a test; Close ends it.
func StartBlackHole() (*Fault, error) {
	return startFault(func(c net.Conn) { io.Copy(io.Discard, c) })
}

// StartGarbage is Garbage without a test; Close ends it.
func StartGarbage() (*Fault, error) {
	return startFault(func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			// Lines, so that a client finds the end of the answer.
			junk := make([]byte, 64)
			for i := range junk {
				junk[i] = byte(rand.Uint32())
			}
			junk = append(bytes.ReplaceAll(junk, []byte{'\n'}, []byte{'?'}), '\r', '\n')
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	})
}

// StartSlow is Slow without a test; Close ends it.
func StartSlow(upstream string, delay time.Duration) (*Fault, error) {
	f := &Fault{}
	f.delay.Store(int64(delay))
	f.serve = func(c net.Conn) { f.proxy(c, upstream) }
	return f, f.start()
}

func startFault(serve func(net.Conn)) (*Fault, error) {
	f := &Fault{serve: serve}
	return f, f.start()
}

func (f *Fault) start() (err error) {
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("testserver: %w", err)
	}
	f.conns, f.closing = map[net.Conn]bool{}, make(chan struct{})
	f.served.Go(func() {
		for {
			c, err := f.listener.Accept()
			if err != nil {
				return
			}
			f.accepted.Add(1)
			if !f.track(c) {
				return
			}
			f.served.Go(func() {
				defer f.untrack(c)
				f.serve(c)
			})
		}
	})
	return nil
}

// track notes a connection that Close must end; after Close it ends it.
func (f *Fault) track(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		c.Close()
		return false
	}
	f.conns[c] = true
	return true
}

func (f *Fault) untrack(c net.Conn) {
	c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

// Addr returns "127.0.0.1:port".
func (f *Fault) Addr() string { return f.listener.Addr().String() }

// Connections returns how many were accepted so far.
func (f *Fault) Connections() int { return int(f.accepted.Load()) }

// SetDelay changes the delay of Slow, for answers from now on.
func (f *Fault) SetDelay(delay time.Duration) { f.delay.Store(int64(delay)) }

// Close ends the peer and its connections. It may be called again.
func (f *Fault) Close() {
	f.listener.Close()
	f.mu.Lock()
	conns := f.conns
	if f.conns != nil {
		close(f.closing)
	}
	f.conns = nil
	f.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	f.served.Wait()
}

// proxy passes questions on at once and answers late. Answers that come in
// while one is held back are held back from their own arrival.
func (f *Fault) proxy(c net.Conn, upstream string) {
	up, err := net.Dial("tcp", upstream)
	if err != nil || !f.track(up) {
		return
	}
	defer f.untrack(up)
	type chunk struct {
		due   time.Time
		bytes []byte
	}
	late := make(chan chunk, 1024)
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(up, c)
		up.(*net.TCPConn).CloseWrite()
	})
	both.Go(func() {
		defer close(late)
		for {
			b := make([]byte, 16<<10)
			n, err := up.Read(b)
			if n > 0 {
				late <- chunk{time.Now().Add(time.Duration(f.delay.Load())), b[:n]}
			}
			if err != nil {
				return
			}
		}
	})
	for a := range late {
		select {
		case <-time.After(time.Until(a.due)):
		case <-f.closing:
		}
		if _, err := c.Write(a.bytes); err != nil {
			up.Close() // ends the reader above
			break
		}
	}
	for range late {
	}
	c.Close()
	both.Wait()
}
