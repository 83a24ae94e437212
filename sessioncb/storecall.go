package sessioncb

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// ErrStoreBusy: as many calls as CacheOptions.MaxCalls are inside the Store.
var ErrStoreBusy = errors.New("sessioncb: too many calls are inside the store")

// A StorePanicError is what a Cache makes of a panic or a runtime.Goexit in a
// Store: an error like any other of that Store, so the connection goes on.
type StorePanicError struct {
	// Value is what was given to panic, nil after runtime.Goexit.
	Value any
	// Stack is the goroutine's stack, as runtime/debug.Stack prints it.
	Stack []byte
}

func (e *StorePanicError) Error() string {
	if e.Value == nil {
		return "sessioncb: the store called runtime.Goexit"
	}
	return fmt.Sprintf("sessioncb: the store panicked: %v", e.Value)
}

// A gate lets a limited number of calls into the store. A call that hangs
// keeps its place until it returns, so a store that never returns costs that
// number of goroutines and no more.
type gate struct {
	limit  int64
	inside atomic.Int64
}

func (g *gate) enter() bool {
	if g.inside.Add(1) > g.limit {
		g.inside.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.inside.Add(-1) }

// contain makes an error of a panic in call.
func contain[T any](call func() (T, error)) (value T, err error) {
	returned := false
	defer func() {
		if !returned { // or Goexit, whose deferred calls run too
			err = &StorePanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	value, err = call()
	returned = true
	return value, err
}

// try calls the methods of an error that are called later, where a panic in
// them is one in the store.
func try(err error) {
	if err != nil {
		_ = err.Error()
		isTimeout(err)
		errors.Is(err, ErrNotFound)
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// through calls the store on a goroutine of its own and waits for the answer
// until ctx ends, whether or not the store heeds ctx. What call uses after
// that must be its own. The place in g has been entered, and is left when the
// call returns.
func through[T any](ctx context.Context, g *gate, call func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		a := answer{}
		returned := false
		defer func() {
			if !returned {
				a = answer{err: &StorePanicError{Value: recover(), Stack: debug.Stack()}}
			}
			g.leave()
			answered <- a
		}()
		a.value, a.err = call(ctx)
		try(a.err)
		returned = true
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answered: // both at once: an answer is an answer
		return a.value, a.err
	default:
		var none T
		return none, ctx.Err()
	}
}
