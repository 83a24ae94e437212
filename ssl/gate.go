package ssl

import (
	"runtime"
	"sync"
)

// gate bounds how many handshake steps are inside C at once, to GOMAXPROCS. A
// C call of more than some 20 us makes the runtime hand its processor to
// another thread; without the gate a busy server grows 30 to 40 threads and
// doubles its p99.
type gate struct {
	mu      sync.Mutex
	each    int // slots a processor; 0: one
	inside  int
	waiting []chan struct{} // first come, first served
}

// steps is the gate of this process.
var steps gate

// queued bounds the steps in the hands of the pool: others wait where they can be ended.
var queued = gate{each: 8}

func (g *gate) most() int { return max(g.each, 1) * runtime.GOMAXPROCS(0) }

// try takes a slot if one is free.
func (g *gate) try() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= g.most() {
		return false
	}
	g.inside++
	return true
}

// enter waits for a slot. It must not be called inside a poll function.
func (g *gate) enter() {
	g.mu.Lock()
	if g.inside < g.most() {
		g.inside++
		g.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()
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

// leave gives the slot to who waits longest, or back.
func (g *gate) leave() {
	g.mu.Lock()
	if len(g.waiting) > 0 && g.inside <= g.most() {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	} else {
		g.inside--
	}
	g.mu.Unlock()
}
