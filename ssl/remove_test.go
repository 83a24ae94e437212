package ssl

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// removalLog records removals in order.
type removalLog struct {
	mu   sync.Mutex
	ids  []string
	list []sessioncb.Removal
}

func (l *removalLog) RemoveSession(_ context.Context, s sessioncb.Session, r sessioncb.Removal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := s.MarshalBinary(); err != sessioncb.ErrRemoved {
		panic(fmt.Sprintf("encoding a removed session: %v", err))
	}
	l.ids = append(l.ids, string(s.ID()))
	l.list = append(l.list, r)
}

// reasons waits until all was delivered and returns the reasons since the last call.
func (l *removalLog) reasons(c *Context) (list []sessioncb.Reason) {
	c.side.settle()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.list {
		list = append(list, r.Reason)
	}
	l.list, l.ids = nil, nil
	return list
}

// A row for each call site of remove_session_cb that a Context can reach. The
// sites of C code are in the tests of Attach.
func TestRemovalReasons(t *testing.T) {
	type env struct {
		*testing.T
		version uint16
		server  *Context
		client  *Context
		got     *clientSessions
		log     *removalLog
	}
	visit := func(e env, offer *Session) (s, c *Conn) {
		s, c = connect(e.T, e.server, e.client, &ClientOptions{Session: offer}, nil)
		exchange(e.T, s, c)
		return s, c
	}
	leave := func(s, c *Conn) { c.Close(); s.Close() }
	parsed := func(e env, change func(cshim.Session)) *Session {
		s, c := visit(e, nil)
		v := s.Session()
		leave(s, c)
		e.Cleanup(func() { v.Close() })
		e.server.FlushSessions(time.Time{})
		e.log.reasons(e.server)
		change(v.p)
		return v
	}
	for _, row := range []struct {
		name    string
		only    uint16
		prepare func(*Config)
		run     func(e env)
		want    []sessioncb.Reason
	}{
		{"RemoveSession", 0, nil, func(e env) {
			s, c := visit(e, nil)
			v := s.Session()
			leave(s, c)
			if ok, err := e.server.RemoveSession(v); !ok || err != nil {
				e.Errorf("RemoveSession: %v, %v", ok, err)
			}
			v.Close()
		}, []sessioncb.Reason{sessioncb.Explicit}},
		{"RemoveSession of one that is not there", 0, nil, func(e env) {
			v := parsed(e, func(cshim.Session) {})
			if ok, err := e.server.RemoveSession(v); ok || err != nil {
				e.Errorf("RemoveSession: %v, %v", ok, err)
			}
		}, []sessioncb.Reason{sessioncb.Explicit}},
		{"FlushSessions of all", 0, nil, func(e env) {
			leave(visit(e, nil))
			e.server.FlushSessions(time.Time{})
		}, []sessioncb.Reason{sessioncb.Flushed}},
		{"FlushSessions at a time", 0, nil, func(e env) {
			leave(visit(e, nil))
			e.server.FlushSessions(time.Now().Add(3 * time.Hour))
		}, []sessioncb.Reason{sessioncb.Expired}},
		{"FlushSessions before it expires", 0, nil, func(e env) {
			leave(visit(e, nil))
			e.server.FlushSessions(time.Now().Add(time.Hour))
		}, nil},
		{"AddSession over the size", 0, nil, func(e env) {
			v := parsed(e, func(s cshim.Session) { s.SSL_SESSION_set1_id([]byte("another id")) })
			leave(visit(e, nil))
			e.server.SetCacheSize(1)
			if ok, err := e.server.AddSession(v); !ok || err != nil {
				e.Errorf("AddSession: %v, %v", ok, err)
			}
		}, []sessioncb.Reason{sessioncb.Evicted}},
		{"AddSession of an id that is there", 0, nil, func(e env) {
			s, c := visit(e, nil)
			v := s.Session()
			leave(s, c)
			if ok, err := e.server.AddSession(v); err != nil {
				e.Errorf("AddSession: %v, %v", ok, err)
			}
			v.Close()
		}, nil},
		{"a new session over the size", 0, nil, func(e env) {
			e.server.SetCacheSize(1)
			leave(visit(e, nil))
			leave(visit(e, nil))
		}, []sessioncb.Reason{sessioncb.Evicted}},
		{"the automatic flush", 0, nil, func(e env) {
			v := parsed(e, func(s cshim.Session) {
				s.SSL_SESSION_set1_id([]byte("an old session"))
				s.SSL_SESSION_set_time(time.Now().Unix() - 1000)
				s.SSL_SESSION_set_timeout(10)
			})
			for range 250 {
				leave(connect(e.T, e.server, e.client, nil, nil))
			}
			e.server.AddSession(v)
			for range 8 { // one of them is the 256th
				leave(connect(e.T, e.server, e.client, nil, nil))
			}
		}, []sessioncb.Reason{sessioncb.Expired}},
		{"a lookup of an expired session", tls.VersionTLS12, func(c *Config) { c.SessionTimeout = time.Second }, func(e env) {
			over := 2100 * time.Millisecond
			if cshim.VersionNum() >= 0x30200000 { // counts fractions: over in the same second that it is good in elsewhere
				time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1100 * time.Millisecond)))
				over = 1100 * time.Millisecond
			}
			leave(visit(e, nil))
			time.Sleep(over)
			offer := e.got.last(e.T)
			offer.p.SSL_SESSION_set_timeout(1000)
			s, c := visit(e, offer)
			if c.ConnectionState().DidResume {
				e.Error("resumed with an expired session")
			}
			leave(s, c)
		}, []sessioncb.Reason{sessioncb.Expired}},
		{"early data takes the session", tls.VersionTLS13, nil, func(e env) {
			e.server.side.c.SetEarlyData(1024)
			leave(visit(e, nil))
			s, c := visit(e, e.got.last(e.T))
			if !c.ConnectionState().DidResume {
				e.Error("not resumed")
			}
			leave(s, c)
		}, []sessioncb.Reason{sessioncb.SingleUse}},
		{"Abort", 0, nil, func(e env) {
			s, c := visit(e, nil)
			s.Abort()
			c.Close()
		}, []sessioncb.Reason{sessioncb.UncleanClose}},
		{"Close", 0, nil, func(e env) { leave(visit(e, nil)) }, nil},
		{"Close of the Context", 0, nil, func(e env) {
			leave(visit(e, nil))
			e.server.Close()
			e.server.Wait(context.Background())
		}, []sessioncb.Reason{sessioncb.ContextFreed}},
		{"Close of the Context before that of a connection", 0, nil, func(e env) {
			s, c := visit(e, nil)
			e.server.Close()
			if n := len(e.log.reasons(e.server)); n != 0 {
				e.Errorf("%d removals while a connection is alive", n)
			}
			leave(s, c)
			e.server.Wait(context.Background())
		}, []sessioncb.Reason{sessioncb.ContextFreed}},
		{"Abort of the last connection of a closed Context", 0, nil, func(e env) {
			s, c := visit(e, nil)
			e.server.Close()
			s.Abort()
			c.Close()
			e.server.Wait(context.Background())
		}, []sessioncb.Reason{sessioncb.UncleanClose}},
	} {
		t.Run(row.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				if row.only != 0 && row.only != version {
					return // the contract has this row for the other version
				}
				log := &removalLog{}
				cfg := serverConfig()
				cfg.Tickets = TicketsStateful
				cfg.NumTickets = 1
				cfg.SessionCallbacks.Remove = log
				if row.prepare != nil {
					row.prepare(&cfg)
				}
				server := newContext(t, cfg)
				client, got := newClient(t, version)
				row.run(env{t, version, server, client, got, log})
				if diff := cmp.Diff(row.want, log.reasons(server)); diff != "" {
					t.Errorf("reasons (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A client's sessions: used up, and replaced.
func TestRemovalUsed(t *testing.T) {
	log, got := &removalLog{}, &clientSessions{}
	cfg := clientConfig()
	cfg.MinVersion = tls.VersionTLS13
	cfg.SessionCallbacks = sessioncb.Callbacks{New: got, Remove: log}
	client := newContext(t, cfg)
	t.Cleanup(got.close)
	server := newContext(t, serverConfig())
	s, c := connect(t, server, client, nil, nil)
	exchange(t, s, c)
	c.Close()
	s.Close()
	log.reasons(client)
	s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
	exchange(t, s, c)
	if !c.ConnectionState().DidResume {
		t.Fatal("not resumed")
	}
	if diff := cmp.Diff([]sessioncb.Reason{sessioncb.Used}, log.reasons(client)); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	c.Close()
	s.Close()
}

// A RemoveHandler runs with no lock held: it may ask the context for anything,
// and close connections. Under OpenSSL's lock these calls fail or hang.
func TestRemoveHandlerCallsBack(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		var (
			mu       sync.Mutex
			open     []*Conn
			again    sync.Once
			failures atomic.Int64
			calls    atomic.Int64
		)
		cfg := serverConfig()
		cfg.Tickets = TicketsStateful
		cfg.NumTickets = 1
		cfg.SessionCallbacks.Remove = sessioncb.RemoveHandlerFunc(func(_ context.Context, s sessioncb.Session, r sessioncb.Removal) {
			calls.Add(1)
			again.Do(func() {
				ctx := r.Context.(*Context)
				kept, err := s.Retain()
				if err != nil {
					failures.Add(1)
				}
				if _, err := ctx.AddSession(kept); err != nil {
					failures.Add(1)
				}
				if _, err := ctx.RemoveSession(kept); err != nil {
					failures.Add(1)
				}
				kept.Close()
				if err := ctx.FlushSessions(time.Time{}); err != nil {
					failures.Add(1)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, c := range open {
					c.Close()
				}
			})
		})
		server := newContext(t, cfg)
		client, _ := newClient(t, version)
		for range 4 {
			s, c := connect(t, server, client, nil, nil)
			exchange(t, s, c)
			mu.Lock()
			open = append(open, s, c)
			mu.Unlock()
		}
		server.SetCacheSize(1)
		s, c := connect(t, server, client, nil, nil) // evicts, inside the handshake
		exchange(t, s, c)
		s.Close()
		c.Close()
		server.side.settle() // the handlers find the context open
		server.Close()
		server.Wait(context.Background())
		if failures.Load() != 0 || calls.Load() < 5 {
			t.Errorf("%d calls failed inside the handler, %d removals", failures.Load(), calls.Load())
		}
	})
}

// A handler that panics or leaves its goroutine loses nothing: the removal
// counts as delivered, and the next ones come.
func TestRemoveHandlerFails(t *testing.T) {
	for _, how := range []struct {
		name string
		do   func()
	}{{"panic", func() { panic("on purpose") }}, {"Goexit", goexit}} {
		t.Run(how.name, func(t *testing.T) {
			var calls atomic.Int64
			var caught atomic.Pointer[HandlerPanicError]
			cfg := serverConfig()
			cfg.OnHandlerPanic = func(e *HandlerPanicError) { caught.Store(e) }
			cfg.SessionCallbacks.Remove = sessioncb.RemoveHandlerFunc(func(context.Context, sessioncb.Session, sessioncb.Removal) {
				calls.Add(1)
				how.do()
			})
			server := newContext(t, cfg)
			der := encodedSession(t)
			for i := range 3 {
				v, err := ParseSession(der)
				if err != nil {
					t.Fatal(err)
				}
				v.p.SSL_SESSION_set1_id([]byte{byte(i + 1)})
				server.AddSession(v)
				v.Close()
			}
			server.Close()
			server.Wait(context.Background())
			if calls.Load() != 3 {
				t.Errorf("%d removals were delivered, want 3", calls.Load())
			}
			if e := caught.Load(); e == nil || e.Handler != "Remove" || len(e.Stack) == 0 {
				t.Errorf("OnHandlerPanic was told %v", e)
			}
		})
	}
}

// encodedSession makes a session of a real handshake.
func encodedSession(t *testing.T) []byte {
	t.Helper()
	server := newContext(t, serverConfig())
	client, _ := newClient(t, tls.VersionTLS13)
	s, c := connect(t, server, client, nil, nil)
	exchange(t, s, c)
	v := s.Session()
	defer v.Close()
	der, err := v.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	c.Close()
	return der
}

// Contexts are closed while 64 goroutines hand-shake, read, write and close,
// with a delay between each call and the delivery of its events: each removal
// comes exactly once, and no handle is used after its end.
func TestContextCloseStorm(t *testing.T) {
	delay := func() { time.Sleep(time.Duration(1+rand.IntN(3)) * time.Millisecond) }
	beforeWake.Store(&delay)
	defer beforeWake.Store(nil)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		eachVersion(t, stormRound)
	}
}

func stormRound(t *testing.T, version uint16) {
	var announced, removed sync.Map // ids
	var delivered atomic.Uint64
	queued := cshim.RemovalsQueued()
	st := newStore()
	cfg := serverConfig()
	cfg.Tickets = TicketsStateful
	cfg.NumTickets = 1
	cfg.SessionCacheMode = CacheInternal
	cfg.SessionCallbacks = sessioncb.Callbacks{
		New: sessioncb.NewHandlerFunc(func(ctx context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
			announced.Store(string(s.ID()), true)
			return st.NewSession(ctx, c, s)
		}),
		Get: st,
		Remove: sessioncb.RemoveHandlerFunc(func(_ context.Context, s sessioncb.Session, r sessioncb.Removal) {
			removed.Store(string(s.ID()), true)
			delivered.Add(1)
		}),
	}
	server, err := NewContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, got := newClient(t, version)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ta, tb := sockets(t)
			if i%2 == 0 {
				ta, tb = transports[1].wrap(ta), transports[1].wrap(tb)
			}
			s, err := Server(tb, server)
			if err != nil { // the context is closed already
				ta.Close()
				tb.Close()
				return
			}
			c, err := Client(ta, client, &ClientOptions{ServerName: "localhost", Session: anySession(got)})
			if err != nil {
				t.Error(err)
				return
			}
			s.SetDeadline(time.Now().Add(20 * time.Second))
			c.SetDeadline(time.Now().Add(20 * time.Second))
			var both sync.WaitGroup
			both.Go(func() {
				if s.Handshake() == nil {
					s.Write([]byte("x"))
				}
				if i%4 == 1 {
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				}
				if i%3 == 0 {
					s.Abort()
				} else {
					s.Close()
				}
			})
			both.Go(func() {
				if c.Handshake() == nil {
					io.ReadFull(c, make([]byte, 1))
				}
				c.Close()
			})
			both.Wait()
		})
	}
	for news := 0; news == 0; news, _, _ = st.counts() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // in the middle of it
	server.Close()
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Wait(ctx); err != nil {
		t.Fatal("the context is not gone: ", err)
	}
	// remove_session_cb can come more than once for an id: for the cache, and for
	// each connection that used it. Each call is delivered once.
	if n := cshim.RemovalsQueued() - queued; n != delivered.Load() || n == 0 {
		t.Errorf("remove_session_cb was called %d times, %d removals were delivered", n, delivered.Load())
	}
	// All that was announced was in the internal cache, and left it.
	announced.Range(func(id, _ any) bool {
		if _, ok := removed.Load(id); !ok {
			t.Errorf("session %x was announced and never removed", id)
		}
		return true
	})
}

// anySession returns a session of the collector, or nil.
func anySession(got *clientSessions) *Session {
	got.mu.Lock()
	defer got.mu.Unlock()
	if len(got.list) == 0 {
		return nil
	}
	return got.list[rand.IntN(len(got.list))]
}
