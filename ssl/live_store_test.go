package ssl

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
)

// Of many connections that offer one session of TLS 1.3 at once, one resumes;
// in TLS 1.2 all do.
func TestLiveSingleUse(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{SingleUse: true})
		server := live.server(mutual())
		client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
		visit(t, server, client, nil)
		offer := got.last(t)
		const visits = 8
		want := sessioncb.HitStats{Store: visits}
		if version == tls.VersionTLS13 {
			want = sessioncb.HitStats{Claimed: 1}
		}
		var resumed atomic.Uint64
		var wg sync.WaitGroup
		for range visits {
			wg.Go(func() {
				again, err := tryVisit(t, server, client, offer)
				if err != nil {
					t.Error(err)
				}
				if again {
					resumed.Add(1)
				}
			})
		}
		wg.Wait()
		stats := live.Stats()
		if stats.Hits != want || resumed.Load() != want.Store+want.Claimed || stats.Lookups.Offered() != visits || stats.Lookups.Error != 0 {
			t.Errorf("%d resumed, %+v, %+v", resumed.Load(), stats.Hits, stats.Lookups)
		}
		// The session that the resumption made is there, for one more.
		if version == tls.VersionTLS13 {
			newest := got.last(t)
			for i := range 2 {
				if resumed := visit(t, server, client, newest); resumed != (i == 0) {
					t.Errorf("the next session, visit %d: resumed %v", i, resumed)
				}
			}
		}
	})
}

// Early data needs single use, and a LiveStore has it: of two connections that
// send with one session, one is heard.
func TestLiveEarlyData(t *testing.T) {
	live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{SingleUse: true})
	cfg := mutual()
	cfg.SessionCache, cfg.MaxEarlyData = live.Cache, 1000
	client, got := clientAs(t, tls.VersionTLS13, files("client.pem", "client-key.pem"))
	p := &earlyPair{t: t, server: newContext(t, cfg), client: client, got: got}
	session := p.session()
	for i := range 2 {
		s, c := pair(t, p.server, client, &ClientOptions{Session: session}, nil)
		early(t, c, "hello")
		done := make(chan error, 1)
		go func() { done <- c.Handshake() }()
		openEarly(t, s)
		if err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		outcome(t, s, c, i == 0, i == 0)
	}
	if n := live.Stats().Hits; n != (sessioncb.HitStats{Claimed: 1}) {
		t.Errorf("%+v", n)
	}
}

// A session that is removed is gone, and closed, whoever holds its ticket.
func TestLiveRemoval(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
		server := live.server(mutual())
		client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
		visit(t, server, client, nil)
		offer, s := got.last(t), live.newest()
		if !visit(t, server, client, offer) {
			t.Fatal("not resumed")
		}
		server.RemoveSession(s)
		eventually(t, "the removal", func() bool { return live.Stats().Removals[sessioncb.Explicit].Deleted == 1 })
		if s.Resumable() {
			t.Error("the session of the store is still open")
		}
		if visit(t, server, client, offer) {
			t.Error("resumed after its removal")
		}
		if n := live.Stats().Lookups; n != (sessioncb.LookupStats{Hit: 1, Miss: 1}) {
			t.Errorf("%+v", n)
		}
	})
}

// A session ends by the clock of the Cache, and by that of the store, which
// closes it.
func TestLiveExpiry(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		var late atomic.Int64
		clock := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		for _, x := range []struct {
			name  string
			store livestore.Options
			cache sessioncb.CacheOptions
			want  sessioncb.LookupStats
			left  int
		}{
			{"of the Cache", livestore.Options{}, sessioncb.CacheOptions{Now: clock}, sessioncb.LookupStats{Hit: 1, Expired: 1}, 1},
			{"of the store", livestore.Options{Now: clock}, sessioncb.CacheOptions{}, sessioncb.LookupStats{Hit: 1, Miss: 1}, 0},
			{"of both", livestore.Options{Now: clock}, sessioncb.CacheOptions{Now: clock}, sessioncb.LookupStats{Hit: 1, Miss: 1}, 0},
		} {
			t.Run(x.name, func(t *testing.T) {
				late.Store(0)
				live := newLiveCache(t, x.store, x.cache)
				cfg := mutual()
				cfg.SessionTimeout = time.Hour
				server := live.server(cfg)
				client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
				visit(t, server, client, nil)
				stored := live.newest()
				offer := got.last(t)
				if !visit(t, server, client, offer) {
					t.Fatal("not resumed in its time")
				}
				late.Store(int64(time.Hour))
				if visit(t, server, client, offer) {
					t.Error("resumed after its time")
				}
				if n := live.Stats().Lookups; n != x.want {
					t.Errorf("%+v, want %+v", n, x.want)
				}
				if open := stored.Resumable(); open != (x.left == 1) {
					t.Errorf("the stored session is open: %v", open)
				}
			})
		}
	})
}

// The time of the full handshake, and what the user noted, are in a duplicate
// too, so a chain of resumptions ends.
func TestLiveResumptionAge(t *testing.T) {
	live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
	cfg := mutual()
	cfg.SessionTimeout, cfg.MaxResumptionAge = time.Hour, 10*time.Hour
	server := live.server(cfg)
	client, got := clientAs(t, tls.VersionTLS13, files("client.pem", "client-key.pem"))
	visit(t, server, client, nil)
	const seconds = 9*3600 + 1800
	for i, x := range []struct {
		older   int64 // in seconds: the full handshake, of the session that is stored last
		resumed bool
		timeout time.Duration
	}{{0, true, time.Hour}, {seconds, true, 30 * time.Minute}, {1900, false, time.Hour}} {
		stored := live.newest()
		stored.use(func(b cshim.Session) {
			if !b.SetOrigin(b.Origin() - x.older) {
				t.Fatal("no origin can be set")
			}
		})
		old := stored.FullHandshake()
		duplicate, err := stored.Dup()
		if err != nil {
			t.Fatal(err)
		}
		if f := duplicate.FullHandshake(); !f.Equal(old) {
			t.Errorf("a duplicate goes back to %v, not %v", f, old)
		}
		duplicate.Close()
		if resumed := visit(t, server, client, got.last(t)); resumed != x.resumed {
			t.Fatalf("visit %d: resumed %v: %+v", i, resumed, server.HandlerStats())
		}
		v := live.newest()
		if same := v.FullHandshake().Equal(old); same != x.resumed {
			t.Errorf("visit %d: the full handshake was %v, and is %v", i, old, v.FullHandshake())
		}
		if d := v.Timeout() - x.timeout; d < -10*time.Second || d > 10*time.Second {
			t.Errorf("visit %d: a lifetime of %v, want %v", i, v.Timeout(), x.timeout)
		}
	}
	if n := server.HandlerStats().Expired; n != 1 {
		t.Errorf("%d answers refused as expired, want 1", n)
	}
}

// A handler that panics after the store took its session leaves a closed one
// there: a miss.
func TestLivePanicAfterTaken(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
		panics := 0
		cfg := mutual()
		cfg.OnHandlerPanic = func(*HandlerPanicError) { panics++ }
		server := live.server(cfg)
		client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
		live.taken = func() { panic("after all") }
		visit(t, server, client, nil)
		live.taken = nil
		if live.store.Len() != 1 || panics != 1 {
			t.Fatalf("%d sessions, %d panics: this shows nothing", live.store.Len(), panics)
		}
		offer := got.last(t)
		if visit(t, server, client, offer) {
			t.Error("resumed from a session that the binding has freed")
		}
		if !visit(t, server, client, got.last(t)) {
			t.Error("the next one is not resumed")
		}
	})
}

// The store may be closed under a server that goes on: it makes full handshakes.
func TestLiveStoreClosedFirst(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
		server := live.server(mutual())
		client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
		visit(t, server, client, nil)
		offer := got.last(t)
		live.store.Close()
		for range 2 {
			if visit(t, server, client, offer) {
				t.Error("resumed")
			}
		}
		stats := live.Stats()
		if stats.Lookups != (sessioncb.LookupStats{Miss: 2}) || stats.Puts != (sessioncb.PutStats{Stored: 1, Dropped: 2}) {
			t.Errorf("%+v, %+v", stats.Lookups, stats.Puts)
		}
	})
}

// An attached SSL_CTX of a C server resumes from it too.
func TestLiveAttached(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, mode := range []int{chost.NoInternal, chost.NoLookup} {
			live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
			h := newHost(t, chost.Options{Version: version, CacheMode: mode, Tickets: 1})
			h.attach(sessioncb.Callbacks{New: live, Get: live, Remove: live.Cache}, nil)
			h.start()
			client, got := newClient(t, version)
			h.finish(h.connect(client, nil))
			offer := got.last(t)
			for i := range 2 {
				conn := h.connect(client, offer)
				if !conn.ConnectionState().DidResume {
					t.Errorf("mode %d, visit %d: not resumed", mode, i)
				}
				h.finish(conn)
			}
			if n := live.Stats().Hits; n != (sessioncb.HitStats{Store: 2}) {
				t.Errorf("mode %d: %+v", mode, n)
			}
		}
	})
}
