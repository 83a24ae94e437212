package ssl

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// keeping makes a server whose sessions are in st, in TLS 1.2 and 1.3.
func keeping(t testing.TB, st *store, change func(*Config)) *Context {
	cfg := serverConfig()
	cfg.SessionCallbacks = st.callbacks()
	cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
	if change != nil {
		change(&cfg)
	}
	return newContext(t, cfg)
}

// only returns the one session in st, decoded; its owner is the test.
func (s *store) only(t testing.TB) *Session {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.values) != 1 {
		t.Fatalf("%d sessions are stored, want 1", len(s.values))
	}
	for _, der := range s.values {
		v, err := ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		return v
	}
	return nil
}

func (s *store) drop(id []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, string(id))
}

// age rewrites the one stored session as if it, and the full handshake that it
// goes back to, were so much older.
func (s *store) age(t testing.TB, by time.Duration) {
	t.Helper()
	v := s.only(t)
	seconds := int64(by / time.Second)
	v.use(func(b cshim.Session) { b.SetOrigin(b.Origin() - seconds) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[string(v.ID())] = marshal(t, v)
}

// A chain of resumptions in TLS 1.3 ends when its full handshake is too long
// ago, however new its last session is. Time is made to pass by aging what is
// stored.
func TestMaxResumptionAge(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			st := newStore()
			server := keeping(t, st, func(c *Config) { c.SessionTimeout, c.MaxResumptionAge = time.Hour, 10*time.Hour })
			client, got := newClient(t, versions[1])
			visit := func(offer *Session) (resumed bool) {
				s, c := connect(t, server, client, &ClientOptions{Session: offer}, tr.wrap)
				exchange(t, s, c)
				defer c.Close()
				defer s.Close()
				return s.ConnectionState().DidResume
			}
			visit(nil)
			full := st.only(t).FullHandshake()
			if d := time.Since(full); d < 0 || d > time.Minute {
				t.Fatalf("the full handshake was %v ago", d)
			}
			// After each, the session is made older by less than its own lifetime.
			for i, want := range []struct {
				older   time.Duration // the whole chain, from here on
				resumed bool
				timeout time.Duration
			}{
				{50 * time.Minute, true, time.Hour},
				{8*time.Hour - 50*time.Minute, true, time.Hour},
				{time.Hour + 30*time.Minute, true, 30 * time.Minute},
				{25 * time.Minute, true, 5 * time.Minute},
				{6 * time.Minute, false, time.Hour},
			} {
				st.age(t, want.older)
				old := st.only(t)
				refused := server.HandlerStats().Expired
				offer := got.last(t)
				if resumed := visit(offer); resumed != want.resumed {
					t.Fatalf("visit %d: resumed %v", i, resumed)
				}
				if n := server.HandlerStats().Expired - refused; (n == 1) == want.resumed {
					t.Errorf("visit %d: %d answers refused as expired", i, n)
				}
				st.drop(old.ID())
				v := st.only(t)
				if want.resumed && !v.FullHandshake().Equal(old.FullHandshake()) {
					t.Errorf("visit %d: the full handshake moved by %v", i, v.FullHandshake().Sub(old.FullHandshake()))
				}
				if d := v.Timeout() - want.timeout; d < -10*time.Second || d > 10*time.Second {
					t.Errorf("visit %d: a lifetime of %v, want %v", i, v.Timeout(), want.timeout)
				}
				if hint := got.last(t).TicketLifetimeHint(); hint != v.Timeout() {
					t.Errorf("visit %d: the client was told %v, and the session lives for %v", i, hint, v.Timeout())
				}
			}
		})
	}
}

// In real time: sessions of 3 s, a chain of 4 s. It resumes after 2 s, and does
// not after 5 s, though the session that it offers is 3 s old at the most.
func TestMaxResumptionAgeInRealTime(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"stateful", "stateless"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg := serverConfig()
			cfg.SessionTimeout, cfg.MaxResumptionAge = 3*time.Second, 4*time.Second
			if kind == "stateful" {
				cfg.Tickets = TicketsStateful
			}
			server := newContext(t, cfg)
			client, got := newClient(t, versions[1])
			visit := func(offer *Session) (resumed bool) {
				s, c := connect(t, server, client, &ClientOptions{Session: offer}, nil)
				exchange(t, s, c)
				defer c.Close()
				defer s.Close()
				return s.ConnectionState().DidResume
			}
			visit(nil)
			time.Sleep(2 * time.Second)
			if !visit(got.last(t)) {
				t.Fatal("not resumed after 2 s")
			}
			last := got.last(t)
			if d := last.TicketLifetimeHint(); d > 2*time.Second {
				t.Errorf("the second ticket is good for %v", d)
			}
			time.Sleep(3200 * time.Millisecond)
			if visit(last) {
				t.Error("resumed 5 s after the full handshake")
			}
		})
	}
}

// The note of the origin is no part of what a user sees or sets, and both
// survive the encoding and a resumption.
func TestOriginBesideAppData(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		st := newStore()
		server := keeping(t, st, nil)
		cb := st.callbacks()
		first := true
		cb.New = sessioncb.NewHandlerFunc(func(ctx context.Context, c sessioncb.Conn, v sessioncb.Session) bool {
			s := v.(*Session)
			if first {
				first = false
				if data := s.TicketAppData(); len(data) != 0 {
					t.Errorf("a new session has appdata %q", data)
				}
				if err := s.SetTicketAppData([]byte("user's")); err != nil {
					t.Error(err)
				}
			}
			return st.NewSession(ctx, c, v)
		})
		if err := server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}
		client, got := newClient(t, version)
		s, c := connect(t, server, client, nil, wrap)
		exchange(t, s, c)
		v := st.only(t)
		origin := v.FullHandshake()
		if string(v.TicketAppData()) != "user's" || time.Since(origin) > time.Minute || time.Since(origin) < -time.Minute {
			t.Errorf("appdata %q, full handshake %v", v.TicketAppData(), origin)
		}
		if version == versions[0] {
			return // no new session in a resumption
		}
		st.age(t, time.Hour)
		s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, wrap)
		exchange(t, s, c)
		if !s.ConnectionState().DidResume {
			t.Fatal("not resumed")
		}
		st.drop(v.ID())
		v = st.only(t)
		if want := origin.Add(-time.Hour); string(v.TicketAppData()) != "user's" || !v.FullHandshake().Equal(want) {
			t.Errorf("after a resumption: appdata %q, full handshake %v, want %v", v.TicketAppData(), v.FullHandshake(), want)
		}
	})
}

// A session that claims to go back to a full handshake in the future counts from
// itself, and so do its descendants: a clock was set back, or the store lies.
func TestOriginInTheFuture(t *testing.T) {
	st := newStore()
	server := keeping(t, st, func(c *Config) { c.SessionTimeout, c.MaxResumptionAge = time.Hour, time.Hour })
	client, got := newClient(t, versions[1])
	s, c := connect(t, server, client, nil, nil)
	exchange(t, s, c)
	for _, later := range []int64{10 * 365 * 86400, 1<<62 - time.Now().Unix()} {
		v := st.only(t)
		v.use(func(b cshim.Session) { b.SetOrigin(time.Now().Unix() + later) })
		st.mu.Lock()
		st.values[string(v.ID())] = marshal(t, v)
		st.mu.Unlock()
		s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
		exchange(t, s, c)
		if !s.ConnectionState().DidResume {
			t.Fatal("not resumed")
		}
		st.drop(v.ID())
		if next := st.only(t); next.FullHandshake().After(v.Time()) || next.Timeout() > time.Hour {
			t.Errorf("goes back to %v, which is after %v, and lives for %v", next.FullHandshake(), v.Time(), next.Timeout())
		}
	}
}

// A host with a smaller bound does not believe a ticket of another host under the
// same session id context.
func TestTicketOutlivedOnAnotherHost(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		t.Parallel()
		long, short := serverConfig(), serverConfig()
		long.SessionTimeout, long.MaxResumptionAge = 100*time.Second, 100*time.Second
		short.SessionTimeout, short.MaxResumptionAge = time.Second, time.Second
		server := hosts(t, long, newContext(t, short))
		got := &clientSessions{}
		defer got.close()
		client := newContext(t, Config{Verify: VerifyNone, MinVersion: version, MaxVersion: version,
			SessionCallbacks: sessioncb.Callbacks{New: got}})
		s, c := connect(t, server, client, &ClientOptions{ServerName: "front.example"}, nil)
		exchange(t, s, c)
		time.Sleep(2200 * time.Millisecond)
		offer := got.last(t)
		for _, x := range []struct {
			name string
			want bool
		}{{"host.example", false}, {"front.example", true}} {
			s, c := connect(t, server, client, &ClientOptions{ServerName: x.name, Session: offer}, nil)
			exchange(t, s, c)
			if resumed := s.ConnectionState().DidResume; resumed != x.want {
				t.Errorf("%s resumed a ticket of 2 s: %v", x.name, resumed)
			}
		}
	})
}

// A lifetime is bounded before the internal cache has the session: afterwards a
// flush on another thread could take it out in the middle, which crashed.
func TestBoundBesideFlush(t *testing.T) {
	cfg := serverConfig()
	cfg.MaxVersion, cfg.Tickets, cfg.MaxResumptionAge = versions[0], TicketsStateful, time.Hour
	cfg.SessionTimeout = 30 * time.Minute
	cfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(func(_ context.Context, _ sessioncb.Conn, v sessioncb.Session) bool {
		if d := v.Timeout(); d > time.Hour {
			t.Errorf("a session of %v", d)
		}
		return false
	})
	server := newContext(t, cfg)
	if err := server.SetSessionTimeout(time.Hour); err != nil {
		t.Fatal(err)
	}
	client, _ := newClient(t, versions[0])
	done := make(chan struct{})
	var flushing sync.WaitGroup
	flushing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				server.FlushSessions(time.Time{})
			}
		}
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				s, c := connect(t, server, client, nil, nil)
				s.Close()
				c.Close()
			}
		})
	}
	wg.Wait()
	close(done)
	flushing.Wait()
}
