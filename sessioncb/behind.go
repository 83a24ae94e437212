package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxWriters is how many queued writes are made at once.
const maxWriters = 16

// What becomes of a queued write that is not made.
var (
	errOvertaken = errors.New("sessioncb: overtaken by a later write or the removal of the session")
	errDropped   = errors.New("sessioncb: the queue of writes was given up")
)

// A write is a Put or, without a value, a Delete.
type write struct {
	key     Key
	value   []byte // the queue's own, and cleared when it leaves
	expires time.Time
	putting *putting      // of a Put
	gone    func() bool   // of a Put that is queued: the session was removed
	queued  bool          // a removal of its id waits until it was made
	done    []func(error) // told what became of it, once each
}

func (w *write) end(err error) {
	for _, done := range w.done {
		done(err)
	}
}

// behind queues writes and makes them behind the handshakes' back. What is
// queued for an id is what lookups of this process see of it.
//
// The writes of one id are made in order and one at a time, and one that
// waits is overtaken by the next: at most the last of them is made. Those of
// different ids are made at once, by up to writers goroutines, which live
// while there is work: a queue needs no Close.
type behind struct {
	room    int
	writers int
	make    func(*write) error // makes a write and waits for it; it must end
	now     func() time.Time

	mu      sync.Mutex
	ids     map[string]*queued
	waiting []*queued     // whose turn it is next; each once, none that is being written
	working int           // goroutines
	idle    chan struct{} // closed when working becomes 0; nil then
	closed  bool
}

// queued is the state of one id: a write that is being made, one that waits,
// or both.
type queued struct {
	writing, next *write
}

func newBehind(room, writers int, make func(*write) error, now func() time.Time) *behind {
	return &behind{room: room, writers: writers, make: make, now: now, ids: map[string]*queued{}}
}

// Why add does not queue a write, which is then still the caller's.
var (
	errQueueFull   = errors.New("sessioncb: the queue of writes is full")
	errQueueClosed = errors.New("sessioncb: the queue of writes is closed")
)

// add queues w, or says why not: errQueueFull, errQueueClosed, or errOvertaken
// if the session was removed before. A write of an id that has one queued needs
// no room.
func (b *behind) add(w *write) error {
	b.mu.Lock()
	if w.gone != nil && w.gone() { // whoever removes says so first, and queues then
		b.mu.Unlock()
		return errOvertaken
	}
	id := string(w.key.ID)
	q := b.ids[id]
	var overtaken *write
	switch {
	case q == nil && b.closed:
		b.mu.Unlock()
		return errQueueClosed
	case q == nil && len(b.waiting) >= b.room:
		b.mu.Unlock()
		return errQueueFull
	case q == nil:
		q = &queued{next: w}
		b.ids[id] = q
		b.wait(q)
	case q.next == nil: // being written: this one is next
		q.next = w
	case q.next.value == nil && w.value == nil: // one Delete is as good as two
		q.next.done = append(q.next.done, w.done...)
	default:
		overtaken, q.next = q.next, w
	}
	b.mu.Unlock()
	if overtaken != nil {
		clear(overtaken.value) // no reader has it: they copy under the lock
		overtaken.end(errOvertaken)
	}
	return nil
}

// wait appends q to those that wait, and sees to it that somebody works.
func (b *behind) wait(q *queued) {
	b.waiting = append(b.waiting, q)
	if b.working >= b.writers {
		return
	}
	if b.working == 0 {
		b.idle = make(chan struct{})
	}
	b.working++
	go b.work()
}

// work makes writes until none waits.
func (b *behind) work() {
	b.mu.Lock()
	for len(b.waiting) > 0 {
		q := b.waiting[0]
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
		w := q.next
		q.writing, q.next = w, nil
		b.mu.Unlock()
		_, err := contain(func() (struct{}, error) { return struct{}{}, b.make(w) })
		b.mu.Lock()
		q.writing = nil
		clear(w.value)
		if q.next != nil {
			b.waiting = append(b.waiting, q)
		} else {
			delete(b.ids, string(w.key.ID))
		}
		b.mu.Unlock()
		contain(func() (struct{}, error) { w.end(err); return struct{}{}, nil })
		b.mu.Lock()
	}
	if b.working--; b.working == 0 {
		close(b.idle)
		b.idle, b.waiting = nil, nil
	}
	b.mu.Unlock()
}

// get returns what lookups see: a value, their own copy; or that the session
// is removed; or, known false, nothing.
func (b *behind) get(key Key) (value []byte, known bool) {
	if b == nil {
		return nil, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.ids[string(key.ID)]
	if q == nil {
		return nil, false
	}
	w := q.next
	if w == nil {
		w = q.writing
	}
	if w.value != nil && !b.now().Before(w.expires) {
		return nil, true
	}
	return bytes.Clone(w.value), true
}

// close waits until all is written, or gives the rest up when ctx ends. From
// now on no other id is queued.
func (b *behind) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	idle := b.idle
	b.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	var dropped []*write
	b.mu.Lock()
	writing := 0
	for id, q := range b.ids {
		if q.next != nil {
			dropped = append(dropped, q.next)
			q.next = nil
		}
		if q.writing != nil {
			writing++
		} else {
			delete(b.ids, id)
		}
	}
	b.waiting = nil
	b.mu.Unlock()
	for _, w := range dropped {
		clear(w.value)
		w.end(errDropped)
	}
	if len(dropped) == 0 && writing == 0 {
		return nil // the last one ended as ctx did
	}
	return fmt.Errorf("%d queued writes dropped, %d not finished: %w", len(dropped), writing, ctx.Err())
}
