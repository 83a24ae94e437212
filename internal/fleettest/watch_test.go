package fleettest

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// A watched Store counts what is inside the store and what comes out of it,
// and can lie.
type watched struct {
	inner sessioncb.Store
	codec sessioncb.Codec // of the values

	mu      sync.Mutex
	seen    calls
	inside  struct{ lookups, writes int }
	keys    []sessioncb.Key   // in the order of their first Put
	values  map[string][]byte // what was put first
	lie     string            // "", "swap" or "yesterday"
	madeOff time.Duration     // how wrong the clock is of the server that puts
}

// calls are what a watched Store has seen.
type calls struct {
	Gets, Puts, Deletes     int
	Lies                    int // Gets that were answered with another value
	MostLookups, MostWrites int // inside at once
	// Errors are the errors of the store, by their words, without the
	// addresses of connections.
	Errors map[string]int
}

func newWatched(inner sessioncb.Store, codec sessioncb.Codec) *watched {
	return &watched{inner: inner, codec: codec, values: map[string][]byte{}, seen: calls{Errors: map[string]int{}}}
}

func (w *watched) counts() calls {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.seen
	n.Errors = maps.Clone(n.Errors)
	return n
}

// enter counts a call, which ends with what it returns.
func (w *watched) enter(calls, inside, most *int) (leave func(error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*calls++
	*inside++
	*most = max(*most, *inside)
	return func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		*inside--
		if err != nil {
			w.seen.Errors[withoutAddresses(err.Error())]++
		}
	}
}

func (w *watched) Get(ctx context.Context, key sessioncb.Key) (value []byte, err error) {
	leave := w.enter(&w.seen.Gets, &w.inside.lookups, &w.seen.MostLookups)
	defer func() { leave(err) }()
	w.mu.Lock()
	lie := w.lie
	w.mu.Unlock()
	switch lie {
	case "swap":
		key = w.other(key)
	case "yesterday":
		w.mu.Lock()
		defer w.mu.Unlock()
		if old := w.values[string(key.ID)]; old != nil {
			w.seen.Lies++
			return append([]byte{}, old...), nil
		}
		return nil, sessioncb.ErrNotFound
	}
	return w.inner.Get(ctx, key)
}

// other returns the key that was put before this one.
func (w *watched) other(key sessioncb.Key) sessioncb.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, k := range w.keys {
		if string(k.ID) == string(key.ID) && len(w.keys) > 1 {
			w.seen.Lies++
			return w.keys[(i+len(w.keys)-1)%len(w.keys)]
		}
	}
	return key
}

func (w *watched) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) (err error) {
	leave := w.enter(&w.seen.Puts, &w.inside.writes, &w.seen.MostWrites)
	defer func() { leave(err) }()
	w.mu.Lock()
	off := w.madeOff
	id := string(key.ID)
	if w.values[id] == nil {
		w.keys = append(w.keys, sessioncb.Key{ID: []byte(id)})
		w.values[id] = append([]byte{}, value...)
	}
	w.mu.Unlock()
	if off != 0 {
		if value, err = w.shifted(key, value, off); err != nil {
			return err
		}
	}
	return w.inner.Put(ctx, key, value, ttl)
}

func (w *watched) Delete(ctx context.Context, key sessioncb.Key) (err error) {
	leave := w.enter(&w.seen.Deletes, &w.inside.writes, &w.seen.MostWrites)
	defer func() { leave(err) }()
	return w.inner.Delete(ctx, key)
}

// shifted is the value as a server would have made it whose clock is off.
func (w *watched) shifted(key sessioncb.Key, value []byte, off time.Duration) ([]byte, error) {
	r, err := w.codec.Decode(key, value)
	if err != nil {
		return nil, err
	}
	if r.DER, err = shiftTime(r.DER, off); err != nil {
		return nil, err
	}
	r.Expires = r.Expires.Add(off)
	return w.codec.Encode(key, r)
}

// renew puts all values again, sealed anew under the newest key, and so that
// the first one put is an older value of the same id.
func (w *watched) renew(ctx context.Context) (n int, err error) {
	w.mu.Lock()
	keys := append([]sessioncb.Key{}, w.keys...)
	w.mu.Unlock()
	for _, k := range keys {
		value, err := w.inner.Get(ctx, k)
		if err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		r, err := w.codec.Decode(k, value)
		if err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		if value, err = w.codec.Encode(k, r); err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		if err := w.inner.Put(ctx, k, value, time.Until(r.Expires)); err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		n++
	}
	return n, nil
}
