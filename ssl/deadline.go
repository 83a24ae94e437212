package ssl

import (
	"sync"
	"sync/atomic"
	"time"
)

// deadline is a moment that can be moved while others wait for it; the one of
// net.Pipe. The zero value never comes.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	past  chan struct{} // closed when the moment has come
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past == nil {
		d.past = make(chan struct{})
	}
	if d.timer != nil && !d.timer.Stop() {
		<-d.past // the timer's function is running, or ran
	}
	d.timer = nil
	closed := false
	select {
	case <-d.past:
		closed = true
	default:
	}
	if t.IsZero() {
		if closed {
			d.past = make(chan struct{})
		}
		return
	}
	if wait := time.Until(t); wait > 0 {
		if closed {
			d.past = make(chan struct{})
		}
		past := d.past
		d.timer = time.AfterFunc(wait, func() { close(past) })
		return
	}
	if !closed {
		close(d.past)
	}
}

// wait returns a channel that is closed when the moment has come.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past == nil {
		d.past = make(chan struct{})
	}
	return d.past
}

// A signal is a channel that is closed once, and made when somebody waits for it.
type signal struct{ made atomic.Pointer[chan struct{}] }

// given is what signals have that were given.
var given = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// give is called once.
func (s *signal) give() {
	if c := s.made.Swap(given); c != nil {
		close(*c)
	}
}

// wait returns a channel that is closed when the signal is given.
func (s *signal) wait() <-chan struct{} {
	if s.made.Load() == nil {
		c := make(chan struct{})
		s.made.CompareAndSwap(nil, &c)
	}
	return *s.made.Load()
}
