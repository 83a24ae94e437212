package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

func (g *gate) state() (inside, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.inside.Load()), len(g.waiting)
}

// gateIsFree fails the test unless all slots of the process's gate come free,
// and nobody waits. Then it frees them, so that the other tests run.
func gateIsFree(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(patience / 3); ; time.Sleep(time.Millisecond) {
		inside, waiting := steps.state()
		if inside == 0 && waiting == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("the gate has %d inside and %d waiting, want none", inside, waiting)
			for range inside {
				steps.leave()
			}
			return
		}
	}
}

// waiters returns when exactly n wait at the gate.
func waiters(t testing.TB, g *gate, n int) {
	t.Helper()
	eventually(t, "the queue of the gate", func() bool { _, waiting := g.state(); return waiting == n })
}

// fill takes all slots, as a process does that is busy, and returns what
// gives them back.
func (g *gate) fill() (free func()) {
	n := runtime.GOMAXPROCS(0)
	for range n {
		g.enter()
	}
	return sync.OnceFunc(func() {
		for range n {
			g.leave()
		}
	})
}

// At most GOMAXPROCS are inside, and as many as that.
func TestGateBound(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(procs)
		var g gate
		const callers = 40
		entered, goOn := make(chan struct{}, callers), make(chan struct{})
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				g.through(true, func() {
					entered <- struct{}{}
					<-goOn
				})
			})
		}
		waiters(t, &g, callers-procs)
		if inside, _ := g.state(); inside != procs || len(entered) != procs {
			t.Errorf("%d are inside, by its own account %d, want %d", len(entered), inside, procs)
		}
		if g.try() {
			t.Errorf("try found a free slot with %d inside of %d", procs, procs)
		}
		g.through(false, func() {}) // not gated: does not wait
		for done := 1; done <= callers; done++ {
			goOn <- struct{}{} // one goes, one comes
			eventually(t, "the next is inside", func() bool { return len(entered) == min(procs+done, callers) })
			if inside, _ := g.state(); inside > procs {
				t.Errorf("%d are inside, want at most %d", inside, procs)
			}
		}
		wg.Wait()
		if inside, waiting := g.state(); inside != 0 || waiting != 0 {
			t.Errorf("afterwards %d are inside and %d wait", inside, waiting)
		}
		if !g.try() {
			t.Error("try found no slot in an empty gate")
		}
	}
}

// The queue is served in its order.
func TestGateOrder(t *testing.T) {
	var g gate
	free := g.fill()
	const callers = 20
	order := make(chan int, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { g.enter(); order <- i })
		waiters(t, &g, i+1)
	}
	var got []int
	for i := range callers {
		g.leave()
		got = append(got, <-order)
		if _, waiting := g.state(); waiting != callers-1-i {
			t.Errorf("a slot was given back, and %d wait, want %d", waiting, callers-1-i)
		}
	}
	wg.Wait()
	if !slices.IsSorted(got) {
		t.Errorf("served in the order %v", got)
	}
	free()
	if inside, waiting := g.state(); inside != 0 || waiting != 0 {
		t.Errorf("afterwards %d are inside and %d wait", inside, waiting)
	}
}

// A handshake whose end comes while it waits at the gate leaves no slot behind.
func TestGateSlotGivenBack(t *testing.T) {
	closed := func(s *Conn) bool { return errors.Is(s.NetConn().SetReadDeadline(time.Time{}), net.ErrClosed) }
	for _, row := range []struct {
		name string
		end  func(t *testing.T, s *Conn, cancel func()) // returns once it has come
		want error
	}{
		{"deadline", func(t *testing.T, s *Conn, _ func()) {
			s.SetReadDeadline(time.Now().Add(-time.Second))
		}, nil},
		{"cancelled", func(t *testing.T, s *Conn, cancel func()) {
			cancel()
			eventually(t, "the transport is closed", func() bool { return closed(s) })
		}, context.Canceled},
		{"handshake timeout", func(t *testing.T, s *Conn, cancel func()) {
			eventually(t, "the transport is closed", func() bool { return closed(s) })
		}, context.DeadlineExceeded},
		{"Close", func(t *testing.T, s *Conn, _ func()) {
			go s.Close()
			waiters(t, &steps, 2) // it waits for SSL_free, with the transport closed
		}, net.ErrClosed},
		{"Abort", func(t *testing.T, s *Conn, _ func()) {
			go s.Abort()
			waiters(t, &steps, 2)
		}, net.ErrClosed},
	} {
		for _, tr := range transports {
			t.Run(row.name+"/"+tr.name, func(t *testing.T) {
				balanced(t)
				gateIsFree(t)
				client, _ := newClient(t, tls.VersionTLS13)
				cfg := serverConfig()
				cfg.HandshakeTimeout = time.Minute
				if row.want == context.DeadlineExceeded {
					cfg.HandshakeTimeout = 20 * time.Millisecond
				}
				s, c := pair(t, newContext(t, cfg), client, nil, tr.wrap)
				free := steps.fill()
				defer free()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				done := make(chan error, 1)
				if row.want == context.DeadlineExceeded {
					go func() { done <- s.Handshake() }()
				} else {
					go func() { done <- s.HandshakeContext(ctx) }()
					waiters(t, &steps, 1)
				}
				row.end(t, s, cancel)
				free()
				err := <-done
				if row.want == nil {
					if !isTimeout(err) {
						t.Errorf("Handshake: %v, want a timeout", err)
					}
				} else if !errors.Is(err, row.want) {
					t.Errorf("Handshake: %v, want %v", err, row.want)
				}
				gateIsFree(t)
				s.Close()
				c.Close()
				gateIsFree(t)
			})
		}
	}
}

// A context whose private key is slow passes a gate that is full, from SSL_new
// to SSL_free; another waits.
func TestGateSlowPrivateKey(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		balanced(t)
		scfg, ccfg := serverConfig(), clientConfig()
		scfg.SlowPrivateKey, ccfg.SlowPrivateKey = true, true
		ccfg.MinVersion, ccfg.MaxVersion = version, version
		server, client := newContext(t, scfg), newContext(t, ccfg)
		gated := newContext(t, serverConfig())
		waiting, theirs := pair(t, gated, client, nil, wrap)
		gateIsFree(t)
		free := steps.fill()
		defer free()
		defer time.AfterFunc(patience/3, free).Stop() // what waits for the gate ends, and is seen below
		s, c := connect(t, server, client, nil, wrap)
		exchange(t, s, c)
		if !s.ConnectionState().HandshakeComplete || !c.ConnectionState().HandshakeComplete {
			t.Error("the handshake is not complete")
		}
		s.Close()
		c.Close()
		if inside, queued := steps.state(); inside != runtime.GOMAXPROCS(0) || queued != 0 {
			t.Fatalf("%d inside, %d wait: the gate was not passed by", inside, queued)
		}
		done := make(chan error, 2)
		go func() { done <- waiting.Handshake() }()
		go func() { done <- theirs.Handshake() }()
		waiters(t, &steps, 1)
		free()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		gateIsFree(t)
		waiting.Close()
		theirs.Close()
		gateIsFree(t)
	})
}

// The handshakes of a busy process, with ends of every kind among them, leave
// a gate that is free.
func TestGateAfterALoad(t *testing.T) {
	balanced(t)
	server := newContext(t, serverConfig())
	client, _ := newClient(t, tls.VersionTLS13)
	ends := []struct {
		name string
		end  func(s, c *Conn)
	}{
		{"none", nil},
		{"Close", func(s, _ *Conn) { s.Close() }},
		{"deadline", func(s, _ *Conn) { s.SetDeadline(time.Now().Add(-time.Second)) }},
		{"the peer goes", func(_, c *Conn) { c.NetConn().Close() }},
	}
	var conns [8][12]struct{ s, c *Conn }
	for i := range conns {
		for j := range conns[i] {
			conns[i][j].s, conns[i][j].c = pair(t, server, client, nil, transports[j%2].wrap)
		}
	}
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j, conn := range conns[i] {
				e := ends[(i+j)%len(ends)]
				if e.end != nil {
					time.AfterFunc(time.Duration(j)*200*time.Microsecond, func() { e.end(conn.s, conn.c) })
				}
				done := make(chan error, 1)
				go func() {
					err := conn.s.Handshake()
					if err != nil {
						conn.s.Close() // else the client waits for it
					}
					done <- err
				}()
				cerr := conn.c.Handshake()
				conn.c.Close()
				if serr := <-done; e.end == nil && (serr != nil || cerr != nil) {
					t.Errorf("nothing was in the way: %v, %v", serr, cerr)
				}
				conn.s.Close()
			}
		})
	}
	wg.Wait()
	gateIsFree(t)
}

// A GOMAXPROCS that falls is known at once.
func TestGateFalls(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(5))
	var g gate
	g.enter()
	runtime.GOMAXPROCS(2)
	if !g.try() || g.try() {
		t.Errorf("%d are inside with 2 processors, want 2", g.inside.Load())
	}
}
