package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// newKey returns a random key as OpenSSL makes them.
func newKey() sessioncb.Key {
	id := make([]byte, 32)
	rand.Read(id)
	return sessioncb.Key{ID: id}
}

func put(t testing.TB, s sessioncb.Store, k sessioncb.Key, value []byte, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), k, value, ttl); err != nil {
		t.Fatalf("Put, id %q, %d bytes for %v: %v", k.ID, len(value), ttl, err)
	}
}

func wantValue(t testing.TB, s sessioncb.Store, k sessioncb.Key, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatalf("Get, id %q: %v", k.ID, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get, id %q: got %s, want %s", k.ID, show(got), show(want))
	}
}

func wantAbsent(t testing.TB, s sessioncb.Store, k sessioncb.Key) {
	t.Helper()
	if got, err := s.Get(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Fatalf("Get, id %q, that should not be there: got %s, %v; want ErrNotFound", k.ID, show(got), err)
	}
}

// waitAbsent waits for a value put with the lifetime short to go, and then
// some: a store may count in seconds.
func waitAbsent(t testing.TB, s sessioncb.Store, k sessioncb.Key) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		asked := time.Now()
		got, err := s.Get(t.Context(), k)
		switch {
		case errors.Is(err, sessioncb.ErrNotFound):
			return
		case err != nil:
			t.Fatalf("Get: %v", err)
		case asked.Sub(start) > short+grace:
			t.Fatalf("put with a lifetime of %v, and still there after %v: %s", short, asked.Sub(start), show(got))
		}
	}
}

func wantNotClaimed(t testing.TB, c sessioncb.Claimer, k sessioncb.Key) {
	t.Helper()
	if got, err := c.Claim(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Fatalf("Claim of what is not there: got %s, %v; want ErrNotFound", show(got), err)
	}
}

func wantCanceled(t testing.TB, call string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%s with a canceled ctx: %v, want context.Canceled", call, err)
	}
}

// together runs f on n goroutines that start at the same time.
func together(t testing.TB, n int, f func(i int) error) {
	t.Helper()
	start := make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%d goroutines: %v", n, err)
	}
}

// show cuts long values.
func show(v []byte) string {
	const most = 40
	if len(v) > most {
		return fmt.Sprintf("%q and %d more bytes", v[:most], len(v)-most)
	}
	return fmt.Sprintf("%q", v)
}
