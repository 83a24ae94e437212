// Package awaited lets a call return with its context, whatever the client
// library underneath makes of it.
package awaited

import "context"

// Call runs f and returns what it returns; or ctx's error as soon as ctx ends,
// while f goes on alone. So what f uses must be its own. A ctx that cannot end
// costs no goroutine.
//
// A panic of f is the caller's panic, or nobody's when the caller has left: it
// does not end the process from a goroutine that no one can guard.
func Call[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if ctx.Done() == nil {
		return f(ctx)
	}
	type answer struct {
		value    T
		err      error
		panicked any
		returned bool
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if !a.returned {
				a.panicked = recover()
			}
			answered <- a
		}()
		a.value, a.err = f(ctx)
		a.returned = true
	}()
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		select {
		case a = <-answered: // both at once: an answer is an answer
		default:
			return none, ctx.Err()
		}
	}
	switch {
	case a.panicked != nil:
		panic(a.panicked)
	case !a.returned:
		panic("runtime.Goexit was called")
	case a.err != nil && ctx.Err() != nil:
		// A deadline that the client heeded too, under the name it has there.
		return none, ctx.Err()
	}
	return a.value, a.err
}
