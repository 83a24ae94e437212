package ssl

import (
	"net"
	"sync"
	"time"
)

// timeouts are the handshakes of a Context that run. All have the same time, so the
// oldest ends first, and one timer does for all: nearly all end before it looks.
type timeouts struct {
	each        time.Duration
	mu          sync.Mutex
	first, last *timeout // the oldest first
	timer       *time.Timer
	set         bool // the timer is
}

// A timeout closes a transport when its time is over.
type timeout struct {
	prev, next *timeout
	conn       net.Conn // nil: it is in no list
	end        time.Time
}

func (l *timeouts) start(t *timeout, conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.conn, t.end = conn, time.Now().Add(l.each)
	t.prev, t.next = l.last, nil
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
	if !l.set {
		l.wait(l.each)
	}
}

// wait sets the timer; mu is held.
func (l *timeouts) wait(d time.Duration) {
	l.set = true
	if l.timer == nil {
		l.timer = time.AfterFunc(d, l.look)
	} else {
		l.timer.Reset(d)
	}
}

// stop says whether the time was not over.
func (l *timeouts) stop(t *timeout) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take(t)
}

// take takes t out of the list, if it is there; mu is held.
func (l *timeouts) take(t *timeout) bool {
	if t.conn == nil {
		return false
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.conn, t.prev, t.next = nil, nil, nil
	return true
}

// look ends what is late, and waits for the next one.
func (l *timeouts) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = false
	for l.first != nil {
		if left := time.Until(l.first.end); left > 0 {
			l.wait(left)
			return
		}
		late := l.first.conn
		l.take(l.first)
		go late.Close() // which may wait
	}
}
