package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// Steps are made in place until too many signs of life were slow; then the pauses
// on the pool become longer, up to a bound, and one good round ends them.
func TestInPlace(t *testing.T) {
	p := inPlace{left: judged}
	for i, want := range []struct {
		slow  int
		pool  bool
		steps int
	}{
		{0, false, judged},
		{tooSlow, false, judged},
		{tooSlow + 1, true, judged},
		{1000, false, judged}, // of steps of the round before: a round on the pool is not judged
		{tooSlow + 1, true, 3 * judged},
		{0, false, judged},
		{tooSlow + 1, true, 7 * judged},
		{0, false, judged},
		{tooSlow + 1, true, 15 * judged},
		{0, false, judged},
		{tooSlow + 1, true, longestPause},
		{0, false, judged},
		{0, false, judged}, // good
		{tooSlow + 1, true, judged},
	} {
		before := p.left
		p.note(want.slow)
		if ended := p.left == 0; ended != (want.slow > tooSlow && !p.pool) || !ended && p.left != before {
			t.Fatalf("round %d: %d steps are left after %d slow signs", i, p.left, want.slow)
		}
		p.nextRound()
		if p.pool != want.pool || p.left != want.steps {
			t.Fatalf("round %d: on the pool %v, %d steps; want %v, %d", i, p.pool, p.left, want.pool, want.steps)
		}
	}
}

// resumeOn sets where the next resumptions of TLS 1.3 are made, until the test ends.
func resumeOn(t *testing.T, pool bool) {
	set := func(pool bool) {
		resumptions.mu.Lock()
		defer resumptions.mu.Unlock()
		resumptions.left, resumptions.pool, resumptions.slow, resumptions.pause = judged, pool, 0, 0
	}
	set(pool)
	t.Cleanup(func() { set(false) })
}

// A handshake that a goroutine makes gives signs of life between its operations.
// A thread of C gives none: it would wait for a processor of Go's.
func TestPulses(t *testing.T) {
	for _, row := range []struct {
		name    string
		version uint16
		wrap    func(net.Listener, *Context) (*Listener, error)
		resumed bool
		pool    bool
		want    uint64 // at least; 0: none at all
	}{
		{"threads of C", only12, listenOwn, false, false, 0},
		{"threads of C", only13, listenOwn, false, false, 0},
		{"pool, resumed", only13, listenOwn, true, true, 0},
		{"in place, resumed", only13, listenOwn, true, false, 2}, // before and after the key exchange
		{"in place, full", only12, listenMemory, false, false, 4},
		{"in place, full", only13, listenMemory, false, false, 4},
	} {
		t.Run(tls.VersionName(row.version)[4:]+"/"+row.name, func(t *testing.T) {
			balanced(t)
			resumeOn(t, row.pool)
			cfg := serverConfig()
			cfg.Tickets = TicketsNone
			if row.resumed {
				cfg.SessionCallbacks = newStore().callbacks()
				cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
			}
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l, err := row.wrap(inner, newContext(t, cfg))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			// Of crypto/tls: a client of ours gives signs too.
			client := &tls.Config{
				InsecureSkipVerify: true, ServerName: "localhost", MinVersion: row.version, MaxVersion: row.version,
				ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			if row.resumed {
				visitPulsing(t, l, client)
			}
			before := cshim.Pulses()
			if resumed := visitPulsing(t, l, client); resumed != row.resumed {
				t.Fatalf("resumed: %v", resumed)
			}
			n := cshim.Pulses() - before
			if row.want == 0 && n > 0 || n < row.want {
				t.Errorf("%d signs of life, want %d", n, row.want)
			}
		})
	}
}

func listenOwn(l net.Listener, ctx *Context) (*Listener, error) {
	return ListenTCP(l.(*net.TCPListener), ctx)
}

func listenMemory(l net.Listener, ctx *Context) (*Listener, error) {
	return NewListener(memoryListener{l}, ctx)
}

// memoryListener accepts connections that are no *net.TCPConn.
type memoryListener struct{ net.Listener }

func (l memoryListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

// visitPulsing makes one connection to l, to its end.
func visitPulsing(t *testing.T, l *Listener, client *tls.Config) (resumed bool) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err == nil {
			defer nc.Close()
			_, err = nc.Write([]byte("x"))
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		t.Fatalf("client: %v; server: %v", err, <-done)
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}

// What a store answered is freed also when libssl does not ask for it: of a client
// that offers a session, and not to resume it with a key exchange.
func TestAnswerNotAskedFor(t *testing.T) {
	balanced(t)
	poolIsFree(t)
	resumeOn(t, false)
	store := newStore()
	cfg := serverConfig()
	cfg.SessionCallbacks = store.callbacks()
	cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
	server := newContext(t, cfg)
	client, got := newClient(t, only13)
	visit(t, server, client, nil)
	hits := func() int {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.hits
	}
	had := hits()

	a, b := sockets(t)
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	changed := false
	change := func(p []byte) []byte {
		// psk_key_exchange_modes: psk_dhe_ke, and then psk_ke.
		is, other := []byte{0, 45, 0, 2, 1, 1}, []byte{0, 45, 0, 2, 1, 0}
		changed = changed || bytes.Contains(p, is)
		return bytes.Replace(p, is, other, 1)
	}
	c, err := Client(rewriter{a, change}, client, &ClientOptions{ServerName: "localhost", Session: got.last(t)})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		failed <- c.Handshake()
		c.Close()
	}()
	before, _ := workers.state()
	if err := s.Handshake(); err == nil {
		t.Error("the handshake went well, with another ClientHello than the client's")
	}
	if err := <-failed; err == nil || !changed {
		t.Errorf("the client: %v; changed %v", err, changed)
	}
	// Found, judged good, and so no step for the pool; and not asked for.
	if after, _ := workers.state(); after != before || hits() != had+1 || server.Stats().CallbackHits != 0 {
		t.Errorf("%d steps on the pool, %d lookups found something, and libssl got %d",
			after-before, hits()-had, server.Stats().CallbackHits)
	}
}

// A session that libssl itself declines, made without EMS and offered by a client
// that has it now, is a full handshake in place, and gives signs of life.
func TestPulsesOfDeclined(t *testing.T) {
	balanced(t)
	poolIsFree(t)
	store := newStore()
	cfg := serverConfig()
	cfg.SessionCallbacks = sessioncb.Callbacks{New: store, Get: sessioncb.GetHandlerFunc(
		func(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			a, err := store.GetSession(ctx, c, id)
			der := bytes.Clone(a.Encoded())
			// flags [13] INTEGER, the last of it: SSL_SESS_FLAG_EXTMS.
			if i := bytes.LastIndex(der, []byte{0xad, 3, 2, 1}); i >= 0 {
				der[i+4] &^= 1
			}
			return sessioncb.DER(der), err
		})}
	cfg.SessionCacheMode, cfg.Tickets = CacheExternal, TicketsStateful
	server := newContext(t, cfg)
	client, got := newClient(t, only12)
	visit(t, server, client, nil)
	a, b := sockets(t)
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := Client(slowReads{a}, client, &ClientOptions{ServerName: "localhost", Session: got.last(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var signs, steps uint64
	aroundSteps(s, func(step *toHandshake, tr cshim.IO) (wait bool, in, out int) {
		signsBefore := cshim.Pulses()
		before, _ := workers.state()
		wait, in, out = step.try(tr)
		after, _ := workers.state()
		signs, steps = signs+cshim.Pulses()-signsBefore, steps+after-before
		return wait, in, out
	})
	if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	if s.ConnectionState().DidResume || steps != 0 {
		t.Fatalf("resumed %v, %d steps on the pool: not the handshake that is meant", s.ConnectionState().DidResume, steps)
	}
	if signs < 5 {
		t.Errorf("%d signs of life, want 5", signs)
	}
}

// slowReads keeps the client's signs of life apart from the server's.
type slowReads struct{ net.Conn }

func (r slowReads) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	time.Sleep(50 * time.Millisecond)
	return n, err
}

// A rewriter changes what is written.
type rewriter struct {
	net.Conn
	change func([]byte) []byte
}

func (r rewriter) Write(p []byte) (int, error) {
	if _, err := r.Conn.Write(r.change(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
