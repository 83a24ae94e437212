package ssl

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// What a program forgets is freed, and nothing of what it has not forgotten.

// A forgotten Conn of a Listener is freed, and its descriptor closed.
func TestOwnListenerForgotten(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		before := cshim.ReadGauges().Conns
		dialed := dialTo(t, l, tls.VersionTLS13)
		func() {
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}()
		forgottenOnPurpose.Add(1)
		c := <-dialed
		if c == nil {
			t.FailNow()
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the descriptor is closed", func() bool {
			collect()
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
		})
		eventually(t, "its SSL is freed", func() bool { return cshim.ReadGauges().Conns <= before+1 })
	})
}

// Who has the NetConn of a Conn has its descriptor, and not another file's that
// came after it.
func TestForgottenButItsNetConn(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		before := forgotten.Load()
		dialed := dialTo(t, l, tls.VersionTLS13)
		raw := func() net.Conn {
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.(*Conn).Handshake(); err != nil {
				t.Fatal(err)
			}
			return nc.(*Conn).NetConn()
		}()
		c := <-dialed
		if c == nil {
			t.FailNow()
		}
		defer c.Close()
		for range 10 {
			collect()
		}
		if n := forgotten.Load() - before; n != 0 {
			t.Errorf("%d were freed", n)
		}
		if _, err := raw.Write([]byte("not TLS")); err != nil {
			t.Errorf("Write beneath TLS: %v", err)
		}
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("the peer's Read: %v", err)
		}
		if err := raw.Close(); err != nil {
			t.Error(err)
		}
		raw = nil
		forgottenOnPurpose.Add(1)
		eventually(t, "the SSL is freed", func() bool { collect(); return forgotten.Load()-before == 1 })
	})
}

// A Conn over the NetConn of another one, which is forgotten.
func TestForgottenButForAConn(t *testing.T) {
	l, err := Listen("tcp", "127.0.0.1:0", newContext(t, ownListeners[1].config()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := forgotten.Load()
	dialed := dialTo(t, l, tls.VersionTLS13)
	s := func() *Conn {
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s, err := Server(nc.(*Conn).NetConn(), nc.(*Conn).ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}()
	for range 10 {
		collect()
	}
	if n := forgotten.Load() - before; n != 0 {
		t.Errorf("%d were freed", n)
	}
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := <-dialed
	if c == nil {
		t.FailNow()
	}
	defer c.Close()
	exchange(t, s, c)
	s.Close()
	s = nil
	forgottenOnPurpose.Add(1)
	eventually(t, "the other SSL is freed", func() bool { collect(); return forgotten.Load()-before == 1 })
}

// A forgotten Listener, unless threads of C accept for it, no longer takes its address.
func TestForgottenListener(t *testing.T) {
	address := func() string {
		l, err := Listen("tcp", "127.0.0.1:0", newContext(t, ownListeners[1].config()))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := l.Listener.(*acceptor); !ok {
			t.Fatalf("the listener is a %T", l.Listener)
		}
		return l.Addr().String()
	}()
	eventually(t, "nobody listens", func() bool {
		collect()
		c, err := net.DialTimeout("tcp", address, time.Second) // one that waits to be accepted is no answer
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// descriptors counts those of this process, once as few are left as there may be.
func descriptors(most int) (n int) {
	for range 200 {
		collect()
		list, _ := os.ReadDir("/proc/self/fd")
		if n = len(list); n <= most {
			break
		}
	}
	return n
}

type wrappedListener struct{ net.Listener }

func (w wrappedListener) Accept() (net.Conn, error) {
	nc, err := w.Listener.Accept()
	return struct{ net.Conn }{nc}, err
}

// Whatever becomes of a connection, its descriptor is closed in the end.
func TestForgottenDescriptors(t *testing.T) {
	closed := newContext(t, serverConfig())
	closed.Close()
	accept := func(t *testing.T, l *Listener) net.Conn {
		nc, err := l.Listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	for _, test := range []struct {
		name string
		wrap bool // the program has put its own Listener around ours
		// forget takes a connection of l, and says how many Conns it has forgotten.
		forget func(t *testing.T, l *Listener) (conns int64)
	}{
		{"no Conn was made", false, func(t *testing.T, l *Listener) int64 {
			accept(t, l)
			return 0
		}},
		{"a Listener around it", true, func(t *testing.T, l *Listener) int64 {
			if _, err := l.Accept(); err != nil {
				t.Fatal(err)
			}
			return 1
		}},
		{"Server failed before", false, func(t *testing.T, l *Listener) int64 {
			nc := accept(t, l)
			if _, err := Server(nc, closed); !errors.Is(err, ErrContextClosed) {
				t.Errorf("Server with a closed Context: %v", err)
			}
			if _, err := Server(nc, l.ctx); err != nil {
				t.Fatal(err)
			}
			return 1
		}},
		{"Client failed before", false, func(t *testing.T, l *Listener) int64 {
			nc := accept(t, l)
			if _, err := Client(nc, l.ctx, &ClientOptions{ServerName: "no name"}); err == nil {
				t.Error("Client took the name")
			}
			if _, err := Server(nc, l.ctx); err != nil {
				t.Fatal(err)
			}
			return 1
		}},
		{"SyscallConn's function panicked", false, func(t *testing.T, l *Listener) int64 {
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := nc.(*Conn).NetConn().(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range []func(func(uintptr) bool) error{raw.Read, raw.Write} {
				func() {
					defer func() {
						if recover() == nil {
							t.Error("no panic")
						}
					}()
					call(func(uintptr) bool { panic("on purpose") })
				}()
			}
			nc.Close()
			return 0
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := ownListeners[1].config()
			cfg.Verify = VerifyNone
			l, err := Listen("tcp", "127.0.0.1:0", newContext(t, cfg))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if test.wrap {
				l.Listener = wrappedListener{l.Listener}
			}
			one := func() {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				forgottenOnPurpose.Add(test.forget(t, l))
			}
			one() // what stays open once it was needed
			for range 20 {
				collect()
			}
			before := descriptors(math.MaxInt)
			for range 5 {
				one()
			}
			if n := descriptors(before); n > before {
				t.Errorf("%d descriptors of 5 are left", n-before)
			}
		})
	}
}
