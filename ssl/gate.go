package ssl

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// gate bounds how many handshake steps are inside C at once, to GOMAXPROCS. A
// C call of more than some 20 us makes the runtime hand its processor to
// another thread; without the gate a busy server grows 30 to 40 threads and
// doubles its p99.
type gate struct {
	each   int32 // slots a processor; 0: one
	inside atomic.Int32

	waiters atomic.Int32 // len(waiting), for those without mu
	mu      sync.Mutex
	waiting []chan struct{} // first come, first served
}

// steps is the gate of this process.
var steps gate

// queued bounds the steps in the hands of the pool: others wait where they can be ended.
var queued = gate{each: 8}

// try takes a slot if one is free and nobody waits for it.
func (g *gate) try() bool { return g.waiters.Load() == 0 && g.take() }

func (g *gate) take() bool {
	for {
		n := g.inside.Load()
		// GOMAXPROCS may change, and asking takes a lock of the runtime's.
		if n > 0 && n >= max(g.each, 1)*int32(runtime.GOMAXPROCS(0)) {
			return false
		}
		if g.inside.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// enter waits for a slot. It must not be called inside a poll function.
func (g *gate) enter() {
	if g.try() {
		return
	}
	turn := make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, turn)
	g.waiters.Add(1)
	g.mu.Unlock()
	g.handOut() // a slot may have been given back before it was known who waits
	<-turn
}

// through calls f with a slot, for the other calls of some length: SSL_new,
// SSL_free, and reading the state of a connection.
func (g *gate) through(gated bool, f func()) {
	if gated {
		g.enter()
		defer g.leave()
	}
	f()
}

// leave gives the slot back, to who waits longest.
func (g *gate) leave() {
	g.inside.Add(-1)
	if g.waiters.Load() > 0 {
		g.handOut()
	}
}

// handOut gives free slots to those who wait.
func (g *gate) handOut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 && g.take() {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
		g.waiters.Add(-1)
	}
}
