package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
)

// fleetWindow is how many visits the share after the kill is of, if there are
// as many visits at all.
const fleetWindow = 200

// recovered is the share that counts as well again, in percent.
const recoveredAbove = 95

// killAndVisit kills a Redis master and a server while the clients visit, and
// waits until the others resume as before.
func (f *fleet) killAndVisit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.recovery+3*time.Minute)
	defer cancel()
	to := &targets{nodes: f.servers}
	r := newRecovery(min(fleetWindow, f.visits))
	var enough atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		visitEach(ctx, f.visitors, to, func(int) bool { return !enough.Load() }, func(n *node, v visit) {
			if to.has(n) { // what became of visits to the killed one says nothing
				r.add(v)
			}
		})
	}()
	defer func() { enough.Store(true); <-done }()

	// The kill is to hit visits that are on their way.
	if err := r.await(ctx, func() bool { return r.visited(r.size / 4) }); err != nil {
		return fmt.Errorf("visits before the kill: %w", err)
	}
	key := fmt.Sprint(rand.Uint64()) // any: the master that has it is the one to go
	master, _, err := f.cluster.Owner(key)
	if err != nil {
		return err
	}
	victim := f.servers[rand.IntN(len(f.servers))]
	to.remove(victim)
	r.begin()
	var kills sync.WaitGroup
	kills.Go(func() { err = master.Kill() })
	kills.Go(func() { victim.kill() })
	kills.Wait()
	if err != nil {
		return err
	}
	f.table.judged(fmt.Sprintf("%s killed", victim), "-", "signal: killed", victim.cmd.ProcessState.String(), victim.killed())
	refuses := "refuses connections"
	if c, err := net.DialTimeout("tcp", master.Addr(), time.Second); err == nil {
		c.Close()
		refuses = "accepts connections"
	}
	f.table.line("a Redis master killed", "-", "refuses connections", refuses)

	within, cancel := context.WithDeadline(ctx, r.killed.Add(f.recovery))
	defer cancel()
	f.awaitTakeover(within, r, key, master)
	err = r.await(within, r.recovered)
	enough.Store(true)
	<-done
	r.print(f.table, f.recovery)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_ = err // the table says it: within is over
	return nil
}

// awaitTakeover waits until another server has the slots of the master.
func (f *fleet) awaitTakeover(ctx context.Context, r *recovery, key string, killed *testserver.Server) {
	expected := "within " + f.recovery.String()
	seen := "not yet"
	for ctx.Err() == nil {
		if master, _, err := f.cluster.Owner(key); err == nil && master != killed {
			after := r.takeover()
			seen = fmt.Sprintf("after %.1f s", after.Seconds())
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	f.table.judged("a replica takes over", "-", expected, seen, seen != "not yet")
}

// recovery follows the visits around the kill. It is used concurrently.
type recovery struct {
	size   int       // of a window
	killed time.Time // set once, by begin

	mu       sync.Mutex
	tookOver bool
	windows  []*window
	progress chan struct{} // closed with the next visit
}

// window is the last visits of one version, of those that began after the kill.
type window struct {
	seen             // before the kill too
	last      []bool // a ring
	next      int
	good      int // of last
	lowest    float64
	recovered time.Duration // since the kill; 0: not yet
}

func newRecovery(size int) *recovery {
	r := &recovery{size: size, progress: make(chan struct{})}
	for _, version := range fleetVersions {
		r.windows = append(r.windows, &window{seen: seen{version: version}, lowest: 1})
	}
	return r
}

func (r *recovery) add(v visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.windows {
		if w.version != v.version {
			continue
		}
		w.add(v)
		if !r.killed.IsZero() && v.began.After(r.killed) {
			r.slide(w, v.resumed)
		}
	}
	close(r.progress)
	r.progress = make(chan struct{})
}

// slide takes one more visit into w.
func (r *recovery) slide(w *window, resumed bool) {
	if len(w.last) < r.size {
		w.last = append(w.last, resumed)
	} else {
		if w.last[w.next] {
			w.good--
		}
		w.last[w.next] = resumed
		w.next = (w.next + 1) % r.size
	}
	if resumed {
		w.good++
	}
	if len(w.last) < r.size {
		return
	}
	share := float64(w.good) / float64(r.size)
	w.lowest = min(w.lowest, share)
	if r.tookOver && w.recovered == 0 && 100*share > recoveredAbove {
		w.recovered = time.Since(r.killed)
	}
}

// begin notes the time of the kill.
func (r *recovery) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killed = time.Now()
}

// takeover notes that a replica is a master now, and returns how long it took.
// A window that is good before it says nothing: the cluster may not have
// missed its master yet.
func (r *recovery) takeover() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tookOver = true
	return time.Since(r.killed)
}

// visited says whether each version has made n visits. r.mu is held.
func (r *recovery) visited(n int) bool {
	for _, w := range r.windows {
		if w.visits < n {
			return false
		}
	}
	return true
}

// recovered says whether each version is well again. r.mu is held.
func (r *recovery) recovered() bool {
	for _, w := range r.windows {
		if w.recovered == 0 {
			return false
		}
	}
	return true
}

// await waits until a visit makes it true.
func (r *recovery) await(ctx context.Context, condition func() bool) error {
	for {
		r.mu.Lock()
		met, progress := condition(), r.progress
		r.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *recovery) print(t *fleetTable, limit time.Duration) {
	var all []*seen
	for _, w := range r.windows {
		all = append(all, &w.seen)
		text := "not yet"
		if w.recovered > 0 {
			text = fmt.Sprintf("after %.1f s, lowest %.1f %%", w.recovered.Seconds(), 100*w.lowest)
		}
		t.judged(fmt.Sprintf("above %d %% again, %d visits", recoveredAbove, r.size), tls.VersionName(w.version),
			"within "+limit.String(), text, w.recovered > 0 && w.recovered <= limit)
	}
	t.witnesses("around the kill", all)
}
