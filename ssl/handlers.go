package ssl

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// Time limits of handlers that set none.
const (
	defaultLookupTimeout = 2 * time.Second
	defaultStoreTimeout  = 2 * time.Second
)

// errHandlerLate is the miss of a GetHandler that did not answer in time.
var errHandlerLate = errors.New("ssl: Get handler did not answer in time")

// handlerOptions are the bounds of all handlers of one SSL_CTX.
type handlerOptions struct {
	lookup, store time.Duration
	onPanic       func(*HandlerPanicError)
}

// handlerCounts are what became of the calls of handlers.
type handlerCounts struct{ panics, errors, late, turnedAway atomic.Uint64 }

func newHandlerOptions(lookup, store time.Duration, onPanic func(*HandlerPanicError)) handlerOptions {
	if lookup == 0 {
		lookup = defaultLookupTimeout
	}
	if store == 0 {
		store = defaultStoreTimeout
	}
	if onPanic == nil {
		onPanic = func(e *HandlerPanicError) {
			slog.Error("ssl: session handler failed", "handler", e.Handler, "panic", e.Value, "stack", string(e.Stack))
		}
	}
	return handlerOptions{lookup: lookup, store: store, onPanic: onPanic}
}

// panicked counts and reports. A program that wants to crash does so in onPanic.
func (s *side) panicked(e *HandlerPanicError) {
	s.counts.panics.Add(1)
	s.options.onPanic(e)
}

// contained runs f on a goroutine of its own, where neither a panic nor
// Goexit reaches anybody, and sends what it returned, or failure's value.
func contained[T any](f func() T, failure func(*HandlerPanicError) T, handler string) <-chan T {
	result := make(chan T, 1)
	go func() {
		returned := false
		defer func() {
			if returned {
				return
			}
			v := recover()
			result <- failure(&HandlerPanicError{Handler: handler, Value: v, Stack: debug.Stack()})
		}()
		v := f()
		returned = true
		result <- v
	}()
	return result
}

// immediate says whether h's calls never wait. Those for a Conn are made where
// they are; no frame of C is above them.
func immediate(h any) bool {
	i, ok := h.(sessioncb.Immediate)
	return ok && i.Immediate()
}

// limits are the ends that a handler's context follows.
type limits struct {
	deadline *deadline // nil: none
	closed   *signal   // nil: none
	end      time.Time // zero: none
}

// within returns the context of a handler, which has so long and no longer.
func (l limits) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	end := time.Now().Add(d)
	if !l.end.IsZero() && l.end.Before(end) {
		end = l.end
	}
	return context.WithDeadline(ctx, end)
}

// wait returns what the handler sent, or false once its time is over; cancel
// ends the handler's context then.
func wait[T any](ctx context.Context, cancel context.CancelFunc, l limits, result <-chan T) (v T, ok bool) {
	select {
	case v = <-result:
		return v, true
	default:
	}
	var past, closed <-chan struct{}
	if l.deadline != nil {
		past = l.deadline.wait()
	}
	if l.closed != nil {
		closed = l.closed.wait()
	}
	select {
	case v = <-result:
		return v, true
	case <-ctx.Done():
	case <-past:
	case <-closed:
	}
	cancel()
	return v, false
}

// found is what a GetHandler came to.
type found struct {
	answer sessioncb.Answer
	err    error
}

// get asks the GetHandler. Every failure is a miss with its error.
func (s *side) get(ctx context.Context, l limits, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	h := s.handlers.Load().Get
	if h == nil {
		return sessioncb.Answer{}, nil
	}
	ask := func() found {
		a, err := h.GetSession(ctx, c, id)
		return found{a, err}
	}
	failed := func(e *HandlerPanicError) found {
		s.panicked(e)
		return found{err: e}
	}
	ctx, cancel := l.within(ctx, s.options.lookup)
	defer cancel()
	f, ok := wait(ctx, cancel, l, contained(ask, failed, "Get"))
	if !ok {
		s.counts.late.Add(1)
		return sessioncb.Answer{}, errHandlerLate
	}
	return s.judge(f)
}

// getInPlace is get with an immediate handler, on this goroutine. It allocates
// nothing.
func (s *side) getInPlace(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	return s.judge(s.askInPlace(ctx, c, id))
}

func (s *side) askInPlace(ctx context.Context, c sessioncb.Conn, id []byte) (f found) {
	defer func() {
		if p := recover(); p != nil {
			e := &HandlerPanicError{Handler: "Get", Value: p, Stack: debug.Stack()}
			s.panicked(e)
			f = found{err: e}
		}
	}()
	h := s.handlers.Load().Get
	if h == nil {
		return found{}
	}
	f.answer, f.err = h.GetSession(ctx, c, id)
	return f
}

func (s *side) judge(f found) (sessioncb.Answer, error) {
	if f.err != nil {
		s.counts.errors.Add(1)
		return sessioncb.Answer{}, f.err
	}
	return f.answer, nil
}

// announce tells the NewHandler of one session and waits for it, or for the
// limits. free takes the session back if the handler does not keep it.
func (s *side) announce(ctx context.Context, l limits, c sessioncb.Conn, b cshim.Session, free func(cshim.Session)) error {
	h := s.handlers.Load().New
	if h == nil {
		free(b)
		return nil
	}
	v := lend(b, b.Snapshot())
	tell := func() error {
		kept := false
		defer func() {
			// Also after a panic or Goexit. A kept session becomes a private
			// object: the one announced belongs to the connection too.
			if !kept || !v.keep() {
				free(v.takeBack())
			}
		}()
		kept = h.NewSession(ctx, c, v)
		return nil
	}
	failed := func(e *HandlerPanicError) error {
		s.panicked(e)
		return e
	}
	ctx, cancel := l.within(ctx, s.options.store)
	defer cancel()
	err, ok := wait(ctx, cancel, l, contained(tell, failed, "New"))
	if !ok {
		s.counts.late.Add(1)
		v.unshare() // the handler still runs: it goes on with a private object
	}
	return err
}

// announceInPlace is announce with an immediate handler, on this goroutine.
func (s *side) announceInPlace(ctx context.Context, c sessioncb.Conn, b cshim.Session, free func(cshim.Session)) (err error) {
	h := s.handlers.Load().New
	if h == nil {
		free(b)
		return nil
	}
	v := lend(b, b.Snapshot())
	kept := false
	defer func() {
		if !kept || !v.keep() {
			free(v.takeBack())
		}
		if p := recover(); p != nil {
			e := &HandlerPanicError{Handler: "New", Value: p, Stack: debug.Stack()}
			s.panicked(e)
			err = e
		}
	}()
	kept = h.NewSession(ctx, c, v)
	return nil
}
