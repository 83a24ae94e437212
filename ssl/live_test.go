package ssl

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// A session is resumed again and again from the object in the store, with the
// identity of its client, and the store says that it was asked. A client's chain
// is proof that nothing was decoded: no encoding has it.
func TestLive(t *testing.T) {
	for _, who := range identities(t) {
		t.Run(who.name, func(t *testing.T) {
			eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
				live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
				server := live.server(mutual())
				client, got := clientAs(t, version, who.is)
				s, c := connect(t, server, client, nil, wrap)
				exchange(t, s, c)
				peer := subjects(s.ConnectionState().PeerCertificates)
				if n := map[string]int{"anonymous": 0, "leaf": 1, "chain": 2}[who.name]; len(peer) < n || n == 0 && len(peer) > 0 {
					t.Fatalf("the full handshake has %d certificates", len(peer))
				}
				s.Close()
				c.Close()
				offer := got.last(t)
				const visits = 3
				for i := range visits {
					s, c := connect(t, server, client, &ClientOptions{Session: offer}, wrap)
					exchange(t, s, c)
					if !s.ConnectionState().DidResume || !c.ConnectionState().DidResume {
						t.Fatalf("visit %d: not resumed: %+v", i, server.HandlerStats())
					}
					if diff := cmp.Diff(peer, subjects(s.ConnectionState().PeerCertificates)); diff != "" {
						t.Errorf("visit %d: the client's certificates (-full +resumed):\n%s", i, diff)
					}
					s.Close()
					c.Close()
				}
				stored := uint64(1)
				if version == tls.VersionTLS13 {
					stored += visits // a resumption makes a session
				}
				stats := live.Stats()
				if stats.Lookups != (sessioncb.LookupStats{Hit: visits}) || stats.Hits != (sessioncb.HitStats{Store: visits}) ||
					stats.Puts != (sessioncb.PutStats{Stored: stored}) || live.lives.Load() != visits {
					t.Errorf("%d live answers, %+v", live.lives.Load(), stats)
				}
				if n := live.store.Len(); uint64(n) != stored {
					t.Errorf("%d sessions in the store, want %d", n, stored)
				}
				if h := server.HandlerStats(); h != (HandlerStats{}) {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}

// The handlers make no call into C: what encodes would, and the answer has no
// bytes to decode (liveCache). A Cache of bytes, counted in the same way, encodes
// in one.
func TestLiveHandlersStayInGo(t *testing.T) {
	for _, x := range []struct {
		name string
		open func(t *testing.T) *sessioncb.Cache
		new  int64 // crossings of NewSession
	}{
		{"livestore", func(t *testing.T) *sessioncb.Cache {
			return newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{}).Cache
		}, 0},
		{"memstore", func(t *testing.T) *sessioncb.Cache {
			store, err := memstore.New(memstore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return cacheOver(t, store, sessioncb.CacheOptions{})
		}, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			cache := x.open(t)
			cfg := serverConfig()
			cfg.SessionCache = cache
			server := newContext(t, cfg)
			var news, gets []int64
			err := server.SetSessionCallbacks(sessioncb.Callbacks{
				New: sessioncb.NewHandlerFunc(func(ctx context.Context, c sessioncb.Conn, s sessioncb.Session) (keep bool) {
					news = append(news, crossings(func() { keep = cache.NewSession(ctx, c, s) }))
					return keep
				}),
				Get: sessioncb.GetHandlerFunc(func(ctx context.Context, c sessioncb.Conn, id []byte) (a sessioncb.Answer, err error) {
					gets = append(gets, crossings(func() { a, err = cache.GetSession(ctx, c, id) }))
					return a, err
				}),
				Remove: cache,
			})
			if err != nil {
				t.Fatal(err)
			}
			// A crypto/tls client makes no crossings.
			client := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
				ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for i := range 2 {
				if _, _, _, resumed := counted(t, server, client); resumed != (i == 1) {
					t.Fatalf("visit %d: resumed is %v", i, resumed)
				}
			}
			if diff := cmp.Diff([][]int64{{x.new, x.new}, {0}}, [][]int64{news, gets}); diff != "" {
				t.Errorf("crossings of NewSession, and of GetSession (-want +got):\n%s", diff)
			}
		})
	}
}

// A live session is one of its session id context, however many contexts share
// the cache, and no object of it is in two of them.
func TestLiveUnderOtherTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		live := newLiveCache(t, livestore.Options{}, sessioncb.CacheOptions{})
		share := func(epoch uint64) *Context {
			cfg := mutual()
			cfg.TrustEpoch = epoch
			return live.server(cfg)
		}
		a, b, again := share(1), share(2), share(1)
		client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
		visit(t, a, client, nil)
		session := got.last(t)
		for _, x := range []struct {
			name   string
			server *Context
			want   bool
		}{{"b", b, false}, {"again", again, true}, {"a", a, true}} {
			if resumed := visit(t, x.server, client, session); resumed != x.want {
				t.Errorf("%s resumed: %v, want %v", x.name, resumed, x.want)
			}
		}
		if n := live.Stats().Lookups; n != (sessioncb.LookupStats{Hit: 2, OtherContext: 1}) {
			t.Errorf("%+v", n)
		}
	})
}

// Sessions are evicted while others look them up: who comes too late makes a
// full handshake, and nothing else happens.
func TestLiveEviction(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		live := newLiveCache(t, livestore.Options{MaxSessions: 3}, sessioncb.CacheOptions{})
		server := live.server(mutual())
		const clients, visits, atMost = 4, 12, 500
		var resumed, full, offered atomic.Int64
		shown := func() bool { return resumed.Load() > 0 && full.Load() > clients }
		var wg, first sync.WaitGroup
		first.Add(clients)
		for range clients {
			client, got := clientAs(t, version, files("client.pem", "client-key.pem"))
			wg.Go(func() {
				for i := 0; i < visits || i < atMost && !shown(); i++ {
					var offer *Session
					if i > 0 {
						first.Wait() // then one of the sessions is gone
						offer = got.last(t)
						offered.Add(1)
					}
					again, err := tryVisit(t, server, client, offer)
					if i == 0 {
						first.Done()
					}
					switch {
					case err != nil:
						t.Error(err)
						return
					case again:
						resumed.Add(1)
					default:
						full.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if !shown() {
			t.Errorf("%d resumed, %d not: this shows nothing", resumed.Load(), full.Load())
		}
		if n := live.Stats().Lookups; n.Offered() != uint64(offered.Load()) || n.Hit+n.Miss != n.Offered() {
			t.Errorf("%+v", n)
		}
		if n := live.store.Len(); n > 3 {
			t.Errorf("%d sessions in a store of 3", n)
		}
	})
}

// The same without connections, as fast as it goes: a borrowed session is
// duplicated, or is closed and a miss.
func TestLiveEvictionRace(t *testing.T) {
	live := newLiveCache(t, livestore.Options{MaxSessions: 1}, sessioncb.CacheOptions{})
	server := live.server(mutual())
	client, got := clientAs(t, tls.VersionTLS13, files("client.pem", "client-key.pem"))
	visit(t, server, client, nil)
	got.close()
	template, err := live.newest().Dup()
	if err != nil {
		t.Fatal(err)
	}
	defer template.Close()
	key := sessioncb.Key{ID: template.ID()}
	const rounds, atMost = 3000, 3_000_000
	var copies, closed atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := 0; !done.Load(); i++ {
				s, err := live.store.GetSession(key)
				if err != nil {
					continue
				}
				if i%2 == 0 {
					runtime.Gosched() // to be late
				}
				if b := privateCopy(s); b.IsZero() {
					closed.Add(1)
				} else {
					copies.Add(1)
					b.Free()
				}
			}
		})
	}
	for i := 0; i < rounds || i < atMost && (copies.Load() == 0 || closed.Load() == 0); i++ {
		s, err := template.Dup()
		if err != nil {
			t.Fatal(err)
		}
		if !live.store.PutSession(key, s, time.Hour) {
			t.Fatal("not taken")
		}
	}
	done.Store(true)
	wg.Wait()
	if copies.Load() == 0 || closed.Load() == 0 {
		t.Errorf("%d copies, and %d sessions closed before: this shows nothing", copies.Load(), closed.Load())
	}
}
