package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// state is how many steps the pool ever had, and how many it has.
func (p *pool) state() (ever uint64, now int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.steps, len(p.waits) - len(p.free)
}

// poolIsFree fails the test unless all steps of the process's pool end.
func poolIsFree(t testing.TB) {
	t.Helper()
	eventually(t, "the pool is free", func() bool { _, now := workers.state(); return now == 0 })
}

// fill gives each thread of the pool a step that does not end: it receives from
// a socket that blocks, which is not what a Conn's does. free ends them.
func (p *pool) fill(t *testing.T, server *Context) (free func()) {
	t.Helper()
	if !p.starts() {
		t.Fatal("there is no pool")
	}
	var wg sync.WaitGroup
	var ends []int
	for range p.threads {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c, _, ok := cshim.NewConn(server.side.c, true)
		if !ok {
			t.Fatal("no connection")
		}
		ends = append(ends, fds[0])
		wg.Go(func() {
			var r cshim.Result
			if p.handshake(c, cshim.IO{FD: fds[1]}, nil, cshim.UntilDone, &r); r.Status != cshim.Truncated {
				t.Errorf("a step that blocks ended with %v", r.Status)
			}
			c.Free(true)
			syscall.Close(fds[1])
		})
	}
	eventually(t, "all threads of the pool have a step", func() bool { _, now := p.state(); return now == p.threads })
	return sync.OnceFunc(func() {
		for _, fd := range ends {
			syscall.Close(fd)
		}
		wg.Wait()
	})
}

// A poolEnd is what ends a handshake that has a step on the pool.
type poolEnd struct {
	name string
	end  func(t *testing.T, s *Conn, cancel func()) // returns once it has come
	want error
}

func transportClosed(s *Conn) bool {
	return errors.Is(s.NetConn().SetReadDeadline(time.Time{}), net.ErrClosed)
}

var poolEnds = []poolEnd{
	{"deadline", func(t *testing.T, s *Conn, _ func()) { s.SetReadDeadline(time.Now().Add(-time.Second)) }, nil},
	{"cancelled", func(t *testing.T, s *Conn, cancel func()) {
		cancel()
		eventually(t, "the transport is closed", func() bool { return transportClosed(s) })
	}, context.Canceled},
	{"handshake timeout", func(t *testing.T, s *Conn, _ func()) {
		eventually(t, "the transport is closed", func() bool { return transportClosed(s) })
	}, context.DeadlineExceeded},
	{"Close", func(t *testing.T, s *Conn, _ func()) {
		go s.Close()
		eventually(t, "the transport is closed", func() bool { return transportClosed(s) })
	}, net.ErrClosed},
	{"Abort", func(t *testing.T, s *Conn, _ func()) {
		go s.Abort()
		eventually(t, "the transport is closed", func() bool { return transportClosed(s) })
	}, net.ErrClosed},
	{"the peer goes", nil, nil},
}

// endOnPool starts a handshake whose end comes while its step is on the pool:
// ready returns when it is there, goOn lets the step end. It returns what the
// handshake came to.
func endOnPool(t *testing.T, e poolEnd, s, c *Conn, ready func(), goOn func()) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done, theirs := make(chan error, 1), make(chan error, 1)
	go func() {
		if e.want == context.DeadlineExceeded {
			done <- s.Handshake()
		} else {
			done <- s.HandshakeContext(ctx)
		}
	}()
	go func() { theirs <- c.Handshake() }()
	ready()
	if e.end == nil {
		c.NetConn().Close()
	} else {
		e.end(t, s, cancel)
		select {
		case err := <-done:
			t.Fatalf("the handshake came to its end with a step on the pool: %v", err)
		default:
		}
	}
	goOn()
	err := <-done
	if e.name != "deadline" {
		s.Close()
		<-theirs
		return err
	}
	if isTimeout(err) {
		// It goes on.
		s.SetReadDeadline(time.Now().Add(patience))
		if err := s.Handshake(); err != nil {
			t.Errorf("the handshake that goes on: %v", err)
		}
		if err := <-theirs; err != nil {
			t.Errorf("the client: %v", err)
		}
		exchange(t, s, c)
	}
	return err
}

func poolServer(t *testing.T, e poolEnd) *Context {
	cfg := serverConfig()
	cfg.HandshakeTimeout = time.Minute
	if e.want == context.DeadlineExceeded {
		cfg.HandshakeTimeout = 50 * time.Millisecond
	}
	return newContext(t, cfg)
}

// The end of a handshake comes while its step waits for a thread: whoever waits
// for the step returns, and nothing is left.
func TestPoolEndsWhileQueued(t *testing.T) {
	for _, e := range poolEnds {
		t.Run(e.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				balanced(t)
				poolIsFree(t)
				client, _ := newClient(t, version)
				server := poolServer(t, e)
				s, c := pair(t, server, client, nil, nil)
				free := workers.fill(t, server)
				defer free()
				queued := func() bool { _, now := workers.state(); return now == workers.threads+1 }
				err := endOnPool(t, e, s, c, func() { eventually(t, "a step is queued", queued) }, free)
				switch {
				case e.name == "deadline" && !isTimeout(err):
					t.Errorf("Handshake: %v, want a timeout", err)
				case e.end == nil && err == nil:
					t.Error("Handshake with a peer that is gone succeeded")
				case e.want != nil && !errors.Is(err, e.want):
					t.Errorf("Handshake: %v, want %v", err, e.want)
				}
				s.Close()
				c.Close()
				poolIsFree(t)
				gateIsFree(t)
			})
		})
	}
}

// The same while a thread makes the step. That it does so for long is the work
// of a socket that blocks, until the client is gone.
func TestPoolEndsWhileRunning(t *testing.T) {
	for _, e := range poolEnds {
		t.Run(e.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				balanced(t)
				poolIsFree(t)
				client, _ := newClient(t, version)
				s, c := pair(t, poolServer(t, e), client, nil, nil)
				raw, err := s.NetConn().(*net.TCPConn).SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				raw.Control(func(fd uintptr) { syscall.SetNonblock(int(fd), false) })
				err = endOnPool(t, e, s, c, func() {
					eventually(t, "a step runs", func() bool { _, now := workers.state(); return now == 1 })
				}, func() { c.NetConn().Close() })
				// After Close the step's own end, that of the peer, may be told.
				if err == nil || e.want != nil && e.want != net.ErrClosed && !errors.Is(err, e.want) {
					t.Errorf("Handshake: %v, want %v", err, e.want)
				}
				s.Close()
				c.Close()
				poolIsFree(t)
				gateIsFree(t)
			})
		})
	}
}

// Which steps are made on the pool: those with a public key operation, where
// OpenSSL has the descriptor and the key is not slow.
func TestPoolSteps(t *testing.T) {
	for _, row := range []struct {
		name    string
		version uint16
		resumed bool
		change  func(*Config)
		client  []Certificate
		memory  bool
		want    uint64
	}{
		{"full", only12, false, nil, nil, false, 2}, // the signature, and the client's key
		{"full", only13, false, nil, nil, false, 1}, // the client's Finished is no such step
		{"resumed", only12, true, nil, nil, false, 0},
		{"resumed", only13, true, nil, nil, false, 0}, // psk_dhe_ke alone is quick
		{"nothing is verified, full", only13, false, func(c *Config) { c.Verify = VerifyNone }, nil, false, 1},
		{"mtls, full", only12, false, func(c *Config) { *c = mutual() }, files("client.pem", "client-key.pem"), false, 2},
		{"mtls, full", only13, false, func(c *Config) { *c = mutual() }, files("client.pem", "client-key.pem"), false, 2},   // the client's signature
		{"mtls, resumed", only12, true, func(c *Config) { *c = mutual() }, files("client.pem", "client-key.pem"), false, 1}, // the certificate is decoded
		{"mtls, resumed", only13, true, func(c *Config) { *c = mutual() }, files("client.pem", "client-key.pem"), false, 1},
		{"memory, full", only12, false, nil, nil, true, 0},
		{"memory, full", only13, false, nil, nil, true, 0},
		{"slow private key, full", only12, false, func(c *Config) { c.SlowPrivateKey = true }, nil, false, 0},
		{"slow private key, full", only13, false, func(c *Config) { c.SlowPrivateKey = true }, nil, false, 0},
		{"slow private key, resumed", only13, true, func(c *Config) { c.SlowPrivateKey = true }, nil, false, 0},
	} {
		t.Run(tls.VersionName(row.version)[4:]+"/"+row.name, func(t *testing.T) {
			balanced(t)
			poolIsFree(t)
			resumeOn(t, false)
			cfg := serverConfig()
			if row.change != nil {
				row.change(&cfg)
			}
			cfg.SessionCallbacks = newStore().callbacks()
			cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
			server := newContext(t, cfg)
			client, got := clientAs(t, row.version, row.client)
			var offer *Session
			if row.resumed {
				visit(t, server, client, nil)
				offer = got.last(t)
			}
			wrap := transports[0].wrap
			if row.memory {
				wrap = transports[1].wrap
			}
			offers := func() *Session { return offer }
			if steps := poolSteps(t, server, client, offers, wrap, row.resumed); steps != row.want {
				t.Errorf("%d steps on the pool, want %d", steps, row.want)
			}
		})
	}
}

// A resumption is made in place if it is one, and its key exchange is quick: what
// the store answered, and the group, are the client's choice.
func TestPoolStepsOfAnswers(t *testing.T) {
	otherTrust := func(c *Config) { c.SessionIDContext = []byte("another") }
	for _, row := range []struct {
		name    string
		version uint16
		groups  string // of the client
		change  func(*Config)
		resumed bool
		want    uint64
	}{
		{"quick", only12, "", nil, true, 0},
		{"quick", only13, "", nil, true, 0},
		{"P-256", only13, "P-256", nil, true, 0},
		{"P-384", only13, "P-384", nil, true, 1},
		{"ffdhe2048", only13, "ffdhe2048", nil, true, 1},
		{"a slow group after a HelloRetryRequest", only13, "X25519:P-384", func(c *Config) { c.Groups = "P-384" }, true, 1},
		{"refused", only12, "", otherTrust, false, 2},
		{"refused", only13, "", otherTrust, false, 1},
	} {
		t.Run(tls.VersionName(row.version)[4:]+"/"+row.name, func(t *testing.T) {
			balanced(t)
			poolIsFree(t)
			resumeOn(t, false)
			store := newStore()
			cfg := serverConfig()
			cfg.SessionCallbacks = store.callbacks()
			cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
			first := newContext(t, cfg)
			if row.change != nil {
				row.change(&cfg)
			}
			server := newContext(t, cfg)
			ccfg := clientConfig()
			ccfg.MinVersion, ccfg.MaxVersion, ccfg.Groups = row.version, row.version, row.groups
			got := &clientSessions{}
			t.Cleanup(got.close)
			ccfg.SessionCallbacks.New = got
			client := newContext(t, ccfg)
			offers := func() *Session {
				visit(t, first, client, nil)
				return got.last(t)
			}
			if steps := poolSteps(t, server, client, offers, transports[0].wrap, row.resumed); steps != row.want {
				t.Errorf("%d steps on the pool, want %d", steps, row.want)
			}
		})
	}
}

// poolSteps returns how many steps of a handshake are made on the pool. One that
// was woken for nothing is one more: it is the least of a few counts.
func poolSteps(t *testing.T, server, client *Context, offers func() *Session, wrap func(net.Conn) net.Conn, resumes bool) uint64 {
	t.Helper()
	least := uint64(math.MaxUint64)
	for range 5 {
		offer := offers()
		before, _ := workers.state()
		s, c := connect(t, server, client, &ClientOptions{Session: offer}, wrap)
		after, _ := workers.state()
		if resumed := s.ConnectionState().DidResume; resumed != resumes {
			t.Fatalf("resumed is %v", resumed)
		}
		least = min(least, after-before)
		exchange(t, s, c)
		s.Close()
		c.Close()
	}
	return least
}

// Thousands of handshakes at once end well, and leave nothing.
func TestPoolCrowd(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		poolIsFree(t)
		const crowd = 1000
		cfg := serverConfig()
		cfg.HandshakeTimeout = -1
		server := newContext(t, cfg)
		ccfg := clientConfig()
		ccfg.MinVersion, ccfg.MaxVersion = version, version
		client := newContext(t, ccfg)
		before, _ := workers.state()
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range crowd {
			s, c := pair(t, server, client, nil, nil)
			s.SetDeadline(time.Time{})
			c.SetDeadline(time.Time{})
			wg.Go(func() {
				<-start
				if err := s.Handshake(); err != nil {
					t.Errorf("server: %v", err)
					s.Close()
					return
				}
				if _, err := io.Copy(s, io.LimitReader(s, 1)); err != nil {
					t.Errorf("server: %v", err)
				}
				s.Close()
			})
			wg.Go(func() {
				<-start
				defer c.Close()
				if _, err := c.Write([]byte("x")); err != nil {
					t.Errorf("client: %v", err)
				} else if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Errorf("client: %v", err)
				}
			})
		}
		close(start)
		wg.Wait()
		after, _ := workers.state()
		if after-before < crowd {
			t.Errorf("%d steps on the pool for %d handshakes", after-before, crowd)
		}
		poolIsFree(t)
		gateIsFree(t)
	})
}
