package ssl

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// forgottenOnPurpose counts what tests leave to the garbage collector.
var forgottenOnPurpose atomic.Int64

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

func cert(name string) string { return filepath.Join("..", "testdata", "certs", name) }

func readCert(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(cert(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func serverConfig() Config {
	return Config{Certificates: []Certificate{{ChainFile: cert("server.pem"), KeyFile: cert("server-key.pem")}}}
}

func clientConfig() Config { return Config{CAFile: cert("ca.pem")} }

// newContext makes a context that is closed, and gone, at the test's end.
func newContext(t testing.TB, cfg Config) *Context {
	t.Helper()
	c, err := NewContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Wait(ctx); err != nil {
			t.Errorf("context %q: not gone at the end: %v", cfg.Name, err)
		}
	})
	return c
}

// transports are the ways that bytes travel.
var transports = []struct {
	name string
	wrap func(net.Conn) net.Conn
}{
	{"descriptor", func(c net.Conn) net.Conn { return c }},
	{"memory", func(c net.Conn) net.Conn { return struct{ net.Conn }{c} }},
	{"socket", asSocket},
}

// asSocket takes c's connection for this package's own poller.
func asSocket(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c // of a listener that has them
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		panic(err)
	}
	fd := -1
	err = raw.Control(func(of uintptr) { fd, err = syscall.Dup(int(of)) })
	if err != nil || fd < 0 {
		panic(err)
	}
	syscall.CloseOnExec(fd)
	sa, err := syscall.Getpeername(fd)
	if err != nil {
		panic(err)
	}
	var peer [cshim.PeerSize]byte
	in4 := sa.(*syscall.SockaddrInet4)
	binary.NativeEndian.PutUint16(peer[:], syscall.AF_INET)
	binary.BigEndian.PutUint16(peer[2:], uint16(in4.Port))
	copy(peer[4:], in4.Addr[:])
	local := tcp.LocalAddr()
	tcp.Close()
	return newSocket(fd, peer, false, local)
}

// sockets returns the two ends of a TCP connection.
func sockets(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// pair makes both ends over TCP; the handshake has not run.
func pair(t testing.TB, server, client *Context, o *ClientOptions, wrap func(net.Conn) net.Conn) (s, c *Conn) {
	t.Helper()
	a, b := sockets(t)
	if wrap != nil {
		a, b = wrap(a), wrap(b)
	}
	if o == nil {
		o = &ClientOptions{}
	}
	if o.ServerName == "" {
		p := *o
		p.ServerName, o = "localhost", &p
	}
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	c, err = Client(a, client, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); c.Close() })
	limit := time.Now().Add(20 * time.Second)
	s.SetDeadline(limit)
	c.SetDeadline(limit)
	return s, c
}

// handshake runs both sides and returns their errors.
func handshake(s, c *Conn) (serverErr, clientErr error) {
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	clientErr = c.Handshake()
	if clientErr != nil {
		c.NetConn().Close()
	}
	return <-done, clientErr
}

// connect makes both ends and shakes hands.
func connect(t testing.TB, server, client *Context, o *ClientOptions, wrap func(net.Conn) net.Conn) (s, c *Conn) {
	t.Helper()
	s, c = pair(t, server, client, o, wrap)
	serr, cerr := handshake(s, c)
	if serr != nil || cerr != nil {
		t.Fatalf("handshake: server %v, client %v", serr, cerr)
	}
	return s, c
}

// exchange sends a byte each way, so that a client has read its tickets.
func exchange(t testing.TB, s, c *Conn) {
	t.Helper()
	if err := echo(s, c); err != nil {
		t.Fatal(err)
	}
}

func echo(s, c *Conn) error {
	for _, d := range []struct{ from, to *Conn }{{s, c}, {c, s}} {
		if _, err := d.from.Write([]byte("x")); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if _, err := io.ReadFull(d.to, make([]byte, 1)); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	return nil
}

// store is a map that counts what its handlers were asked.
type store struct {
	mu               sync.Mutex
	values           map[string][]byte
	removals         []sessioncb.Removal
	news, gets, hits int
}

func newStore() *store { return &store{values: map[string][]byte{}} }

func (s *store) callbacks() sessioncb.Callbacks {
	return sessioncb.Callbacks{New: s, Get: s, Remove: s}
}

func (s *store) NewSession(_ context.Context, _ sessioncb.Conn, v sessioncb.Session) bool {
	der, err := v.MarshalBinary()
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news++
	s.values[string(v.ID())] = der
	return false
}

func (s *store) GetSession(_ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	der := s.values[string(id)]
	if der != nil {
		s.hits++
	}
	return sessioncb.DER(der), nil
}

func (s *store) RemoveSession(_ context.Context, v sessioncb.Session, r sessioncb.Removal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removals = append(s.removals, r)
}

func (s *store) counts() (news, gets, hits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news, s.gets, s.hits
}

// clientSessions collects a client's new sessions, as copies to be closed.
type clientSessions struct {
	mu     sync.Mutex
	list   []*Session
	closed bool // a handler that is late keeps nothing
}

func (s *clientSessions) NewSession(_ context.Context, _ sessioncb.Conn, v sessioncb.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.list = append(s.list, v.(*Session))
	return true
}

// last returns the newest session; it stays the collector's.
func (s *clientSessions) last(t testing.TB) *Session {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		t.Fatal("the client has no session")
	}
	return s.list[len(s.list)-1]
}

// forget closes what there is, and goes on collecting.
func (s *clientSessions) forget() {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = false
}

func (s *clientSessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.list {
		v.Close()
	}
	s.list, s.closed = nil, true
}

// newClient makes a client context for one version that collects its sessions.
func newClient(t testing.TB, version uint16) (*Context, *clientSessions) {
	t.Helper()
	got := &clientSessions{}
	cfg := clientConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	cfg.SessionCallbacks.New = got
	c := newContext(t, cfg)
	t.Cleanup(got.close)
	return c, got
}

// eachVersion runs f for TLS 1.2 and 1.3.
func eachVersion(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range versions {
		t.Run(tls.VersionName(v)[4:], func(t *testing.T) { f(t, v) })
	}
}

// eachTransport runs f for both versions over both transports.
func eachTransport(t *testing.T, f func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn)) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, tr := range transports {
			t.Run(tr.name, func(t *testing.T) { f(t, version, tr.wrap) })
		}
	})
}

// collect runs the collector and lets cleanups run.
func collect() {
	runtime.GC()
	time.Sleep(time.Millisecond)
}

// goexit is runtime.Goexit where a func() is wanted.
func goexit() { runtime.Goexit() }

// The versions by names that fit a table.
const only12, only13 = tls.VersionTLS12, tls.VersionTLS13

// awaitBytes returns once nc has bytes to read, or its end.
func awaitBytes(nc net.Conn) {
	raw := syscall.RawConn(nil)
	if s, ok := nc.(*socket); ok {
		raw = rawSocket{s} // who asks for SyscallConn has a socket that may be shared
	} else {
		var err error
		raw, err = nc.(syscall.Conn).SyscallConn()
		check(err)
	}
	var b [1]byte
	check(raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	}))
}
