package ssl

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// side is the Go side of one SSL_CTX, ours or attached: its handlers, and the
// delivery of its removals. C reaches it through a handle until the SSL_CTX is
// gone and the last removal was delivered.
type side struct {
	c        *cshim.Context
	owner    sessioncb.Context
	options  handlerOptions
	counts   handlerCounts
	handlers atomic.Pointer[sessioncb.Callbacks]
	foreign  *foreignCalls // of an attachment, else nil
	muted    atomic.Bool   // of a closed attachment: no handler is called any more

	// woken is not zero while one goroutine delivers; only that goroutine
	// touches queue and takes from c.
	woken      atomic.Int64
	deliveries atomic.Int64
	queue      []cshim.Session
	spent      []cshim.Session
	done       chan struct{} // closed after the last delivery
}

func newSide(owner sessioncb.Context, cb sessioncb.Callbacks, o handlerOptions) *side {
	s := &side{owner: owner, options: o, done: make(chan struct{})}
	s.handlers.Store(&cb)
	return s
}

// Event is what C calls when a removal or the end came outside a call of ours.
func (s *side) Event() { s.wake() }

// beforeWake is a delay that a test puts between a call and its events.
var beforeWake atomic.Pointer[func()]

// after looks at what a crossing left behind.
func (s *side) after(e cshim.Events) {
	if e != 0 {
		if delay := beforeWake.Load(); delay != nil {
			(*delay)()
		}
		s.wake()
	}
}

// wake never blocks: it may run under a lock of libssl.
func (s *side) wake() {
	if s.woken.Add(1) == 1 {
		go s.deliver()
	}
}

// deliver calls the RemoveHandler, one removal after the other. When the
// SSL_CTX is gone and nothing is left it drops the Go side's reference.
func (s *side) deliver() {
	returned := false
	defer func() {
		if !returned { // a handler called runtime.Goexit
			go s.deliver()
		}
	}()
	for {
		seen := s.woken.Load()
		dead := s.c.IsDead() // before the list: nothing is added after it
		s.queue = append(s.queue, s.c.TakeRemoved()...)
		for len(s.queue) > 0 {
			b := s.queue[0]
			s.queue = s.queue[1:]
			s.remove(b)
		}
		s.queue = nil
		cshim.FreeSessions(s.spent)
		s.spent = s.spent[:0]
		if dead {
			s.c.Unref()
			close(s.done)
			break
		}
		if s.woken.CompareAndSwap(seen, 0) {
			break
		}
	}
	returned = true
}

// settle waits until all removals so far are delivered, or until a handler has
// not returned within its time.
func (s *side) settle() {
	limit := s.options.store
	progress := s.deliveries.Load()
	for last := time.Now(); s.woken.Load() != 0 && time.Since(last) < limit; {
		select {
		case <-s.done:
			return
		case <-time.After(time.Millisecond):
		}
		if n := s.deliveries.Load(); n != progress {
			progress, last = n, time.Now()
		}
	}
}

// remove delivers one removal. The session is the handler's to borrow.
func (s *side) remove(b cshim.Session) {
	snap := b.Snapshot()
	v := lend(b, snap)
	v.removed = true
	defer func() {
		s.spent = append(s.spent, v.takeBack())
		s.deliveries.Add(1)
	}()
	h := s.handlers.Load().Remove
	if h == nil || s.muted.Load() {
		return
	}
	r := sessioncb.Removal{
		Context: s.owner, Reason: sessioncb.Reason(snap.Reason), HandshakeDone: snap.HandshakeDone,
	}
	if snap.Fault != "" {
		r.Err = errors.New(snap.Fault)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.options.store)
	defer cancel()
	ok := false
	defer func() {
		if ok {
			return
		}
		v := recover()
		s.panicked(&HandlerPanicError{Handler: "Remove", Value: v, Stack: debug.Stack()})
	}()
	h.RemoveSession(ctx, v, r)
	ok = true
}
