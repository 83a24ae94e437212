package ssl

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
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
			runtime.GC()
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
