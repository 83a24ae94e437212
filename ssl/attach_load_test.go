package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// threads returns how many threads this process has.
func threads(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc:", err)
	}
	for line := range bytes.Lines(status) {
		if n, ok := bytes.CutPrefix(line, []byte("Threads:")); ok {
			count, err := strconv.Atoi(string(bytes.TrimSpace(n)))
			if err != nil {
				t.Fatal(err)
			}
			return count
		}
	}
	t.Fatal("/proc/self/status has no Threads")
	return 0
}

// gauge knows how many are inside, and the most that were.
type gauge struct {
	mu        sync.Mutex
	now, most int
}

func (g *gauge) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now++
	g.most = max(g.most, g.now)
}

func (g *gauge) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now--
}

// 500 clients at once, a Get handler of 200 ms: no more than MaxHandlers run,
// the others are misses, no handshake fails, and the handlers add no threads to
// those of the C program.
func TestAttachMaxHandlers(t *testing.T) {
	const clients, limit, slack = 500, 20, 32
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.NoInternal, Tickets: 1, Threads: clients})
		k := newKeeper(t)
		var g gauge
		a := h.attach(sessioncb.Callbacks{
			New: k,
			Get: sessioncb.GetHandlerFunc(func(_ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
				g.enter()
				defer g.leave()
				time.Sleep(200 * time.Millisecond)
				return sessioncb.Live(k.session(t, id)), nil
			}),
		}, &AttachOptions{MaxHandlers: limit})
		h.start()
		client, got := newClient(t, version)
		h.finish(h.connect(client, nil))
		before := threads(t)
		kept := a.HandlerStats()
		offer := got.last(t)

		var resumed atomic.Int64
		var most int
		stop := make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for {
				most = max(most, threads(t))
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		var wg sync.WaitGroup
		for range clients {
			wg.Add(1)
			go func() {
				defer wg.Done()
				c, err := h.tryConnect(client, offer)
				if err != nil {
					t.Errorf("%v; the C server says %q", err, h.LastError())
					return
				}
				if c.ConnectionState().DidResume {
					resumed.Add(1)
				}
				c.Close()
			}()
		}
		wg.Wait()
		close(stop)
		<-watched
		h.ends(clients + 1)

		stats, counts := a.HandlerStats(), h.Counts()
		t.Logf("handlers at once %d, resumed %d, turned away %d, threads %d before and at most %d",
			g.most, resumed.Load(), stats.TurnedAway, before, most)
		if g.most > limit {
			t.Errorf("%d Get handlers at once, the limit is %d", g.most, limit)
		}
		if stats.TurnedAway == kept.TurnedAway {
			t.Error("no call was turned away: the limit was not reached")
		}
		if counts.Accepted != clients+1 || counts.Failed != 0 {
			t.Errorf("the C server: %+v, %q", counts, h.LastError())
		}
		if n := resumed.Load(); n == 0 || uint64(n) != counts.Resumed {
			t.Errorf("%d clients resumed, the C server says %d", n, counts.Resumed)
		}
		if most > before+limit+slack {
			t.Errorf("%d threads, %d before: more than %d were added", most, before, limit+slack)
		}
	})
}

// echoServer is a TLS server of this package that a handler can dial.
func echoServer(t testing.TB, version uint16) string {
	t.Helper()
	cfg := serverConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	l, err := Listen("tcp", "127.0.0.1:0", newContext(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				c.SetDeadline(time.Now().Add(2 * patience))
				b := make([]byte, 1)
				if _, err := c.Read(b); err == nil {
					c.Write(b)
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// A Get handler that dials through this package, 50 at once on one or two
// processors: the dial needs the processors and the gate that the C threads,
// which wait for it, may not hold.
func TestAttachGetHandlerDials(t *testing.T) {
	const clients = 50
	for _, procs := range []int{1, 2} {
		t.Run(fmt.Sprintf("GOMAXPROCS %d", procs), func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				balanced(t)
				addr := echoServer(t, version)
				out, _ := newClient(t, version)
				var g gauge
				k := newKeeper(t)
				h := newHost(t, chost.Options{
					Version: version, CacheMode: chost.NoLookup, Tickets: 1, Threads: clients,
				})
				a := h.attach(sessioncb.Callbacks{
					New: k,
					Get: sessioncb.GetHandlerFunc(func(ctx context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
						g.enter()
						defer g.leave()
						c, err := DialContext(ctx, "tcp", addr, out, &ClientOptions{ServerName: "localhost"})
						if err != nil {
							return sessioncb.Answer{}, err
						}
						defer c.Close()
						c.SetDeadline(time.Now().Add(2 * patience))
						if err := tell(c, 'x'); err != nil {
							return sessioncb.Answer{}, err
						}
						return sessioncb.Live(k.session(t, id)), nil
					}),
				}, &AttachOptions{LookupTimeout: 2 * patience, MaxHandlers: clients})
				h.start()
				client, got := newClient(t, version)
				h.finish(h.connect(client, nil))
				offer := got.last(t)

				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				done := make(chan struct{})
				var resumed atomic.Int64
				go func() {
					defer close(done)
					var wg sync.WaitGroup
					for range clients {
						wg.Add(1)
						go func() {
							defer wg.Done()
							c, err := h.tryConnect(client, offer)
							if err != nil {
								t.Errorf("%v; the C server says %q", err, h.LastError())
								return
							}
							if c.ConnectionState().DidResume {
								resumed.Add(1)
							}
							c.Close()
						}()
					}
					wg.Wait()
				}()
				select {
				case <-done:
				case <-time.After(4 * patience): // a watchdog, no measure of speed
					buf := make([]byte, 1<<20)
					t.Fatalf("deadlock:\n%s", buf[:runtime.Stack(buf, true)])
				}
				t.Logf("%d handlers at once", g.most)
				if n := resumed.Load(); n != clients {
					t.Errorf("%d of %d resumed: %+v", n, clients, a.HandlerStats())
				}
			})
		})
	}
}

// crypto/tls clients of the C server resume through the attached handlers too.
func TestAttachCryptoTLSClient(t *testing.T) {
	balanced(t)
	h := newHost(t, chost.Options{Version: tls.VersionTLS13, CacheMode: chost.NoInternal, Tickets: 1})
	k := newKeeper(t)
	h.attach(sessioncb.Callbacks{New: k, Get: k}, nil)
	k.play(getCase{answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
		return sessioncb.DER(marshal(t, k.session(t, id))), nil
	}})
	h.start()
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 3 {
		nc, err := h.Dial()
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(nc, cfg)
		if err := tell(c, 'x'); err != nil {
			t.Fatal(err)
		}
		if c.ConnectionState().DidResume != (i > 0) {
			t.Errorf("visit %d: resumed is %v", i, c.ConnectionState().DidResume)
		}
		c.Close()
	}
	if n := k.lookups(); n != 2 {
		t.Errorf("%d lookups, want 2", n)
	}
}
