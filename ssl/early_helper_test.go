package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// claimingStore can give a session to one of many servers.
type claimingStore interface {
	sessioncb.Store
	sessioncb.Claimer
}

// claims are handlers that take each session of TLS 1.3 out of the store as
// they answer with it.
type claims struct {
	store       claimingStore
	shared      bool                // they do not: what SingleUse says
	alter       func(cshim.Session) // what the store's copy has become
	alterDER    func([]byte) []byte
	gets, found atomic.Int64
}

func (h *claims) callbacks() sessioncb.Callbacks { return sessioncb.Callbacks{New: h, Get: h} }

func (h *claims) SingleUse() bool { return !h.shared }

func (h *claims) NewSession(ctx context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	der, err := s.MarshalBinary()
	if err == nil {
		err = h.store.Put(ctx, sessioncb.Key{ID: s.ID()}, der, s.Timeout())
	}
	if err != nil {
		panic(err)
	}
	return false
}

func (h *claims) GetSession(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	h.gets.Add(1)
	get := h.store.Claim
	if c.Version() != tls.VersionTLS13 {
		get = h.store.Get
	}
	der, err := get(ctx, sessioncb.Key{ID: id})
	if errors.Is(err, sessioncb.ErrNotFound) {
		return sessioncb.Answer{}, nil
	}
	if err == nil && h.alter != nil {
		der, err = altered(der, h.alter)
	}
	if err == nil && h.alterDER != nil {
		der = h.alterDER(der)
	}
	if err == nil {
		h.found.Add(1)
	}
	return sessioncb.DER(der), err
}

func altered(der []byte, alter func(cshim.Session)) ([]byte, error) {
	s, err := ParseSession(der)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.use(alter)
	return s.MarshalBinary()
}

func newClaims(t testing.TB) *claims {
	t.Helper()
	st, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &claims{store: st}
}

// earlyConfig is a server that accepts early data.
func earlyConfig(h *claims) Config {
	cfg := serverConfig()
	cfg.SessionCallbacks = h.callbacks()
	cfg.NumTickets = 1
	cfg.MaxEarlyData = 1000
	return cfg
}

// earlyPair is a server that accepts early data, and a client.
type earlyPair struct {
	t              testing.TB
	wrap           func(net.Conn) net.Conn
	handlers       *claims
	server, client *Context
	got            *clientSessions
}

func newEarlyPair(t testing.TB, wrap func(net.Conn) net.Conn, change func(server, client *Config)) *earlyPair {
	t.Helper()
	balanced(t)
	p := &earlyPair{t: t, wrap: wrap, handlers: newClaims(t), got: &clientSessions{}}
	cfg, ccfg := earlyConfig(p.handlers), clientConfig()
	ccfg.SessionCallbacks.New = p.got
	if change != nil {
		change(&cfg, &ccfg)
	}
	p.server, p.client = newContext(t, cfg), newContext(t, ccfg)
	t.Cleanup(p.got.close)
	return p
}

// session makes a session with a full handshake.
func (p *earlyPair) session() *Session {
	p.t.Helper()
	s, c := connect(p.t, p.server, p.client, nil, p.wrap)
	exchange(p.t, s, c)
	s.Close()
	c.Close()
	session := p.got.last(p.t)
	if n := session.MaxEarlyData(); n != p.server.maxEarlyData {
		p.t.Fatalf("the session allows %d bytes of early data, want %d", n, p.server.maxEarlyData)
	}
	return session
}

// resume makes both ends, the client with a new session.
func (p *earlyPair) resume() (s, c *Conn) {
	p.t.Helper()
	return pair(p.t, p.server, p.client, &ClientOptions{Session: p.session()}, p.wrap)
}

// early writes early data on c.
func early(t testing.TB, c *Conn, data string) {
	t.Helper()
	if n, err := c.WriteEarlyData([]byte(data)); n != len(data) || err != nil {
		t.Fatalf("WriteEarlyData of %d bytes: %d, %v", len(data), n, err)
	}
}

// openEarly calls EarlyData.
func openEarly(t testing.TB, s *Conn) *EarlyData {
	t.Helper()
	e, err := s.EarlyData(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// outcome checks what became of a connection's early data, on both sides, and
// that the connection works.
func outcome(t testing.TB, s, c *Conn, resumed, accepted bool) {
	t.Helper()
	for _, x := range []struct {
		name string
		c    *Conn
	}{{"server", s}, {"client", c}} {
		if got := x.c.ConnectionState(); !got.HandshakeComplete || got.DidResume != resumed {
			t.Errorf("%s: complete %v, resumed %v, want resumed %v", x.name, got.HandshakeComplete, got.DidResume, resumed)
		}
		if got := x.c.EarlyDataAccepted(); got != accepted {
			t.Errorf("%s: EarlyDataAccepted is %v, want %v", x.name, got, accepted)
		}
	}
	exchange(t, s, c)
}

// eachWay runs f over both transports.
func eachWay(t *testing.T, f func(t *testing.T, wrap func(net.Conn) net.Conn)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) { f(t, tr.wrap) })
	}
}

// relay is a wire between two sockets that can hold what the client sends.
type relay struct {
	mu   sync.Mutex
	pass chan struct{} // closed: bytes pass
	held int           // bytes that wait
}

// newRelay returns the ends of the wire.
func newRelay(t testing.TB) (client, server net.Conn, r *relay) {
	t.Helper()
	client, in := sockets(t)
	out, server := sockets(t)
	r = &relay{pass: make(chan struct{})}
	close(r.pass)
	var wg sync.WaitGroup
	wg.Go(func() { r.carry(out, in) })
	wg.Go(func() { io.Copy(in, out); in.(*net.TCPConn).CloseWrite() })
	t.Cleanup(func() {
		r.release()
		for _, c := range []net.Conn{client, in, out, server} {
			c.Close()
		}
		wg.Wait()
	})
	return client, server, r
}

func (r *relay) carry(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		r.mu.Lock()
		pass := r.pass
		r.held += n
		r.mu.Unlock()
		<-pass
		r.mu.Lock()
		r.held -= n
		r.mu.Unlock()
		to.Write(b[:n])
		if err != nil {
			to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// hold keeps what the client sends from now on.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pass = make(chan struct{})
}

func (r *relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.pass:
	default:
		close(r.pass)
	}
}

// holds says whether bytes wait.
func (r *relay) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held > 0
}

// ends makes both ends of a connection over given sockets.
func (p *earlyPair) ends(a, b net.Conn, o *ClientOptions) (s, c *Conn) {
	p.t.Helper()
	o.ServerName = "localhost"
	s, err := Server(p.wrap(b), p.server)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err = Client(p.wrap(a), p.client, o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { s.Close(); c.Close() })
	limit := time.Now().Add(20 * time.Second)
	s.SetDeadline(limit)
	c.SetDeadline(limit)
	return s, c
}

func memoryStore() (*memstore.Store, error) { return memstore.New(memstore.Options{}) }
