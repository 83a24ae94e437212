package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneCallPerID: a crowd asks for one id while the store takes its time. It
// is asked once, and all get the answer, each its own.
func TestOneCallPerID(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want LookupStats
	}{
		{"found", nil, LookupStats{Hit: 50}},
		{"not there", ErrNotFound, LookupStats{Miss: 50}},
		{"broken", errBroken, LookupStats{Error: 50}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, s := newFakeStore(), testSession()
				c := newTestCache(t, store, CacheOptions{})
				c.NewSession(t.Context(), server, s)
				release := make(chan struct{})
				store.hook(func(context.Context, string) error { <-release; return test.err })
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						a, err := c.GetSession(t.Context(), server, bytes.Clone(s.id))
						if found := bytes.Equal(a.Encoded(), s.der); found != (test.err == nil) || err != nil && !errors.Is(err, test.err) {
							t.Errorf("%q, %v", a.Encoded(), err)
						}
						clear(a.Encoded()) // the race detector looks on
					})
				}
				synctest.Wait()
				if st := c.Stats(); st.IDsWaiting != 1 || st.LookupsInside != 1 {
					t.Errorf("%d ids waiting, %d lookups inside, want 1 and 1", st.IDsWaiting, st.LookupsInside)
				}
				close(release)
				wg.Wait()
				checkStats(t, c, Stats{Lookups: test.want, Puts: PutStats{Stored: 1}})
				if st := c.Stats(); st.Calls.Get != 1 || st.Joined != 49 || st.IDsWaiting != 0 {
					t.Errorf("%d calls, %d joined, %d ids waiting", st.Calls.Get, st.Joined, st.IDsWaiting)
				}
			})
		})
	}
}

// TestFirstWaiterLeaves: the call is not the first one's alone.
func TestFirstWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := newFakeStore(), testSession()
		c := newTestCache(t, store, CacheOptions{LookupTimeout: time.Second})
		c.NewSession(t.Context(), server, s)
		var seen context.Context
		store.hook(func(ctx context.Context, _ string) error {
			seen = ctx
			time.Sleep(100 * time.Millisecond)
			return ctx.Err()
		})
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
		first := make(chan error)
		go func() {
			_, err := c.GetSession(ctx, server, bytes.Clone(s.id))
			first <- err
		}()
		synctest.Wait()
		second := make(chan []byte)
		go func() {
			a, _ := c.GetSession(t.Context(), server, bytes.Clone(s.id))
			second <- a.Encoded()
		}()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first one: %v", err)
		}
		if got := <-second; !bytes.Equal(got, s.der) {
			t.Errorf("the second one: %q", got)
		}
		if seen.Value(key{}) != "trace" {
			t.Error("the store does not see the values of the ctx")
		}
		checkStats(t, c, Stats{Lookups: LookupStats{Hit: 1, Canceled: 1}, Puts: PutStats{Stored: 1}})
		if n := store.count("Get"); n != 1 {
			t.Errorf("the store was asked %d times", n)
		}
	})
}

// TestCrowdBeforeAHangingStore: the call ends for all at its deadline, also
// for who came late; the next one begins a new call.
func TestCrowdBeforeAHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		release := hang(store)
		c := newTestCache(t, store, CacheOptions{LookupTimeout: 50 * time.Millisecond})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, err := c.GetSession(t.Context(), server, []byte("id")); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Errorf("waited %v", d)
		}
		c.GetSession(t.Context(), server, []byte("id"))
		checkStats(t, c, Stats{Lookups: LookupStats{Timeout: 11}, LookupsInside: 2})
		release()
		synctest.Wait()
		checkStats(t, c, Stats{Lookups: LookupStats{Timeout: 11}})
	})
}

// TestRemovalsOfOneID: many at once are one call; one that begins after a Put
// is another, because what is under way may have come before that Put.
func TestRemovalsOfOneID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := newFakeStore(), testSession()
		c := newTestCache(t, store, CacheOptions{})
		c.NewSession(t.Context(), server, s)
		_, release := pauseIn(store, "Delete")
		var wg sync.WaitGroup
		remove := func() {
			wg.Go(func() { c.RemoveSession(t.Context(), s, Removal{Reason: Explicit}) })
			synctest.Wait()
		}
		for range 20 {
			remove()
		}
		if n := store.count("Delete"); n != 1 {
			t.Fatalf("%d deletions, want 1", n)
		}
		c.NewSession(t.Context(), server, s)
		remove()
		remove()
		if n := store.count("Delete"); n != 2 {
			t.Errorf("%d deletions after a Put, want 2", n)
		}
		release()
		wg.Wait()
		if store.value(s.id) != nil {
			t.Error("the session is still in the store")
		}
		checkStats(t, c, Stats{Puts: PutStats{Stored: 2}, Removals: map[Reason]RemovalStats{Explicit: {Deleted: 22}}})
	})
}

// TestPanicBehindTheFlight: also what the flight's goroutine runs beside the
// store may panic, a logger for one.
func TestPanicBehindTheFlight(t *testing.T) {
	f := flight{}
	_, _, err := f.do(t.Context(), Key{ID: []byte("id")}, func(context.Context) ([]byte, error) { panic("oops") })
	checkError(t, err, errPanic)
}

func BenchmarkFlight(b *testing.B) {
	f := flight{}
	key := Key{ID: make([]byte, 32)}
	value := make([]byte, 500)
	b.ReportAllocs()
	for b.Loop() {
		f.do(b.Context(), key, func(context.Context) ([]byte, error) { return value, nil })
	}
}
