package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// ownListeners are the two ways in which a Listener accepts on its own socket.
var ownListeners = []struct {
	name   string
	config func() Config
	is     func(net.Listener) bool
}{
	{"threads of C", serverConfig, func(l net.Listener) bool { _, ok := l.(*door); return ok }},
	{"Go", func() Config {
		cfg := serverConfig()
		cfg.SessionCallbacks = newStore().callbacks()
		return cfg
	}, func(l net.Listener) bool { _, ok := l.(*acceptor); return ok }},
}

// eachListener runs f with a Listener of either way.
func eachListener(t *testing.T, change func(*Config), f func(t *testing.T, l *Listener, ctx *Context)) {
	for _, own := range ownListeners {
		t.Run(own.name, func(t *testing.T) {
			cfg := own.config()
			if change != nil {
				change(&cfg)
			}
			ctx := newContext(t, cfg)
			l, err := Listen("tcp", "127.0.0.1:0", ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			if !own.is(l.Listener) {
				t.Fatalf("the listener is a %T", l.Listener)
			}
			f(t, l, ctx)
		})
	}
}

func accept(t testing.TB, l *Listener) *Conn {
	t.Helper()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := nc.(*Conn)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// dialTo begins to visit l; the Conn comes when its handshake has ended.
func dialTo(t testing.TB, l *Listener, version uint16) <-chan *Conn {
	client, _ := newClient(t, version)
	done := make(chan *Conn, 1)
	go func() {
		c, err := Dial("tcp", l.Addr().String(), client, &ClientOptions{ServerName: "localhost"})
		if err != nil {
			t.Error(err)
		}
		done <- c
	}()
	return done
}

// meet returns both ends of a connection whose handshake a door, if l is one, has
// made in C.
func meet(t testing.TB, l *Listener, version uint16) (s, c *Conn) {
	t.Helper()
	dialed := dialTo(t, l, version)
	s = accept(t, l)
	h := s.hs.Load() // nil: nothing is left to do
	if _, ok := l.Listener.(*door); ok && h != nil && !h.given {
		t.Error("the handshake was not made by C")
	}
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	if c = <-dialed; c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	return s, c
}

// Data, addresses, options and ends are those of any net.Conn.
func TestOwnListener(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
			s, c := meet(t, l, version)
			if s.ConnectionState().Version != version {
				t.Errorf("version %x", s.ConnectionState().Version)
			}
			if s.LocalAddr().String() != c.RemoteAddr().String() || s.RemoteAddr().String() != c.LocalAddr().String() {
				t.Errorf("%v %v, the client says %v %v", s.LocalAddr(), s.RemoteAddr(), c.RemoteAddr(), c.LocalAddr())
			}
			raw, err := s.NetConn().(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			raw.Control(func(fd uintptr) {
				for _, o := range keepAlive {
					if v, err := syscall.GetsockoptInt(int(fd), o.level, o.name); err != nil || v != o.value {
						t.Errorf("option %d of %d: %d, %v, want %d", o.name, o.level, v, err, o.value)
					}
				}
				if flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0); errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
					t.Errorf("descriptor flags %x, %v: no FD_CLOEXEC", flags, errno)
				}
			})
			exchange(t, s, c)
			large := make([]byte, 8<<20) // more than the socket takes
			go s.Write(large)
			if _, err := io.ReadFull(c, make([]byte, len(large))); err != nil {
				t.Fatal(err)
			}
			wrote := make(chan struct{})
			go func() { defer close(wrote); c.Write(large) }()
			if _, err := io.ReadFull(s, make([]byte, len(large))); err != nil {
				t.Fatal(err)
			}
			<-wrote // a Close beside a Write sends no close_notify
			c.Close()
			if _, err := s.Read(large); err != io.EOF {
				t.Errorf("Read after the peer's Close: %v", err)
			}
		})
	})
}

// A client that says nothing stands in nobody's way, and its time ends.
func TestOwnListenerSilentClient(t *testing.T) {
	const limit = 300 * time.Millisecond
	eachListener(t, func(cfg *Config) { cfg.HandshakeTimeout = limit }, func(t *testing.T, l *Listener, _ *Context) {
		silent, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		dialed := dialTo(t, l, tls.VersionTLS13)
		ends := make(chan error, 2)
		for range 2 {
			s := accept(t, l)
			go func() { ends <- s.Handshake() }()
		}
		if err := <-ends; err != nil {
			t.Errorf("the first handshake to end: %v", err)
		}
		if c := <-dialed; c != nil {
			c.Close()
		}
		if err := <-ends; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the silent client's: %v", err)
		}
		// It is final: the transport is closed.
		silent.SetReadDeadline(time.Now().Add(patience))
		if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the silent client reads: %v", err)
		}
	})
}

// What clients do wrong comes out of Handshake, and Accept goes on.
func TestOwnListenerBadClients(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		for _, bad := range []struct {
			name string
			do   func(nc net.Conn)
			is   func(error) bool
		}{
			{"goes", func(nc net.Conn) { nc.Close() }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
			{"resets", func(nc net.Conn) { nc.(*net.TCPConn).SetLinger(0); nc.Close() },
				func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
			{"half a hello", func(nc net.Conn) { nc.Write([]byte{22, 3, 1, 2, 0, 1, 0}); nc.Close() },
				func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
			{"speaks HTTP", func(nc net.Conn) { fmt.Fprint(nc, "GET / HTTP/1.0\r\n\r\n") },
				func(err error) bool { var e *Error; return errors.As(err, &e) && len(e.Queue) > 0 }},
		} {
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			bad.do(nc)
			s := accept(t, l)
			if err := s.Handshake(); !bad.is(err) {
				t.Errorf("a client that %s: %v", bad.name, err)
			}
			if s.RemoteAddr().String() != nc.LocalAddr().String() {
				t.Errorf("a client that %s came from %v, not %v", bad.name, s.RemoteAddr(), nc.LocalAddr())
			}
			nc.Close()
			s.Close()
		}
		dialed := dialTo(t, l, tls.VersionTLS12)
		s := accept(t, l)
		if err := s.Handshake(); err != nil {
			t.Error(err)
		}
		if c := <-dialed; c != nil {
			c.Close()
		}
	})
}

// Close wakes every Accept, and the address is free when it returns; clients that
// were not accepted see the end.
func TestOwnListenerClose(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		ends := make(chan error, 3)
		for range cap(ends) {
			go func() {
				_, err := l.Accept()
				ends <- err
			}()
		}
		time.Sleep(20 * time.Millisecond) // they wait, nearly always
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for range cap(ends) {
			if err := <-ends; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: %v", err)
			}
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the second Close: %v", err)
		}
		again, err := net.Listen("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}

func TestOwnListenerCloseWithClients(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		var clients []net.Conn
		for range 20 {
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			clients = append(clients, nc)
		}
		time.Sleep(20 * time.Millisecond)
		l.Close()
		for _, nc := range clients {
			nc.SetReadDeadline(time.Now().Add(patience / 3))
			if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Read: %v", err)
			}
		}
	})
}

// A closed Context ends Accept, and is gone though the Listener is open.
func TestOwnListenerContextClosed(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, ctx *Context) {
		ctx.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		if nc, err := net.Dial("tcp", l.Addr().String()); err == nil {
			defer nc.Close()
		}
		if err := <-ended; !errors.Is(err, ErrContextClosed) {
			t.Errorf("Accept: %v", err)
		}
		c, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := ctx.Wait(c); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
}

// Several goroutines may accept, wait and be woken.
func TestOwnListenerManyAccept(t *testing.T) {
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		const clients = 64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range clients / 4 {
					nc, err := l.Accept()
					if err != nil {
						t.Error(err)
						return
					}
					wg.Go(func() {
						defer nc.Close()
						io.Copy(nc, nc)
					})
				}
			})
		}
		client, _ := newClient(t, tls.VersionTLS13)
		for range clients {
			wg.Go(func() {
				c, err := Dial("tcp", l.Addr().String(), client, &ClientOptions{ServerName: "localhost"})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				for range 10 {
					c.Write([]byte("x"))
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// A program that accepts none has no more than a bound of them, and all the
// others later.
func TestDoorBackpressure(t *testing.T) {
	ctx := newContext(t, serverConfig())
	l, err := Listen("tcp", "127.0.0.1:0", ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := l.Listener.(*door)
	const clients = 1024 + 200
	for range clients {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	eventually(t, "C pauses", func() bool { return d.c.Untaken() >= 1024 })
	time.Sleep(50 * time.Millisecond)
	if n := d.c.Untaken(); n > 1024+64 {
		t.Errorf("%d were given, and nobody accepts", n)
	}
	for range clients {
		accept(t, l).Close()
	}
}

// Without descriptors Accept says so, as that of package net does, and goes on
// when there are some. In a process of its own, which has few.
func TestOwnListenerNoDescriptors(t *testing.T) {
	const variable = "SESSIONCB_TEST_NO_DESCRIPTORS"
	if os.Getenv(variable) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), variable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("too many open files")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	limit := syscall.Rlimit{Cur: 256, Max: 256}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	eachListener(t, nil, func(t *testing.T, l *Listener, _ *Context) {
		var filled []int
		for {
			fd, err := syscall.Dup(0)
			if err != nil {
				break
			}
			filled = append(filled, fd)
		}
		free := func() {
			for _, fd := range filled {
				syscall.Close(fd)
			}
			filled = nil
		}
		defer free()
		syscall.Close(filled[len(filled)-1])
		filled = filled[:len(filled)-1]
		nc, err := net.Dial("tcp", l.Addr().String()) // takes the one that is left
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_, err = l.Accept()
		t.Log(err)
		var temporary interface{ Temporary() bool }
		if !errors.Is(err, syscall.EMFILE) || !errors.As(err, &temporary) || !temporary.Temporary() {
			t.Fatalf("Accept: %v", err)
		}
		free()
		nc.Close()
		var c net.Conn
		for c == nil { // another thread of C, or a second try, may have met the same before
			if c, err = l.Accept(); err != nil && !errors.Is(err, syscall.EMFILE) {
				t.Fatal(err)
			}
		}
		defer c.Close()
		if err := c.(*Conn).Handshake(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the handshake of the client that waited: %v", err)
		}
	})
}

// Accept of a closed listener does not look at what C had, whatever it was told.
func TestDoorAcceptAfterClose(t *testing.T) {
	l, err := Listen("tcp", "127.0.0.1:0", newContext(t, serverConfig()))
	if err != nil {
		t.Fatal(err)
	}
	d := l.Listener.(*door)
	l.Close()
	<-d.gone
	d.ready.in.tell(false)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// A socket of which somebody has another descriptor is no longer watched after Close.
func TestSocketShared(t *testing.T) {
	s, peer := ownSocket(t)
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd, other := -1, -1
	raw.Control(func(of uintptr) { fd = int(of); other, err = syscall.Dup(int(of)) })
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(other)
	s.Close()
	polls.looking.Lock() // nobody else takes what comes
	defer polls.looking.Unlock()
	peer.Write([]byte("a"))
	if n, err := syscall.Read(other, make([]byte, 1)); n != 1 && err != syscall.EAGAIN {
		t.Fatalf("the other descriptor: %d bytes, %v", n, err)
	}
	for _, e := range polls.events[:cshim.EpollEvents(polls.inner, polls.events[:])] {
		if int(e.Fd) == fd {
			t.Errorf("there is an event: %#x", e.Events)
		}
	}
}

// Sessions that such a handshake makes are announced before their tickets leave.
func TestDoorAnnounces(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		st := newStore()
		cfg := serverConfig()
		cfg.Tickets, cfg.NumTickets = TicketsStateful, 2
		cfg.SessionCallbacks.New = st.callbacks().New
		l, err := Listen("tcp", "127.0.0.1:0", newContext(t, cfg))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s, c := meet(t, l, version)
		exchange(t, s, c)
		want := map[uint16]int{tls.VersionTLS12: 1, tls.VersionTLS13: 2}[version]
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.news != want {
			t.Errorf("%d sessions were announced, want %d", st.news, want)
		}
	})
}

// A server with TicketsNone makes full handshakes, whatever clients have, and
// asks nobody.
func TestTicketsNone(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		cfg := serverConfig()
		cfg.Tickets = TicketsNone
		server := newContext(t, cfg)
		l, err := Listen("tcp", "127.0.0.1:0", server)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, ok := l.Listener.(*door); !ok {
			t.Errorf("the listener is a %T", l.Listener)
		}
		// One that another server of the same trust made.
		other := newContext(t, serverConfig())
		client, got := newClient(t, version)
		visit(t, other, client, nil)
		offer := got.last(t)
		for range 2 {
			dialed := make(chan *Conn, 1)
			go func() {
				c, err := Dial("tcp", l.Addr().String(), client, &ClientOptions{ServerName: "localhost", Session: offer})
				if err != nil {
					t.Error(err)
				}
				dialed <- c
			}()
			s := accept(t, l)
			if err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			c := <-dialed
			if c == nil {
				t.FailNow()
			}
			exchange(t, s, c)
			if s.ConnectionState().DidResume || c.ConnectionState().DidResume {
				t.Error("resumed")
			}
			c.Close()
		}
		if st := server.Stats(); st.Number != 0 || st.Hits != 0 || st.AcceptGood != 2 {
			t.Errorf("%+v", st)
		}
	})
}
