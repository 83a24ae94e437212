package sessioncb

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// A line is one kind of call into the Store: Get, Claim, Put or Delete. It has
// a circuit breaker of its own, because stores fail by kind: a full one
// refuses to put, a replica refuses all but to get.
type line struct {
	timeout time.Duration
	breaker *breaker // nil: none
	gate    *gate    // shared with the other lines that read, or write
	health  *health  // the same
	absent  bool     // that nothing is there is an answer, no failure
	goesOn  bool     // whoever waits may leave, or have left: the call is made
	calls   atomic.Uint64

	log func() *slog.Logger
	now func() time.Time
}

// call makes a call of the store: if the breaker allows it and the gate has
// room. It waits for no longer than the line's timeout, or until ctx ends. f
// may outlive it; what f uses must be its own. If f is not called at all,
// unmade is, unless it is nil.
func call[T any](ctx context.Context, l *line, f func(context.Context) (T, error), unmade func()) (value T, err error) {
	made := false
	defer func() {
		if !made && unmade != nil {
			unmade()
		}
	}()
	if err := ctx.Err(); err != nil && !l.goesOn {
		return value, err
	}
	done, err := l.breaker.allow()
	if err != nil {
		return value, err
	}
	v := broke
	defer func() { done(v) }() // even if the logger panics
	if !l.gate.enter() {
		err = ErrStoreBusy
	} else {
		made = true
		timed, cancel := context.WithTimeout(ctx, l.timeout)
		defer cancel()
		value, err = through(timed, l.gate, func(ctx context.Context) (T, error) {
			l.calls.Add(1)
			if l.goesOn {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
				defer cancel()
			}
			return f(ctx)
		})
	}
	v = l.judge(ctx, err)
	return value, err
}

// judge tells the health of the store of a call's error, and says what the
// breaker is to make of it. That the connection went away (ctx was canceled)
// is no fault of the store. That the gate had no room is no answer of the
// store's: the calls inside it are judged when they end.
func (l *line) judge(ctx context.Context, err error) verdict {
	switch {
	case err == nil, l.absent && errors.Is(err, ErrNotFound):
		l.health.worked(l.log(), l.now())
		return worked
	case errors.Is(ctx.Err(), context.Canceled):
		return saysNothing
	}
	l.health.failed(l.log(), l.now(), err)
	if errors.Is(err, ErrStoreBusy) {
		return saysNothing
	}
	return broke
}

// outcomeOf names the outcome of a call for one who waited with ctx.
func outcomeOf(ctx context.Context, err error) outcome {
	switch {
	case err == nil:
		return hit
	case errors.Is(ctx.Err(), context.Canceled):
		return canceled
	case errors.Is(err, ErrBreakerOpen):
		return breakerOpen
	case errors.Is(err, ErrStoreBusy):
		return busy
	case isTimeout(err):
		return timedOut
	}
	return failed
}
