package fleettest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// A liar remembers what a fleet has put, so that a watched Store can answer
// with something else.
type liar struct {
	codec sessioncb.Codec // of the values

	mu      sync.Mutex
	keys    []sessioncb.Key   // in the order of their first Put
	values  map[string][]byte // what was put first
	lie     string            // "", "swap" or "yesterday"
	lieOff  time.Duration     // when yesterday was
	madeOff time.Duration     // how wrong the clock is of the server that puts
}

// A watched Store counts what is inside the store and what comes out of it.
type watched struct {
	inner sessioncb.Store
	liar  *liar

	mu     sync.Mutex
	seen   calls
	inside struct{ lookups, writes int }
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

func newWatched(inner sessioncb.Store, l *liar) *watched {
	return &watched{inner: inner, liar: l, seen: calls{Errors: map[string]int{}}}
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
	other, value, lied, err := w.liar.answer(key)
	if lied {
		w.mu.Lock()
		w.seen.Lies++
		w.mu.Unlock()
	}
	if value != nil || err != nil {
		return value, err
	}
	return w.inner.Get(ctx, other)
}

func (w *watched) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) (err error) {
	leave := w.enter(&w.seen.Puts, &w.inside.writes, &w.seen.MostWrites)
	defer func() { leave(err) }()
	if value, err = w.liar.note(key, value); err != nil {
		return err
	}
	return w.inner.Put(ctx, key, value, ttl)
}

func (w *watched) Delete(ctx context.Context, key sessioncb.Key) (err error) {
	leave := w.enter(&w.seen.Deletes, &w.inside.writes, &w.seen.MostWrites)
	defer func() { leave(err) }()
	return w.inner.Delete(ctx, key)
}

// tell says how to lie: "" not at all; "swap" asks the store for another id;
// "yesterday" answers with what was put first, made off from when it was.
func (l *liar) tell(lie string, off time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie, l.lieOff = lie, off
}

// answer returns the key to ask the store for, or what to answer at once.
func (l *liar) answer(key sessioncb.Key) (other sessioncb.Key, value []byte, lied bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.lie {
	case "swap": // with the next, which the store has: new ones come at the end
		i := slices.IndexFunc(l.keys, func(k sessioncb.Key) bool { return bytes.Equal(k.ID, key.ID) })
		if i < 0 || len(l.keys) == 1 {
			return key, nil, false, nil
		}
		return l.keys[(i+1)%len(l.keys)], nil, true, nil
	case "yesterday":
		first := l.values[string(key.ID)]
		if first == nil {
			return key, nil, false, sessioncb.ErrNotFound
		}
		value, err = l.shifted(key, first, l.lieOff)
		return key, value, true, err
	}
	return key, nil, false, nil
}

// note remembers a value, and returns it as the store shall have it.
func (l *liar) note(key sessioncb.Key, value []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := string(key.ID); l.values[id] == nil {
		l.keys = append(l.keys, sessioncb.Key{ID: []byte(id)})
		l.values[id] = bytes.Clone(value)
	}
	return l.shifted(key, value, l.madeOff)
}

// shifted is a copy of the value as a server would have made it whose clock is
// off.
func (l *liar) shifted(key sessioncb.Key, value []byte, off time.Duration) ([]byte, error) {
	value = bytes.Clone(value)
	if off == 0 {
		return value, nil
	}
	r, err := l.codec.Decode(key, value)
	if err != nil {
		return nil, err
	}
	if r.DER, err = shiftTime(r.DER, off); err != nil {
		return nil, err
	}
	r.Expires = r.Expires.Add(off)
	return l.codec.Encode(key, r)
}

// renew puts all values into the store again, sealed anew under the newest
// key, so that what was put first is an older value of the same id.
func (l *liar) renew(ctx context.Context, store sessioncb.Store) (n int, err error) {
	l.mu.Lock()
	keys := slices.Clone(l.keys)
	l.mu.Unlock()
	for _, k := range keys {
		value, err := store.Get(ctx, k)
		if err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		r, err := l.codec.Decode(k, value)
		if err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		if value, err = l.codec.Encode(k, r); err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		if err := store.Put(ctx, k, value, time.Until(r.Expires)); err != nil {
			return n, fmt.Errorf("renew: %w", err)
		}
		n++
	}
	return n, nil
}
