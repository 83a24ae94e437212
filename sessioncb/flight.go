package sessioncb

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
)

// A flight makes one call for all that ask for the same id at the same time.
// The call belongs to none of them: it goes on when those who wait give up,
// and must end by itself.
type flight struct {
	group   singleflight.Group
	calls   atomic.Int64  // under way, so many ids are waited for
	joiners atomic.Uint64 // who found a call under way
}

// do makes the call, even if ctx has ended, or joins the one under way, and
// waits until ctx ends. The value
// is shared: nobody may change it. first says that this caller's call was it.
func (f *flight) do(ctx context.Context, key Key, call func(context.Context) ([]byte, error)) (value []byte, first bool, err error) {
	ours := false
	answered := f.group.DoChan(string(key.ID), func() (any, error) {
		ours = true
		f.calls.Add(1)
		defer f.calls.Add(-1)
		return contain(func() ([]byte, error) { return call(context.WithoutCancel(ctx)) })
	})
	select {
	case a := <-answered:
		if !ours {
			f.joiners.Add(1)
		}
		value, _ = a.Val.([]byte)
		return value, ours, a.Err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// forget lets the calls that come begin anew: what is under way may have read
// what is no longer so.
func (f *flight) forget(key Key) { f.group.Forget(string(key.ID)) }
