package ssl

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// A row is one operation whose crossings are counted. The peer is a crypto/tls
// client, which makes none.
type crossingRow struct {
	name string
	// run does the operation once, and returns the crossings that it made and
	// those that it should make.
	run func(t testing.TB) (made, want int64)
}

// counted runs the handshake of a server and counts the crossings of its steps,
// and those steps that ended in a lookup. How often it waits for bytes is up to the network.
func counted(t testing.TB, server *Context, client *tls.Config) (made, steps, lookups int64, resumed bool) {
	t.Helper()
	a, b := sockets(t)
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	workers.starts() // the first time it makes a crossing
	twice := 0
	aroundSteps(s, func(step *toHandshake, tr cshim.IO) (wait bool, in, out int) {
		n := crossings(func() { wait, in, out = step.try(tr) })
		switch steps += n; n {
		case 1:
		case 2:
			twice++
		default:
			t.Errorf("a step made %d crossings", n)
		}
		if s.hs.Load().result.Status == cshim.WantLookup {
			lookups++
		}
		return wait, in, out
	})
	defer func() {
		// The ClientHello is read in place, and what comes then handed to the pool.
		if want := 1 - int(lookups); twice != want {
			t.Errorf("%d steps made two crossings, want %d", twice, want)
		}
	}()
	c := tls.Client(a, client)
	done := make(chan error, 1)
	go func() {
		err := c.Handshake()
		if err == nil {
			// Reads the ticket, and then the server's end.
			_, err = io.Copy(io.Discard, c)
		}
		done <- err
	}()
	made = crossings(func() { err = s.Handshake() })
	if err != nil {
		t.Fatal(err)
	}
	resumed = s.ConnectionState().DidResume
	s.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return made, steps, lookups, resumed
}

func crossingRows(version uint16) []crossingRow {
	client := func() *tls.Config {
		return &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	server := func(t testing.TB, cb sessioncb.Callbacks) *Context {
		cfg := serverConfig()
		cfg.SessionCallbacks = cb
		if cb.New != nil {
			cfg.SessionCacheMode = CacheExternal
		}
		if cb.New != nil || cb.Remove != nil {
			cfg.Tickets = TicketsStateful
			cfg.NumTickets = 1
		}
		return newContext(t, cfg)
	}
	rows := []crossingRow{
		{"full handshake: one a step", func(t testing.TB) (int64, int64) {
			made, steps, _, _ := counted(t, server(t, sessioncb.Callbacks{}), client())
			return made, steps
		}},
		{"full handshake, session stored: the encoding, and the held bytes with the release", func(t testing.TB) (int64, int64) {
			made, steps, _, _ := counted(t, server(t, newStore().callbacks()), client())
			return made, steps + 2
		}},
	}
	if version == tls.VersionTLS13 { // crypto/tls resumes no TLS 1.2 session id
		rows = append(rows, crossingRow{"resumption, parked: the lookup adds a step and no more", func(t testing.TB) (int64, int64) {
			st := newStore()
			ctx, c := server(t, st.callbacks()), client()
			counted(t, ctx, c)
			made, steps, lookups, resumed := counted(t, ctx, c)
			if !resumed || st.hits != 1 {
				t.Fatalf("resumed is %v after %d hits", resumed, st.hits)
			}
			if lookups != 1 {
				t.Errorf("%d steps ended in a lookup, want 1", lookups)
			}
			return made, steps + 2 // a resumption makes a session of its own
		}})
	}
	return append(rows,
		crossingRow{"RemoveSession: its removal adds none", func(t testing.TB) (int64, int64) {
			block := make(chan struct{})
			delivered := make(chan struct{}, 1)
			cb := sessioncb.Callbacks{Remove: sessioncb.RemoveHandlerFunc(func(context.Context, sessioncb.Session, sessioncb.Removal) {
				<-block
				delivered <- struct{}{}
			})}
			ctx := server(t, cb)
			s, _ := connectCryptoTLS(t, ctx, client())
			v := s.Session()
			defer v.Close()
			made := crossings(func() { ctx.RemoveSession(v) })
			close(block)
			select {
			case <-delivered:
			case <-time.After(10 * time.Second):
				t.Fatal("the removal was not delivered")
			}
			return made, 1
		}},
		crossingRow{"Close: close_notify and SSL_free", func(t testing.TB) (int64, int64) {
			s, _ := connectCryptoTLS(t, server(t, sessioncb.Callbacks{}), client())
			return crossings(func() { s.Close() }), 2
		}},
	)
}

func connectCryptoTLS(t testing.TB, server *Context, client *tls.Config) (*Conn, *tls.Conn) {
	t.Helper()
	a, b := sockets(t)
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(a, client)
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); c.Close() })
	return s, c
}

// The crossings that an operation may cost; more would be a loss of speed that
// no clock on a shared machine shows.
func TestCrossings(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, row := range crossingRows(version) {
			t.Run(row.name, func(t *testing.T) {
				made, want := row.run(t)
				t.Logf("%d crossings", made)
				if made != want {
					t.Errorf("%d crossings, want %d", made, want)
				}
			})
		}
	})
}

// BenchmarkCrossings prints the crossings of each operation.
func BenchmarkCrossings(b *testing.B) {
	for _, version := range versions {
		for _, row := range crossingRows(version) {
			b.Run(fmt.Sprintf("%s/%s", tls.VersionName(version)[4:], row.name), func(b *testing.B) {
				var made int64
				for range b.N {
					n, _ := row.run(b)
					made += n
				}
				b.ReportMetric(float64(made)/float64(b.N), "crossings/op")
			})
		}
	}
}

// An opCost is what one operation cost in its process.
type opCost struct{ Allocs, Crossings int64 }

// cost makes an operation, with room for what it needs, and returns what it cost.
func cost(before, after *runtime.MemStats, f func()) opCost {
	runtime.ReadMemStats(before)
	crossed := runtime.NumCgoCall()
	f()
	crossed = runtime.NumCgoCall() - crossed
	runtime.ReadMemStats(after)
	return opCost{int64(after.Mallocs - before.Mallocs), crossed}
}
