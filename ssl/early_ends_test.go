package ssl

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// earlyState is a connection in the middle of early data, and what waits there.
type earlyState struct {
	p       *earlyPair
	s, c    *Conn
	waiting chan error         // what the operation that waits came to
	cancel  context.CancelFunc // of its context; nil: it has none
}

// waitsFor says what: the transport, or a handler in a call with a context.
type waitsFor struct{ input, output, ctx bool }

// earlyStates bring a connection to each place where a server waits.
var earlyStates = []struct {
	name  string
	waits waitsFor
	reach func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState
}{
	{"before the ClientHello", waitsFor{input: true, ctx: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		p := newEarlyPair(t, wrap, nil)
		x := &earlyState{p: p}
		x.s, x.c = p.resume()
		x.earlyData()
		eventually(t, "EarlyData runs", x.s.early.asked.Load)
		return x
	}},
	{"in the lookup", waitsFor{ctx: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		called := make(chan struct{}, 1)
		x := &earlyState{}
		x.p = newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.LookupTimeout = patience })
		session := x.p.session()
		cb := x.p.handlers.callbacks()
		cb.Get = stuckClaims{x.p.handlers, called}
		if err := x.p.server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}
		x.s, x.c = pair(t, x.p.server, x.p.client, &ClientOptions{Session: session}, wrap)
		early(t, x.c, "x")
		x.earlyData()
		<-called
		return x
	}},
	{"in the hook", waitsFor{ctx: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		called := make(chan struct{}, 1)
		x := &earlyState{}
		x.p = newEarlyPair(t, wrap, func(cfg, _ *Config) {
			cfg.LookupTimeout = patience
			cfg.AllowEarlyData = func(ctx context.Context, _ sessioncb.Conn) bool {
				called <- struct{}{}
				<-ctx.Done()
				return true
			}
		})
		x.s, x.c = x.p.resume()
		early(t, x.c, "x")
		x.earlyData()
		<-called
		return x
	}},
	{"in EarlyData.Read", waitsFor{input: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		x := openedEarly(t, wrap)
		x.wait(func(e *EarlyData) error {
			if _, err := io.ReadFull(e, make([]byte, 1)); err != nil {
				return err
			}
			_, err := e.Read(make([]byte, 1))
			return err
		})
		return x
	}},
	{"in Handshake", waitsFor{input: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		x := openedEarly(t, wrap)
		x.wait(func(*EarlyData) error { return x.s.Handshake() })
		return x
	}},
	{"in Read", waitsFor{input: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		x := openedEarly(t, wrap)
		x.wait(func(*EarlyData) error { _, err := x.s.Read(make([]byte, 1)); return err })
		return x
	}},
	{"in EarlyData.Write", waitsFor{output: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		x := openedEarly(t, wrap)
		x.wait(func(e *EarlyData) error { _, err := e.Write(make([]byte, 32<<20)); return err })
		return x
	}},
	{"in EarlyData.Write and Read", waitsFor{input: true, output: true}, func(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
		x := openedEarly(t, wrap)
		x.wait(func(e *EarlyData) error {
			wrote := make(chan error, 1)
			go func() { _, err := e.Write(make([]byte, 32<<20)); wrote <- err }()
			_, err := x.s.Read(make([]byte, 100))
			return errors.Join(err, <-wrote)
		})
		return x
	}},
}

// stuckClaims does not answer.
type stuckClaims struct {
	*claims
	called chan struct{}
}

func (h stuckClaims) GetSession(ctx context.Context, _ sessioncb.Conn, _ []byte) (sessioncb.Answer, error) {
	h.called <- struct{}{}
	<-ctx.Done()
	return sessioncb.Answer{}, ctx.Err()
}

// earlyData waits in EarlyData, with a context that can be cancelled.
func (x *earlyState) earlyData() {
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	x.waiting = make(chan error, 1)
	go func() { _, err := x.s.EarlyData(ctx); x.waiting <- err }()
}

// wait runs f, which is to wait, once early data is open.
func (x *earlyState) wait(f func(*EarlyData) error) {
	e := openEarly(x.p.t, x.s)
	x.waiting = make(chan error, 1)
	go func() { x.waiting <- f(e) }()
	select {
	case err := <-x.waiting:
		x.p.t.Fatalf("it did not wait: %v", err)
	case <-time.After(30 * time.Millisecond):
	}
}

// openedEarly is a connection on which a byte of early data was accepted.
func openedEarly(t *testing.T, wrap func(net.Conn) net.Conn) *earlyState {
	x := &earlyState{p: newEarlyPair(t, wrap, nil)}
	x.s, x.c = x.p.resume()
	early(t, x.c, "x")
	return x
}

// A tcpConn is what a *net.TCPConn and a *socket have in common.
type tcpConn interface {
	net.Conn
	CloseWrite() error
	SetLinger(sec int) error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// tcp returns the socket under the transport of c.
func tcp(c *Conn) tcpConn { return beneath(c.NetConn()) }

func beneath(nc net.Conn) tcpConn {
	if w, ok := nc.(struct{ net.Conn }); ok {
		nc = w.Conn
	}
	return nc.(tcpConn)
}

// Whatever ends a connection in the middle of early data, what waits returns
// with the reason, and nothing is left.
func TestEarlyDataEnds(t *testing.T) {
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for _, way := range []struct {
		name    string
		end     func(x *earlyState)
		applies func(waitsFor) bool
		want    func(error) bool
	}{
		{"Close", func(x *earlyState) { x.s.Close() }, nil, is(net.ErrClosed)},
		{"Abort", func(x *earlyState) { x.s.Abort() }, nil, is(net.ErrClosed)},
		{"cancel", func(x *earlyState) { x.cancel() },
			func(w waitsFor) bool { return w.ctx }, is(context.Canceled)},
		{"deadline", func(x *earlyState) { x.s.SetDeadline(time.Now().Add(-time.Second)) }, nil, isTimeout},
		// While a handler runs nobody looks at the transport.
		{"the peer's FIN", func(x *earlyState) { tcp(x.c).CloseWrite() },
			func(w waitsFor) bool { return w.input && !w.output }, is(io.ErrUnexpectedEOF)},
		{"the peer's RST", func(x *earlyState) { tcp(x.c).SetLinger(0); tcp(x.c).Close() },
			func(w waitsFor) bool { return w.input || w.output }, is(io.ErrUnexpectedEOF)},
		{"the peer's garbage", func(x *earlyState) {
			tcp(x.c).Write([]byte("\x17\x03\x03\x00\x20thirty-two bytes and not a record"))
		}, func(w waitsFor) bool { return w.input && !w.output }, func(err error) bool {
			var e *Error
			return errors.As(err, &e) && len(e.Queue) > 0
		}},
	} {
		for _, state := range earlyStates {
			if way.applies != nil && !way.applies(state.waits) {
				continue
			}
			t.Run(state.name+"/"+way.name, func(t *testing.T) {
				eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
					x := state.reach(t, wrap)
					if x.cancel != nil {
						defer x.cancel()
					}
					way.end(x)
					select {
					case err := <-x.waiting:
						if !way.want(err) {
							t.Errorf("it returned %v", err)
						}
					case <-time.After(patience):
						t.Fatal("it waits still")
					}
					x.s.Close()
					x.c.Close()
				})
			})
		}
	}
}

// A client's end in the middle of early data.
func TestEarlyDataClientEnds(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, end := range []func(c *Conn) error{(*Conn).Close, (*Conn).Abort, func(c *Conn) error {
			c.SetWriteDeadline(time.Now().Add(-time.Second))
			return nil
		}} {
			p := newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.MaxEarlyData = 1 << 20 })
			_, c := p.resume()
			tcp(c).SetWriteBuffer(4096)
			early(t, c, "x")
			done := make(chan error, 1)
			// The server reads nothing: the socket is full some time.
			go func() { done <- fill(c) }()
			select {
			case err := <-done:
				t.Skipf("the sockets take all that is allowed: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			if err := end(c); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, net.ErrClosed) && !isTimeout(err) {
				t.Errorf("WriteEarlyData: %v", err)
			}
			c.Close()
		}
	})
}

func fill(c *Conn) error {
	_, err := c.WriteEarlyData(make([]byte, 1<<20-1))
	return err
}

// Close sends close_notify after the answer to early data, if nothing else is
// waited for than the client.
func TestCloseAfterEarlyAnswer(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		a, b, wire := newRelay(t)
		s, c := p.ends(a, b, &ClientOptions{Session: p.session()})
		early(t, c, "x")
		e := openEarly(t, s)
		if _, err := io.ReadFull(e, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		wire.hold()
		if _, err := e.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
			t.Errorf("the client read %q, %v, want an orderly end", got, err)
		}
		if _, err := e.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("EarlyData.Read after Close: %v", err)
		}
		if _, err := e.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("EarlyData.Write after Close: %v", err)
		}
	})
}

// A client that does not go on is waited for as long as for a handshake, and
// then the connection is at its end; however little comes now and then.
func TestEarlyDataHandshakeTimeout(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.HandshakeTimeout = 300 * time.Millisecond })
		s, c := p.resume()
		early(t, c, "x")
		e := openEarly(t, s)
		go func() {
			for range 100 {
				time.Sleep(10 * time.Millisecond)
				if _, err := c.WriteEarlyData([]byte("x")); err != nil {
					return
				}
			}
		}()
		n := 0
		var err error
		for err == nil {
			_, err = e.Read(make([]byte, 1))
			n++
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("EarlyData.Read: %v", err)
		}
		if n > 90 {
			t.Errorf("%d bytes were waited for: each has a time of its own", n)
		}
		if err := s.Handshake(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Handshake: %v", err)
		}
		if _, err := e.Write([]byte("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("EarlyData.Write: %v", err)
		}
	})
}
