package ssl

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bufferedConn is a wrapper as programs write them: it embeds the TCPConn,
// has read ahead (a PROXY header, say), and counts.
type bufferedConn struct {
	*net.TCPConn
	buffered []byte
	in, out  atomic.Int64
}

func (b *bufferedConn) Read(p []byte) (n int, err error) {
	if len(b.buffered) > 0 {
		n = copy(p, b.buffered)
		b.buffered = b.buffered[n:]
	} else {
		n, err = b.TCPConn.Read(p)
	}
	b.in.Add(int64(n))
	return n, err
}

func (b *bufferedConn) Write(p []byte) (int, error) {
	n, err := b.TCPConn.Write(p)
	b.out.Add(int64(n))
	return n, err
}

// countedConn counts what its peer sent and received, below everything.
type countedConn struct {
	net.Conn
	in, out atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n))
	return n, err
}

// A wrapper promotes SyscallConn of what it embeds; it must not be bypassed.
func TestWrapperIsNotBypassed(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, version)
		a, b := sockets(t)
		below := &countedConn{Conn: a}
		c, err := Client(below, client, &ClientOptions{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		done := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte("hello"))
			done <- err
		}()
		// Half of the ClientHello is in the wrapper's buffer already.
		head := make([]byte, 100)
		if _, err := io.ReadFull(b, head); err != nil {
			t.Fatal(err)
		}
		w := &bufferedConn{TCPConn: b.(*net.TCPConn), buffered: head}
		s, err := Server(w, server)
		if err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(20 * time.Second))
		got := make([]byte, 5)
		if _, err := io.ReadFull(s, got); err != nil || string(got) != "hello" {
			t.Fatalf("read %q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		exchange(t, s, c)
		c.Close()
		s.Read(got)
		s.Close()
		if w.in.Load() != below.out.Load() || w.in.Load() == 0 {
			t.Errorf("%d bytes came through the wrapper, the peer sent %d", w.in.Load(), below.out.Load())
		}
		if w.out.Load() < below.in.Load() || w.out.Load() == 0 {
			t.Errorf("%d bytes went through the wrapper, the peer got %d", w.out.Load(), below.in.Load())
		}
	})
}

// Both directions are blocked with KeyUpdates in flight; each side's deadlines
// hold, Read does not wait for Write's room, and it all goes on afterwards.
func TestBlockedBothWaysWithKeyUpdate(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			server := newContext(t, serverConfig())
			client, _ := newClient(t, tls.VersionTLS13)
			s, c := connect(t, server, client, nil, tr.wrap)
			exchange(t, s, c)
			s.SetDeadline(time.Time{})
			c.SetDeadline(time.Time{})

			// Both write until the sockets are full; nobody reads.
			const total = 24 << 20
			data := bytes.Repeat([]byte("0123456789abcdef"), total/16)
			var wg sync.WaitGroup
			sums := make(chan error, 2)
			for _, x := range []*Conn{s, c} {
				if err := x.KeyUpdate(true); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					for b := data; len(b) > 0; b = b[1<<20:] {
						x.KeyUpdate(true)
						if _, err := x.Write(b[:1<<20]); err != nil {
							sums <- err
							return
						}
					}
					sums <- nil
				})
			}
			time.Sleep(50 * time.Millisecond)
			// A Read with a deadline gets the first bytes, whatever Write waits
			// for, and at the deadline of an empty direction a timeout.
			for _, x := range []*Conn{s, c} {
				x.SetReadDeadline(time.Now().Add(-time.Second))
				if _, err := x.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Read past its deadline: %v", err)
				}
				x.SetReadDeadline(time.Now().Add(20 * time.Second))
				b := make([]byte, 100)
				if _, err := io.ReadFull(x, b); err != nil {
					t.Errorf("Read while Write waits: %v", err)
				}
				if !bytes.Equal(b, data[:100]) {
					t.Error("other bytes arrived")
				}
			}
			// Then all is read, on both sides at once.
			for _, x := range []*Conn{s, c} {
				wg.Go(func() {
					x.SetReadDeadline(time.Now().Add(60 * time.Second))
					if n, err := io.CopyN(io.Discard, x, total-100); err != nil {
						t.Errorf("after %d bytes: %v", n, err)
					}
				})
			}
			wg.Wait()
			for range 2 {
				if err := <-sums; err != nil {
					t.Error(err)
				}
			}
			exchange(t, s, c)

			// A Write that is stuck ends at its deadline, and Read goes on.
			wg.Go(func() { c.Write([]byte("late")) })
			s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, err := s.Write(data)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a Write that is stuck: %v", err)
			}
			if _, again := s.Write([]byte("x")); again != err {
				t.Errorf("a later Write: %v, want the same error", again)
			}
			b := make([]byte, 4)
			if _, err := io.ReadFull(s, b); err != nil || string(b) != "late" {
				t.Errorf("Read after a Write that timed out: %q, %v", b, err)
			}
			wg.Wait()
		})
	}
}

// A deadline that comes before anything was written loses nothing.
func TestWriteDeadlineBeforeTheFirstByte(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, version)
		s, c := connect(t, server, client, nil, wrap)
		s.SetReadDeadline(time.Now().Add(-time.Second))
		if _, err := s.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("Read past the deadline: %v", err)
		}
		s.SetDeadline(time.Now().Add(10 * time.Second))
		exchange(t, s, c)
	})
}

// CloseWrite ends one direction.
func TestCloseWrite(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, version)
		s, c := pair(t, server, client, nil, wrap)
		if err := s.CloseWrite(); err == nil {
			t.Error("CloseWrite before the handshake succeeded")
		}
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		exchange(t, s, c)
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("x")); err == nil {
			t.Error("Write after CloseWrite succeeded")
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the peer's Read: %v, want io.EOF", err)
		}
		if _, err := c.Write([]byte("still here")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if _, err := io.ReadFull(s, b); err != nil {
			t.Errorf("Read after CloseWrite: %v", err)
		}
	})
}

// A handshake that finds no peer ends at the deadline, the context or Close.
func TestHandshakeEnds(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			cfg := serverConfig()
			cfg.HandshakeTimeout = 50 * time.Millisecond
			server := newContext(t, cfg)
			client, _ := newClient(t, tls.VersionTLS13)
			s, c := pair(t, server, client, nil, tr.wrap)
			if err := s.Handshake(); !isTimeout(err) {
				t.Errorf("a silent client: %v, want a timeout", err)
			}
			if st := s.ConnectionState(); st.HandshakeComplete {
				t.Error("the state says that the handshake is complete")
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the client's Read succeeded")
			}
			s, _ = pair(t, server, client, nil, tr.wrap)
			done := make(chan error, 1)
			go func() { _, err := s.Read(make([]byte, 1)); done <- err }()
			time.Sleep(5 * time.Millisecond)
			s.Close()
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read that handshakes, after Close: %v", err)
			}
		})
	}
}

// crossingPair is a server and a crypto/tls client, which makes no crossing.
func crossingPair(t testing.TB, version uint16) (s *Conn, c *tls.Conn) {
	t.Helper()
	return crossingPairOver(t, version, transports[0].wrap)
}

func crossingPairOver(t testing.TB, version uint16, wrap func(net.Conn) net.Conn) (s *Conn, c *tls.Conn) {
	t.Helper()
	server := newContext(t, serverConfig())
	a, b := sockets(t)
	b = wrap(b)
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	c = tls.Client(a, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); c.Close() })
	return s, c
}

// crossings returns how many calls into C f made. Nothing else may run.
func crossings(f func()) int64 {
	before := runtime.NumCgoCall()
	f()
	return runtime.NumCgoCall() - before
}

// The crossings of each operation: Read 1 with data ready and 2 when it must
// wait, Write 1; and no allocation in either.
func TestCrossingsOfReadAndWrite(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		s, c := crossingPair(t, version)
		buf := make([]byte, 64)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// Data is ready.
		for range 4 {
			_, err := c.Write(buf)
			must(err)
			time.Sleep(5 * time.Millisecond)
			if n := crossings(func() { _, err = s.Read(buf) }); n != 1 {
				t.Errorf("Read with data ready: %d crossings, want 1", n)
			}
			must(err)
		}
		// It must wait.
		go func() { time.Sleep(20 * time.Millisecond); c.Write(buf) }()
		var err error
		if n := crossings(func() { _, err = s.Read(buf) }); n != 2 {
			t.Errorf("Read that waits: %d crossings, want 2", n)
		}
		must(err)
		if n := crossings(func() { _, err = s.Write(buf) }); n != 1 {
			t.Errorf("Write: %d crossings, want 1", n)
		}
		must(err)
		big := make([]byte, 200<<10)
		go io.CopyN(io.Discard, c, int64(len(big)+len(buf)))
		if n := crossings(func() { _, err = s.Write(big) }); n > 8 {
			t.Errorf("Write of 200 KiB: %d crossings", n)
		}
		must(err)
	})
}
