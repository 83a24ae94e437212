package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// hang makes a store that ignores its ctx and returns when released.
func hang(store *fakeStore) (release func()) {
	ch := make(chan struct{})
	store.before = func(context.Context, string) error { <-ch; return nil }
	return sync.OnceFunc(func() { close(ch) })
}

// eventually waits for what another goroutine does next.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// TestHangingStore: a store that never answers and ignores its ctx. Calls end
// at their deadline, tie up MaxCalls goroutines, and the next ones do not wait.
func TestHangingStore(t *testing.T) {
	store := newFakeStore()
	release := hang(store)
	defer release()
	const limit = 3
	c := newTestCache(t, store, CacheOptions{LookupTimeout: time.Millisecond, PutTimeout: time.Millisecond, MaxCalls: limit})
	for i := range limit + 4 {
		_, err := c.GetSession(t.Context(), server, []byte("id"))
		if want := map[bool]error{true: context.DeadlineExceeded, false: ErrStoreBusy}[i < limit]; !errors.Is(err, want) {
			t.Errorf("lookup %d: %v, want %v", i, err, want)
		}
	}
	c.NewSession(t.Context(), server, testSession())
	c.RemoveSession(t.Context(), testSession(), Removal{Reason: Explicit})
	for range limit {
		c.NewSession(t.Context(), server, testSession())
	}
	c.RemoveSession(t.Context(), testSession(), Removal{Reason: Explicit})
	checkStats(t, c, Stats{
		Lookups:       LookupStats{Timeout: limit, Busy: 4},
		Puts:          PutStats{Timeout: 2, Busy: 2}, // of its 3 places the delete has one
		Removals:      map[Reason]RemovalStats{Explicit: {Failed: 2}},
		LookupsInside: limit, WritesInside: limit,
	})
	if got := store.count("Get"); got != limit {
		t.Errorf("%d lookups reached the store, want %d", got, limit)
	}
	release()
	eventually(t, "the places are free again", func() bool {
		s := c.Stats()
		return s.LookupsInside == 0 && s.WritesInside == 0
	})
	c.get.timeout = time.Minute
	if _, err := c.GetSession(t.Context(), server, []byte("other id")); err != nil {
		t.Errorf("after the store came back: %v", err)
	}
}

// TestAbandonedPutStillOwnsItsValue: the store reads the value after the
// deadline; it must be neither cleared nor reused by then.
func TestAbandonedPutStillOwnsItsValue(t *testing.T) {
	for _, codec := range []Codec{nil, InsecurePlaintext()} {
		store := newFakeStore()
		release := hang(store)
		defer release()
		c := newTestCache(t, store, CacheOptions{PutTimeout: time.Millisecond, Codec: codec})
		s := testSession()
		c.NewSession(t.Context(), server, s)
		checkStats(t, c, Stats{Puts: PutStats{Timeout: 1}, WritesInside: 1})
		release()
		eventually(t, "the put ends", func() bool { return c.Stats().WritesInside == 0 })
		if a, err := c.GetSession(t.Context(), server, s.id); err != nil || !bytes.Equal(a.Encoded(), s.der) {
			t.Errorf("codec %T: the late put stored %q, %v", codec, a.Encoded(), err)
		}
	}
}

// TestConnectionGone: that the connection ended is no fault of the store.
func TestConnectionGone(t *testing.T) {
	store := newFakeStore()
	c := newTestCache(t, store, CacheOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	store.before = func(ctx context.Context, _ string) error {
		cancel()
		<-release
		return ctx.Err() // nil: the call is not this connection's alone
	}
	if _, err := c.GetSession(ctx, server, []byte("id")); !errors.Is(err, context.Canceled) {
		t.Errorf("lookup: %v", err)
	}
	close(release)
	eventually(t, "the call ends", func() bool { return c.Stats().LookupsInside == 0 })
	// The client may have left with its session: it is stored, and nobody waits.
	releasePut := hang(store)
	c.NewSession(ctx, server, testSession())
	releasePut()
	eventually(t, "the put ends", func() bool { return store.value(testSession().id) != nil && c.Stats().WritesInside == 0 })
	checkStats(t, c, Stats{Lookups: LookupStats{Canceled: 1}, Puts: PutStats{Canceled: 1}})
	if c.lookupHealth.failing.Load() || c.writeHealth.failing.Load() {
		t.Error("the store counts as failing")
	}
	// A deadline of the connection is a timeout.
	past, cancelPast := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancelPast()
	if _, err := c.GetSession(past, server, []byte("id")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lookup: %v", err)
	}
	checkStats(t, c, Stats{Lookups: LookupStats{Canceled: 1, Timeout: 1}, Puts: PutStats{Canceled: 1}})
}

// TestStoreSeesDeadlines: the store is told the deadline of each call.
func TestStoreSeesDeadlines(t *testing.T) {
	store := newFakeStore()
	left := map[string]time.Duration{}
	store.before = func(ctx context.Context, method string) error {
		if end, ok := ctx.Deadline(); ok {
			left[method] = time.Until(end)
		}
		return nil
	}
	c := newTestCache(t, store, CacheOptions{LookupTimeout: time.Hour, PutTimeout: 2 * time.Hour})
	c.NewSession(t.Context(), server, testSession())
	c.GetSession(t.Context(), server, testSession().id)
	c.RemoveSession(t.Context(), testSession(), Removal{Reason: Explicit})
	for method, want := range map[string]time.Duration{"Get": time.Hour, "Put": 2 * time.Hour, "Delete": 2 * time.Hour} {
		if d := left[method]; d > want || d < want-30*time.Minute {
			t.Errorf("%s: %v left, want about %v", method, d, want)
		}
	}
}

// TestPanicInStore keeps the value for whoever asks.
func TestPanicInStore(t *testing.T) {
	store := newFakeStore()
	store.before = func(context.Context, string) error { panic(errBroken) }
	c := newTestCache(t, store, CacheOptions{MaxCalls: 1})
	for range 3 { // its place is free again each time
		var p *StorePanicError
		if _, err := c.GetSession(t.Context(), server, []byte("id")); !errors.As(err, &p) || p.Value != errBroken {
			t.Errorf("got %v", err)
		}
	}
}
