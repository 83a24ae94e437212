package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// endings are the ways in which a connection ends. Each begins with an
// established connection on which a byte went each way, and ends with both
// sides closed.
var endings = []struct {
	name    string
	end     func(t *testing.T, s, c *Conn, cConn net.Conn)
	removed bool // the server's session
	reason  sessioncb.Reason
}{
	{"both close", func(t *testing.T, s, c *Conn, _ net.Conn) {
		c.Close()
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read after the peer's Close: %v, want io.EOF", err)
		}
		s.Close()
	}, false, 0},
	{"close without the peer's answer", func(t *testing.T, s, c *Conn, _ net.Conn) {
		s.Close()
	}, false, 0},
	{"deadline", func(t *testing.T, s, c *Conn, _ net.Conn) {
		s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := s.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Read at the deadline: %v, want a timeout", err)
		}
		s.Close()
	}, false, 0},
	{"FIN without close_notify", func(t *testing.T, s, c *Conn, cConn net.Conn) {
		cConn.Close()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Read after a bare FIN: %v, want io.ErrUnexpectedEOF", err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a second Read: %v, want io.ErrUnexpectedEOF", err)
		}
		s.Close()
	}, false, 0},
	{"RST", func(t *testing.T, s, c *Conn, cConn net.Conn) {
		cConn.(tcpConn).SetLinger(0)
		cConn.Close()
		_, err := s.Read(make([]byte, 1))
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Read after a RST: %v, want io.ErrUnexpectedEOF and ECONNRESET", err)
		}
		s.Close()
	}, false, 0},
	{"write to a peer that is gone", func(t *testing.T, s, c *Conn, cConn net.Conn) {
		cConn.(tcpConn).SetLinger(0)
		cConn.Close()
		var err error
		for range 100 {
			if _, err = s.Write(make([]byte, 1<<14)); err != nil {
				break
			}
		}
		if err == nil {
			t.Error("writes to a closed connection succeed")
		}
		if _, again := s.Write([]byte("x")); again != err {
			t.Errorf("a later Write: %v, want the same error: %v", again, err)
		}
		s.Close()
	}, false, 0},
	{"fatal alert sent", func(t *testing.T, s, c *Conn, cConn net.Conn) {
		// A record that does not decrypt.
		cConn.Write([]byte("\x17\x03\x03\x00\x20ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"))
		_, err := s.Read(make([]byte, 1))
		var e *Error
		if !errors.As(err, &e) || e.Code != 1 || len(e.Queue) == 0 {
			t.Errorf("Read of junk: %v, want an Error with a queue", err)
		}
		s.Close()
	}, true, sessioncb.Faulty},
	{"abort", func(t *testing.T, s, c *Conn, _ net.Conn) {
		s.Abort()
	}, true, sessioncb.UncleanClose},
}

// Ordinary ends keep the session, and so does a peer that just disappears;
// only a fatal alert removes it, or a program that asks for it.
func TestEnds(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		for _, e := range endings {
			t.Run(e.name, func(t *testing.T) {
				st := newStore()
				cfg := serverConfig()
				cfg.SessionCallbacks = st.callbacks()
				cfg.Tickets = TicketsStateful
				cfg.NumTickets = 1
				server := newContext(t, cfg)
				client, got := newClient(t, version)
				a, b := sockets(t)
				s, err := Server(wrap(b), server)
				if err != nil {
					t.Fatal(err)
				}
				c, err := Client(wrap(a), client, &ClientOptions{ServerName: "localhost"})
				if err != nil {
					t.Fatal(err)
				}
				if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
					t.Fatal(serr, cerr)
				}
				exchange(t, s, c)
				before := server.Stats().Number
				e.end(t, s, c, tcp(c))
				c.Close()
				removed := before - server.Stats().Number
				if (removed == 1) != e.removed {
					t.Errorf("the internal cache lost %d sessions, want removed = %v", removed, e.removed)
				}
				// Resumed, or not, from the internal cache, without the store.
				st.mu.Lock()
				clear(st.values)
				st.mu.Unlock()
				s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, wrap)
				if c.ConnectionState().DidResume == e.removed {
					t.Errorf("resumed = %v after this end", !e.removed)
				}
				s.Close()
				c.Close()
				server.Close()
				server.Wait(context.Background())
				n := 0
				for _, r := range st.removals {
					if r.Reason != sessioncb.ContextFreed {
						n++
						if r.Reason != e.reason || !r.HandshakeDone {
							t.Errorf("removed with reason %v, handshake done = %v", r.Reason, r.HandshakeDone)
						}
						if r.Reason == sessioncb.Faulty && r.Err == nil {
							t.Error("Faulty without an error")
						}
					}
				}
				if (n == 1) != e.removed {
					t.Errorf("%d removals were delivered: %v", n, st.removals)
				}
			})
		}
	})
}

// The peer's alert, after the handshake, removes the session too.
func TestFatalAlertReceived(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		st := newStore()
		cfg := serverConfig()
		cfg.SessionCallbacks = st.callbacks()
		cfg.Tickets = TicketsStateful
		cfg.NumTickets = 1
		server := newContext(t, cfg)
		client, _ := newClient(t, version)
		a, b := sockets(t)
		s, _ := Server(wrap(b), server)
		c, _ := Client(wrap(a), client, &ClientOptions{ServerName: "localhost"})
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		exchange(t, s, c)
		tcp(s).Write([]byte("\x17\x03\x03\x00\x20ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("the client read junk")
		}
		var e *Error
		if _, err := s.Read(make([]byte, 1)); !errors.As(err, &e) || e.Code != 1 {
			t.Fatalf("the server's Read: %v", err)
		}
		c.Close()
		s.Close()
		server.Close()
		server.Wait(context.Background())
		if len(st.removals) != 1 || st.removals[0].Reason != sessioncb.Faulty || !st.removals[0].HandshakeDone {
			t.Errorf("removals %+v, want one Faulty after the handshake", st.removals)
		}
	})
}

// A fatal alert before the handshake finished is Faulty too, and says so:
// whoever saw a TLS 1.2 session id can cause it.
func TestFatalAlertInHandshake(t *testing.T) {
	st := newStore()
	cfg := serverConfig()
	cfg.SessionCallbacks = st.callbacks()
	cfg.Tickets = TicketsStateful
	server := newContext(t, cfg)
	client, got := newClient(t, tls.VersionTLS12)
	s, c := connect(t, server, client, nil, nil)
	exchange(t, s, c)
	s.Close()
	c.Close()

	done := make(chan error, 1)
	// By hand: a ClientHello with the id, and an alert.
	a, b := sockets(t)
	s, _ = Server(b, server)
	go func() { done <- s.Handshake() }()
	rec := &recorder{Conn: a, stop: 1}
	c, _ = Client(rec, client, &ClientOptions{Session: got.last(t), ServerName: "localhost"})
	c.SetDeadline(time.Now().Add(2 * time.Second))
	c.Handshake() // fails: what it writes after the ClientHello is dropped
	a.Write([]byte{21, 3, 3, 0, 2, 2, 40})
	if err := <-done; err == nil {
		t.Fatal("the handshake succeeded")
	}
	c.Close()
	s.Close()
	server.Close()
	server.Wait(context.Background())
	for _, r := range st.removals {
		if r.Reason == sessioncb.Faulty {
			if r.HandshakeDone {
				t.Error("HandshakeDone is set")
			}
			return
		}
	}
	t.Errorf("no Faulty among %+v", st.removals)
}

// recorder passes on only the first writes.
type recorder struct {
	net.Conn
	stop int
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.stop == 0 {
		return 0, net.ErrClosed
	}
	r.stop--
	return r.Conn.Write(b)
}

// A forgotten Conn and a forgotten Session are freed by the net under Close.
func TestForgotten(t *testing.T) {
	before := forgotten.Load()
	func() {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, tls.VersionTLS13)
		a, b := sockets(t)
		s, err := Server(b, server)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Client(a, client, &ClientOptions{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		if c.Session() == nil {
			t.Fatal("no session")
		}
	}()
	for range 100 {
		if forgotten.Load()-before == 3 {
			break
		}
		collect()
	}
	n := forgotten.Load() - before
	forgottenOnPurpose.Add(n)
	if n != 3 {
		t.Errorf("%d objects were freed by the collector, want 3", n)
	}
}

// Close from many goroutines, with Reads and Writes that wait.
func TestCloseWakes(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, version)
		s, c := connect(t, server, client, nil, wrap)
		s.SetDeadline(time.Time{})
		var wg sync.WaitGroup
		errs := make(chan error, 2)
		wg.Go(func() { _, err := s.Read(make([]byte, 1)); errs <- err })
		wg.Go(func() {
			var err error
			for err == nil {
				_, err = s.Write(make([]byte, 1<<16))
			}
			errs <- err
		})
		time.Sleep(20 * time.Millisecond)
		var closes [4]error
		for i := range closes {
			wg.Go(func() { closes[i] = s.Close() })
		}
		wg.Wait()
		for range 2 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a call that waited: %v, want net.ErrClosed", err)
			}
		}
		first := 0
		for _, err := range closes {
			if err == nil {
				first++
			} else if !errors.Is(err, net.ErrClosed) {
				t.Errorf("a second Close: %v", err)
			}
		}
		if first != 1 {
			t.Errorf("%d of 4 Closes succeeded", first)
		}
		c.Close()
	})
}
