package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// pattern is data in which nothing can be lost or swapped unseen.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return string(b)
}

// Each size of early data arrives whole, by Read and by EarlyData.
func TestEarlyDataSizes(t *testing.T) {
	const most = 100_000
	for _, x := range []struct {
		name   string
		pieces []int
	}{
		{"nothing", []int{0}},
		{"a byte", []int{1}},
		{"a record", []int{1 << 14}},
		{"a record and a byte", []int{1<<14 + 1}},
		{"all that is allowed", []int{most}},
		{"all, in pieces", []int{1, 0, 40_000, most - 40_001}},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				for _, asked := range []bool{false, true} {
					p := newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.MaxEarlyData = most })
					s, c := p.resume()
					sum := 0
					for _, n := range x.pieces {
						sum += n
					}
					want := pattern(sum)
					client := make(chan error, 1)
					go func() {
						rest := want
						for _, n := range x.pieces {
							if m, err := c.WriteEarlyData([]byte(rest[:n])); m != n || err != nil {
								client <- errors.Join(errors.New("WriteEarlyData"), err)
								return
							}
							rest = rest[n:]
						}
						client <- c.Handshake()
					}()
					var got []byte
					var err error
					if asked {
						got, err = io.ReadAll(openEarly(t, s))
					} else if err = s.Handshake(); err == nil {
						got = make([]byte, sum)
						_, err = io.ReadFull(s, got)
					}
					if err != nil {
						t.Fatalf("asked %v: %v", asked, err)
					}
					if err := <-client; err != nil {
						t.Fatal(err)
					}
					if string(got) != want {
						t.Errorf("asked %v: %d bytes came, want %d, or they differ", asked, len(got), len(want))
					}
					if err := s.Handshake(); err != nil {
						t.Fatal(err)
					}
					outcome(t, s, c, true, true)
				}
			})
		})
	}
}

// Refused early data is passed over, however it was cut into records.
func TestEarlyDataRefusedAsLongAsAllowed(t *testing.T) {
	for _, x := range []struct {
		name       string
		most, each int
	}{
		{"1 MiB", 1 << 20, 1 << 20},
		{"by the byte", 3000, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				p := newEarlyPair(t, wrap, func(cfg, _ *Config) {
					cfg.MaxEarlyData = uint32(x.most)
					cfg.AllowEarlyData = func(context.Context, sessioncb.Conn) bool { return false }
				})
				s, c := p.resume()
				client := make(chan error, 1)
				go func() {
					for range x.most / x.each {
						if _, err := c.WriteEarlyData(make([]byte, x.each)); err != nil {
							client <- err
							return
						}
					}
					client <- c.Handshake()
				}()
				if err := s.Handshake(); err != nil {
					t.Fatal(err)
				}
				if err := <-client; err != nil {
					t.Fatal(err)
				}
				outcome(t, s, c, true, false)
			})
		})
	}
}

// Where there is no early data EarlyData runs the handshake, and its Read is at
// the end.
func TestNoEarlyData(t *testing.T) {
	for _, x := range []struct {
		name   string
		change func(server, client *Config)
	}{
		{"full handshake", nil},
		{"TLS 1.2", func(_, client *Config) { client.MaxVersion = tls.VersionTLS12 }},
		{"MaxEarlyData is 0", func(server, _ *Config) { server.MaxEarlyData = 0; server.Tickets = TicketsStateful }},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				p := newEarlyPair(t, wrap, x.change)
				s, c := pair(t, p.server, p.client, nil, wrap)
				done := make(chan error, 1)
				go func() { done <- c.Handshake() }()
				e := openEarly(t, s)
				if !s.ConnectionState().HandshakeComplete {
					t.Error("EarlyData returned before the handshake was complete")
				}
				if n, err := e.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("Read: %d, %v, want io.EOF", n, err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if _, err := e.Write([]byte("hello")); err != nil {
					t.Error(err)
				}
				got := make([]byte, 5)
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
					t.Errorf("the client read %q, %v", got, err)
				}
				outcome(t, s, c, false, false)
			})
		})
	}
}

// Early data comes as the client sends it; a deadline between is no end of it.
// What EarlyData has not taken is for Read.
func TestEarlyDataComesInPieces(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		s, c := p.resume()
		early(t, c, "one")
		e := openEarly(t, s)
		b := make([]byte, 64)
		if n, err := e.Read(b); err != nil || string(b[:n]) != "one" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		s.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := e.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a Read with nothing to read: %d, %v", n, err)
		}
		s.SetReadDeadline(time.Now().Add(patience))
		early(t, c, "two")
		for i, want := range []string{"t", "w"} {
			if n, err := e.Read(b[:1]); err != nil || string(b[:n]) != want {
				t.Fatalf("byte %d: %q, %v", i, b[:n], err)
			}
		}
		early(t, c, ", three")
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		// The rest is at both places until it is taken, in order.
		if n, err := e.Read(b[:3]); err != nil || string(b[:n]) != "o, " && string(b[:n]) != "o" {
			t.Fatalf("after the handshake: %q, %v", b[:n], err)
		} else if n == 1 {
			io.ReadFull(s, b[:2])
		}
		if _, err := io.ReadFull(s, b[:5]); err != nil || string(b[:5]) != "three" {
			t.Errorf("Read: %q, %v", b[:5], err)
		}
		if n, err := e.Read(b); n != 0 || err != io.EOF {
			t.Errorf("at its end: %d, %v", n, err)
		}
		outcome(t, s, c, true, true)
	})
}

// ConnectionState of a connection whose EarlyData was asked for waits for
// nothing, not even for the ClientHello.
func TestConnectionStateBesideEarlyData(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		s, _ := p.resume()
		done := make(chan error, 1)
		go func() { _, err := s.EarlyData(context.Background()); done <- err }()
		eventually(t, "EarlyData runs", s.early.asked.Load)
		if state := s.ConnectionState(); state.HandshakeComplete || state.Version != 0 {
			t.Errorf("%+v", state)
		}
		s.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("EarlyData: %v, want net.ErrClosed", err)
		}
	})
}

// A Write of EarlyData that waits for the client keeps nothing else waiting:
// early data is read, and the handshake finishes.
func TestEarlyDataBothWays(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		const answer = 16 << 20 // more than the sockets take
		p := newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.MaxEarlyData = 1 << 20 })
		s, c := p.resume()
		early(t, c, "x")
		e := openEarly(t, s)
		if _, err := io.ReadFull(e, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		wrote := make(chan error, 1)
		go func() { _, err := e.Write(make([]byte, answer)); wrote <- err }()
		// The client reads nothing yet.
		rest := pattern(1<<20 - 1)
		sent := make(chan error, 1)
		go func() { _, err := c.WriteEarlyData([]byte(rest)); sent <- err }()
		got := make([]byte, len(rest))
		if _, err := io.ReadFull(e, got); err != nil || string(got) != rest {
			t.Fatalf("early data beside a Write that waits: %v", err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-wrote:
			t.Fatalf("Write did not wait: %v", err)
		default:
		}
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyN(io.Discard, c, answer); err != nil {
			t.Fatalf("the client read %d bytes: %v", n, err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		outcome(t, s, c, true, true)
	})
}

// The answer to early data leaves at once; the ticket, after the client's
// Finished, leaves when it is stored.
func TestEarlyAnswerIsNotHeld(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		slow := newSlowNew()
		var first sync.Once
		p := newEarlyPair(t, wrap, nil)
		session := p.session()
		cb := p.handlers.callbacks()
		cb.New = slow
		if err := p.server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}
		defer first.Do(func() { close(slow.letGo) })
		s, c := pair(t, p.server, p.client, &ClientOptions{Session: session}, wrap)
		early(t, c, "x")
		e := openEarly(t, s)
		if _, err := io.ReadFull(e, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 6)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "answer" {
			t.Fatalf("%q, %v", b, err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		<-slow.called
		p.got.mu.Lock()
		had := len(p.got.list)
		p.got.mu.Unlock()
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := c.Read(b); !isTimeout(err) {
			t.Errorf("the client read %d bytes and %v while the New handler runs", n, err)
		}
		select {
		case err := <-done:
			t.Errorf("the handshake ended while the New handler ran: %v", err)
		default:
		}
		p.got.mu.Lock()
		if n := len(p.got.list); n != had {
			t.Error("the client has a session that is not stored")
		}
		p.got.mu.Unlock()
		first.Do(func() { close(slow.letGo) })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		outcome(t, s, c, true, true)
		if n := len(p.got.list); n != had+1 {
			t.Errorf("the client has %d sessions, want %d", n, had+1)
		}
	})
}

// The early data of a handshake that ran before EarlyData was called is there.
func TestEarlyDataAfterTimeout(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		s, c := p.resume()
		early(t, c, "kept")
		s.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if err := s.Handshake(); !isTimeout(err) {
			t.Fatal(err)
		}
		s.SetReadDeadline(time.Now().Add(patience))
		e := openEarly(t, s)
		b := make([]byte, 64)
		if n, err := e.Read(b); err != nil || string(b[:n]) != "kept" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		outcome(t, s, c, true, true)
	})
}

// Everything at once.
func TestEarlyDataConcurrently(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for round := range 10 {
			p := newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.MaxEarlyData = 100_000 })
			s, c := p.resume()
			want := pattern(100_000)
			var wg sync.WaitGroup
			wg.Go(func() {
				for b := []byte(want); len(b) > 0; b = b[1000:] {
					if _, err := c.WriteEarlyData(b[:1000]); err != nil {
						t.Error(err)
						return
					}
				}
				if err := c.Handshake(); err != nil {
					t.Error(err)
				}
				got, err := io.ReadAll(c)
				if err != nil || string(got) != want {
					t.Errorf("the client read %d bytes, %v", len(got), err)
				}
			})
			e := openEarly(t, s)
			wg.Go(func() { s.ConnectionState() })
			if round%2 == 0 {
				wg.Go(func() { s.Handshake() })
			}
			var echoed bytes.Buffer
			b := make([]byte, 3000)
			for {
				n, err := e.Read(b)
				if n > 0 {
					echoed.Write(b[:n])
					if _, err := e.Write(b[:n]); err != nil {
						t.Error(err)
						break
					}
				}
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					break
				}
			}
			if err := s.Handshake(); err != nil {
				t.Error(err)
			}
			if echoed.String() != want {
				t.Errorf("the server read %d bytes", echoed.Len())
			}
			s.Close()
			wg.Wait()
			c.Close()
		}
	})
}

// The host that the ClientHello chose says how much early data there may be,
// and its hook is asked; one without takes none.
func TestEarlyDataOfHosts(t *testing.T) {
	for _, row := range []struct {
		name     string
		most     uint32
		accepted bool
	}{{"more than the first context", 2000, true}, {"less", 50, true}, {"none", 0, false}} {
		t.Run(row.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				balanced(t)
				st, err := memoryStore()
				if err != nil {
					t.Fatal(err)
				}
				cache, err := sessioncb.NewCache(st, sessioncb.CacheOptions{
					Keys: sessioncb.ProcessKey(), SingleUse: true, LookupTimeout: patience})
				if err != nil {
					t.Fatal(err)
				}
				var asked atomic.Int32
				cfg := serverConfig()
				cfg.SessionCache, cfg.MaxEarlyData = cache, row.most
				if row.most > 0 {
					cfg.AllowEarlyData = func(context.Context, sessioncb.Conn) bool { asked.Add(1); return true }
				}
				host := newContext(t, cfg)
				cfg.MaxEarlyData = 1000
				cfg.AllowEarlyData = func(context.Context, sessioncb.Conn) bool { return false }
				cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*Context, error) { return host, nil }
				first := newContext(t, cfg)
				client, got := newClient(t, tls.VersionTLS13)
				s, c := connect(t, first, client, nil, wrap)
				exchange(t, s, c)
				s.Close()
				c.Close()
				session := got.last(t)
				if n := session.MaxEarlyData(); n != row.most {
					t.Fatalf("the session allows %d bytes, want %d", n, row.most)
				}
				s, c = pair(t, first, client, &ClientOptions{Session: session}, wrap)
				data := pattern(int(row.most))
				if row.accepted {
					early(t, c, data)
				}
				if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
					t.Fatalf("handshake: server %v, client %v", serr, cerr)
				}
				if b := make([]byte, len(data)); row.accepted {
					if _, err := io.ReadFull(s, b); err != nil || string(b) != data {
						t.Errorf("read %d bytes: %v", len(b), err)
					}
				}
				outcome(t, s, c, true, row.accepted)
				if n := asked.Load(); (n == 1) != row.accepted {
					t.Errorf("the host's hook was asked %d times", n)
				}
			})
		})
	}
}

// A server that was told to take less than it promised before: the client that
// still holds the promise resumes without, and its handshake does not fail.
func TestEarlyDataLowered(t *testing.T) {
	p := newEarlyPair(t, nil, func(server, client *Config) { server.MaxEarlyData = 1 << 20 })
	session := p.session()
	cfg := earlyConfig(p.handlers)
	cfg.MaxEarlyData = 1000
	s, c := pair(t, newContext(t, cfg), p.client, &ClientOptions{Session: session}, nil)
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if _, err := c.WriteEarlyData(make([]byte, 200<<10)); err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s.EarlyDataAccepted() || c.EarlyDataAccepted() || !s.ConnectionState().DidResume {
		t.Errorf("accepted %v, resumed %v; want a resumption without", s.EarlyDataAccepted(), s.ConnectionState().DidResume)
	}
	exchange(t, s, c)
}
