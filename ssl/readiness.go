package ssl

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// readiness is what is known of a socket, or another descriptor.
type readiness struct {
	in, out half
	shared  atomic.Bool // others may have a descriptor of it too
}

func (r *readiness) told(events uint32) {
	// EPOLLERR alone may be news of a socket that lives on.
	if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		r.in.tell(events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP) != 0)
	}
	if events&(syscall.EPOLLOUT|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		r.out.tell(events&syscall.EPOLLHUP != 0)
	}
}

// A half is one direction.
type half struct {
	using    sync.Mutex // of who tries and waits; the others below are for anybody
	ready    atomic.Bool
	ended    atomic.Bool   // for good: no more is told
	turn     chan struct{} // has a token when there is something to look at; made by the first who waits
	waited   atomic.Bool   // it is there
	deadline atomic.Int64  // of sinceStart; 0: none
	mu       sync.Mutex    // of timer
	timer    *time.Timer
}

func (h *half) tell(ended bool) {
	if ended {
		h.ended.Store(true)
	}
	if !h.ready.Swap(true) || ended {
		h.wake()
	}
}

func (h *half) wake() {
	if !h.waited.Load() {
		return // who waits looks at all there is first
	}
	select {
	case h.turn <- struct{}{}:
	default:
	}
}

var processStart = time.Now()

// sinceStart is the monotonic clock.
func sinceStart() int64 { return int64(time.Since(processStart)) }

func (h *half) setDeadline(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.IsZero() {
		h.deadline.Store(0)
		if h.timer != nil {
			h.timer.Stop()
		}
		return
	}
	left := time.Until(t)
	at := max(sinceStart()+int64(left), 1)
	if left > 0 && at == 1 {
		at = math.MaxInt64 // centuries
	}
	h.deadline.Store(at)
	switch {
	case left <= 0:
		h.wake()
	case h.timer == nil:
		h.timer = time.AfterFunc(left, h.wake)
	default:
		h.timer.Reset(left)
	}
}

// wait returns when there is something to try, or an error of stop's. One at a time
// may call it.
func (h *half) wait(stop func() error) error {
	if h.turn == nil {
		h.turn = make(chan struct{}, 1)
		h.waited.Store(true)
	}
	for {
		// What the token of an earlier wait, or of a leader who told himself, stands
		// for is looked at here.
		select {
		case <-h.turn:
		default:
		}
		if h.ready.Load() || h.ended.Load() {
			return nil
		}
		if err := stop(); err != nil {
			return err
		}
		if !polls.lead(h) {
			<-h.turn
		}
	}
}

func (h *half) late() bool {
	d := h.deadline.Load()
	return d != 0 && sinceStart() >= d
}

func (h *half) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	h.wake()
}
