package ssl

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// The numbers of docs/decisions/0022-live-store.md.

// memoryCaches are the two ways to keep sessions in the process.
var memoryCaches = []struct {
	name string
	open func(b *testing.B) *sessioncb.Cache
}{
	{"memstore", func(b *testing.B) *sessioncb.Cache {
		store, err := memstore.New(memstore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		// Only what is measured ends a call, however busy the machine is.
		return cacheOver(b, store, sessioncb.CacheOptions{LookupTimeout: time.Minute, PutTimeout: time.Minute})
	}},
	{"livestore", func(b *testing.B) *sessioncb.Cache {
		store, err := livestore.New(livestore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { store.Close() })
		cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{})
		if err != nil {
			b.Fatal(err)
		}
		return cache
	}},
}

var memoryClients = []struct {
	name string
	is   []Certificate
}{
	{"anonymous", nil},
	{"mtls", files("client.pem", "client-key.pem")},
}

func eachMemory(b *testing.B, f func(b *testing.B, cache *sessioncb.Cache, is []Certificate)) {
	for _, m := range memoryCaches {
		for _, c := range memoryClients {
			b.Run(m.name+"/"+c.name, func(b *testing.B) { f(b, m.open(b), c.is) })
		}
	}
}

// cached makes a server with the cache, and a session in it that client may
// resume.
func cached(b *testing.B, cache *sessioncb.Cache, is []Certificate) (server, client *Context, s *Conn, offer *Session) {
	cfg := mutual()
	cfg.SessionCache = cache
	server = newContext(b, cfg)
	client, got := clientAs(b, tls.VersionTLS13, is)
	s, c := connect(b, server, client, nil, nil)
	exchange(b, s, c)
	return server, client, s, got.last(b)
}

// BenchmarkLookup is what a lookup costs the server until libssl has an
// SSL_SESSION of its own: the Cache's call, and the decoding or duplicating.
func BenchmarkLookup(b *testing.B) {
	eachMemory(b, func(b *testing.B, cache *sessioncb.Cache, is []Certificate) {
		_, _, conn, _ := cached(b, cache, is)
		session := conn.Session()
		defer session.Close()
		id, ctx := session.ID(), context.Background()
		b.ReportAllocs()
		for b.Loop() {
			a, err := cache.GetSession(ctx, conn, id)
			if err != nil {
				b.Fatal(err)
			}
			private := privateCopy(a.Session())
			if der := a.Encoded(); der != nil {
				private, _, _ = cshim.ParseSession(der)
			}
			if private.IsZero() {
				b.Fatal("no session")
			}
			private.Free()
		}
	})
}

// BenchmarkResume is a resumption of TLS 1.3, both sides in one process.
func BenchmarkResume(b *testing.B) {
	eachMemory(b, func(b *testing.B, cache *sessioncb.Cache, is []Certificate) {
		server, client, _, offer := cached(b, cache, is)
		b.ReportAllocs()
		for b.Loop() {
			s, c := connect(b, server, client, &ClientOptions{Session: offer}, nil)
			if !c.ConnectionState().DidResume {
				b.Fatal("not resumed")
			}
			s.Close()
			c.Close()
		}
	})
}

// BenchmarkSessionMemory is how much the process grows for each session that is
// kept: as bytes; of a full handshake, with a certificate of its own; and of a
// resumption, which shares the certificate of the session that it came from.
func BenchmarkSessionMemory(b *testing.B) {
	const sessions = 20_000
	for _, kind := range []string{"bytes", "live-full", "live-resumed"} {
		for _, c := range memoryClients {
			b.Run(kind+"/"+c.name, func(b *testing.B) {
				_, _, conn, _ := cached(b, memoryCaches[1].open(b), c.is)
				origin := conn.Session()
				defer origin.Close()
				der := marshal(b, origin)
				bytes, err := memstore.New(memstore.Options{MaxBytes: 1 << 40, MaxEntries: 2 * sessions})
				if err != nil {
					b.Fatal(err)
				}
				live, err := livestore.New(livestore.Options{MaxSessions: 2 * sessions})
				if err != nil {
					b.Fatal(err)
				}
				defer live.Close()
				before := resident(b)
				for i := range sessions {
					key := sessioncb.Key{ID: fmt.Appendf(nil, "%032d", i)}
					switch kind {
					case "bytes":
						err = bytes.Put(b.Context(), key, append(der, make([]byte, 109)...), time.Hour) // sealed
					case "live-full":
						s, e := ParseSession(der)
						if err = e; err == nil {
							live.PutSession(key, s, time.Hour)
						}
					case "live-resumed":
						s, e := origin.Dup()
						if err = e; err == nil {
							live.PutSession(key, s, time.Hour)
						}
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(resident(b)-before)/sessions, "B/session")
				b.ReportMetric(0, "ns/op")
				if n := bytes.Len() + live.Len(); n != sessions {
					b.Fatalf("%d sessions", n)
				}
			})
		}
	}
}

// resident is how much memory the process has of the machine, in bytes.
func resident(b *testing.B) int64 {
	b.Helper()
	for range 3 {
		debug.FreeOSMemory()
	}
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
