package fleettest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// patience bounds what hangs; it is no expectation.
const patience = 30 * time.Second * slowdown

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// eachVersion runs f for TLS 1.2 and 1.3.
func eachVersion(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range versions {
		t.Run(versionName(v), func(t *testing.T) { f(t, v) })
	}
}

func versionName(version uint16) string { return tls.VersionName(version)[len("TLS "):] }

func cert(name string) string { return filepath.Join("..", "..", "testdata", "certs", name) }

func serverConfig() ssl.Config {
	return ssl.Config{Certificates: []ssl.Certificate{{ChainFile: cert("server.pem"), KeyFile: cert("server-key.pem")}}}
}

func clientConfig() ssl.Config { return ssl.Config{CAFile: cert("ca.pem")} }

// newContext makes a context that is closed, and gone, at the test's end.
func newContext(t testing.TB, cfg ssl.Config) *ssl.Context {
	t.Helper()
	c, err := ssl.NewContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeContext(c); err != nil {
			t.Error(err)
		}
	})
	return c
}

// closeContext waits until the last connection of c is gone too.
func closeContext(c *ssl.Context) error {
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		return fmt.Errorf("context %q: not gone at the end: %w", c.Name(), err)
	}
	return nil
}

// A server is a loop in this process, or in another one (see process_test.go):
// it handshakes, sends a byte, so that a client of TLS 1.3 reads its ticket,
// sends back what it gets, and ends when the client does.
type server struct {
	addr     string
	ctx      *ssl.Context
	listener *ssl.Listener
	do       func(c *ssl.Conn, b byte) // told of each byte before it is sent back; may be nil
	loops    sync.WaitGroup

	mu     sync.Mutex
	counts served
	conns  map[*ssl.Conn]bool // nil: closed
}

// served is what a server has seen.
type served struct {
	Full, Resumed int            // handshakes that ended well
	Failed        map[string]int // the others, by error
}

// newServer starts a server of ctx, which it does not close, on a free
// loopback port. It is ended by close.
func newServer(ctx *ssl.Context, do func(c *ssl.Conn, b byte)) (*server, error) {
	l, err := ssl.Listen("tcp", "127.0.0.1:0", ctx)
	if err != nil {
		return nil, err
	}
	s := &server{addr: l.Addr().String(), ctx: ctx, listener: l, do: do, conns: map[*ssl.Conn]bool{}}
	s.counts.Failed = map[string]int{}
	s.loops.Go(func() {
		for {
			nc, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				s.note(false, err)
				continue
			}
			s.loops.Go(func() { s.serve(nc.(*ssl.Conn)) })
		}
	})
	return s, nil
}

// startServer is newServer for a test, which ends it.
func startServer(t testing.TB, ctx *ssl.Context) *server {
	t.Helper()
	s, err := newServer(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func (s *server) serve(c *ssl.Conn) {
	defer c.Close()
	s.mu.Lock()
	if s.conns == nil {
		s.mu.Unlock()
		return
	}
	s.conns[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	}()
	if err := c.Handshake(); err != nil {
		s.note(false, err)
		return
	}
	s.note(c.ConnectionState().DidResume, nil)
	b := []byte{'.'}
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if s.do != nil {
			s.do(c, b[0])
		}
	}
}

func (s *server) note(resumed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.counts.Failed[err.Error()]++
	case resumed:
		s.counts.Resumed++
	default:
		s.counts.Full++
	}
}

// seen returns the counts so far.
func (s *server) seen() served {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts
	n.Failed = map[string]int{}
	for k, v := range s.counts.Failed {
		n.Failed[k] = v
	}
	return n
}

// close ends the loop and its connections, and waits for them.
func (s *server) close() {
	s.listener.Close()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	s.loops.Wait()
}

// A client is a context of one version that collects the sessions it gets, by
// connection.
type client struct {
	ctx *ssl.Context

	mu   sync.Mutex
	last map[sessioncb.Conn]*ssl.Session
	all  []*ssl.Session
}

// newClient makes a client of one TLS version; its sessions are closed with
// the test.
func newClient(t testing.TB, version uint16) *client {
	t.Helper()
	cfg := clientConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	return newClientOf(t, cfg)
}

// newClientOf is newClient of any configuration without callbacks.
func newClientOf(t testing.TB, cfg ssl.Config) *client {
	t.Helper()
	c := &client{last: map[sessioncb.Conn]*ssl.Session{}}
	cfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(c.got)
	c.ctx = newContext(t, cfg)
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.all {
			s.Close()
		}
	})
	return c
}

func (c *client) got(_ context.Context, conn sessioncb.Conn, s sessioncb.Session) (keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[conn] = s.(*ssl.Session)
	c.all = append(c.all, s.(*ssl.Session))
	return true
}

// dial connects and handshakes, offering the session, or none if it is nil.
func (c *client) dial(addr string, offer *ssl.Session) (*ssl.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := ssl.DialContext(ctx, "tcp", addr, c.ctx, &ssl.ClientOptions{ServerName: "localhost", Session: offer})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	return conn, nil
}

// A visit is a connection that was made and closed.
type visit struct {
	resumed bool
	// session is what the server gave: the client's, which closes it. nil if
	// it gave none, as TLS 1.2 does not in a resumption.
	session *ssl.Session
	took    time.Duration // to the end of the handshake
}

// visit connects to a server, reads its byte, sends those of say, each of
// which it sends back, and closes.
func (c *client) visit(addr string, offer *ssl.Session, say ...byte) (v visit, err error) {
	start := time.Now()
	conn, err := c.dial(addr, offer)
	if err != nil {
		return v, err
	}
	defer conn.Close()
	v.took = time.Since(start)
	v.resumed = conn.ConnectionState().DidResume
	b := make([]byte, 1)
	if _, err := io.ReadFull(conn, b); err != nil {
		return v, fmt.Errorf("the server's byte: %w", err)
	}
	for _, out := range say {
		if _, err := conn.Write([]byte{out}); err != nil {
			return v, fmt.Errorf("say %q: %w", out, err)
		}
		if _, err := io.ReadFull(conn, b); err != nil || b[0] != out {
			return v, fmt.Errorf("the answer to %q: %q, %w", out, b, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v.session = c.last[conn]
	delete(c.last, conn)
	return v, nil
}
