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
	closed  atomic.Bool // the descriptor is
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
	news     atomic.Uint32
	asleep   atomic.Bool    // who waits is counted in sleep
	sleep    sync.WaitGroup // smaller than a channel, and each connection has one
	deadline atomic.Int64   // of sinceStart; 0: none
	mu       sync.Mutex     // of timer
	timer    *time.Timer
}

// The bits of news.
const (
	isReady  = 1 << iota
	hasEnded // for good: no more is told
)

func (h *half) tell(ended bool) {
	bits := uint32(isReady)
	if ended {
		bits |= hasEnded
	}
	if h.news.Or(bits)&isReady == 0 || ended {
		h.wake()
	}
}

// take says whether there is something to look at. What comes after it is told again.
func (h *half) take() bool { return h.news.And(^uint32(isReady)) != 0 }

// wake has who waits look again. Who does not wait yet looks at all there is first.
func (h *half) wake() {
	if h.asleep.CompareAndSwap(true, false) {
		h.sleep.Done()
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
	for {
		h.sleep.Add(1)
		h.asleep.Store(true) // what comes from here on ends the sleep
		over, err := h.news.Load() != 0, error(nil)
		if !over {
			err = stop()
			over = err != nil
		}
		if over || polls.lead(h) {
			h.wake()
		}
		h.sleep.Wait()
		if over {
			return err
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
