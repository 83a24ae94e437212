package ssl

import (
	"sync"
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
