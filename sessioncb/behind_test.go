package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWriteBehind: no handshake waits, all is visible here at once, and after
// Close all of it is in the store.
func TestWriteBehind(t *testing.T) {
	for _, near := range []int64{0, 1 << 20} {
		t.Run(fmt.Sprint("near ", near), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				release := gated(store)
				c := newTestCache(t, store, CacheOptions{WriteBehind: 100, NearBytes: near})
				const n = 50
				for i := range n {
					c.NewSession(t.Context(), tls12, numbered(i))
				}
				synctest.Wait()
				if s := c.Stats(); s.QueuedPuts != n || s.WritesInside != maxWriters {
					t.Fatalf("%d queued, %d inside, want %d and %d", s.QueuedPuts, s.WritesInside, n, maxWriters)
				}
				for i := range n {
					if lookups(t, c, numbered(i), 1) != 1 {
						t.Errorf("session %d is not found", i)
					}
				}
				want := HitStats{Queued: n}
				if near > 0 {
					want = HitStats{Near: n}
				}
				if s := c.Stats(); s.Calls.Get != 0 || s.Hits != want {
					t.Errorf("%d calls, %+v", s.Calls.Get, s.Hits)
				}
				closed := make(chan error)
				go func() { closed <- c.Close(t.Context()) }()
				synctest.Wait()
				select {
				case <-closed:
					t.Fatal("closed before all was written")
				default:
				}
				release()
				if err := <-closed; err != nil {
					t.Error(err)
				}
				if len(store.values) != n {
					t.Errorf("%d sessions in the store, want %d", len(store.values), n)
				}
				if got, want := store.ttls["id 0"], 59*time.Minute-500*time.Millisecond; got != want {
					t.Errorf("ttl %v, want %v", got, want)
				}
				checkStats(t, c, Stats{Lookups: LookupStats{Hit: n}, Puts: PutStats{Stored: n}})

				// It works on, and writes are awaited.
				c.NewSession(t.Context(), tls12, numbered(n))
				if c.Stats().Puts.Stored != n+1 {
					t.Errorf("after Close: %+v", c.Stats().Puts)
				}
				if err := c.Close(t.Context()); err != nil {
					t.Error("second Close:", err)
				}
			})
		})
	}
}

// TestQueueFull: the newest is dropped, and counted. What is queued stays.
func TestQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := logOf()
		store := newFakeStore()
		release := gated(store)
		c := newTestCache(t, store, CacheOptions{WriteBehind: 5, MaxCalls: 2, Logger: log})
		for i := range 10 {
			c.NewSession(t.Context(), tls12, numbered(i))
			synctest.Wait() // those that are being written wait no more
		}
		if s := c.Stats(); s.QueuedPuts != 7 || s.Puts != (PutStats{Dropped: 3}) || s.WritesInside != 2 {
			t.Fatalf("%+v", s)
		}
		// A removal is not dropped: nobody's handshake waits for it.
		c.put.gate.limit = 3
		done := make(chan struct{})
		go func() {
			c.RemoveSession(t.Context(), numbered(20), Removal{Reason: Explicit})
			close(done)
		}()
		synctest.Wait()
		if n := store.count("Delete"); n != 1 {
			t.Errorf("%d deletions", n)
		}
		// A write of an id that is queued needs no room.
		c.RemoveSession(t.Context(), numbered(6), Removal{Reason: Explicit})
		if s := c.Stats(); s.QueuedPuts != 6 || s.QueuedRemovals != 1 || s.Puts.Overtaken != 1 {
			t.Errorf("%+v", s)
		}
		release()
		<-done
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if got := store.value(numbered(i).id) != nil; got != (i < 6) {
				t.Errorf("session %d in the store: %v", i, got)
			}
		}
		checkStats(t, c, Stats{
			Puts:     PutStats{Stored: 6, Dropped: 3, Overtaken: 1},
			Removals: map[Reason]RemovalStats{Explicit: {Deleted: 2}},
		})
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "queue of writes is full") {
			t.Errorf("log: %q", got)
		}
	})
}

// TestOrderOfOneID: whatever is asked of one id while it waits or is being
// written, the last of it is what the store has in the end, and what lookups
// see at once.
func TestOrderOfOneID(t *testing.T) {
	for _, test := range []struct {
		ops       string // p: put, d: delete, w: wait until the write before is inside the store
		calls     string // what the store saw
		there     bool
		overtaken uint64
	}{
		{"p", "p", true, 0},
		{"pd", "d", false, 1},
		{"pwd", "pd", false, 0},
		{"pwdp", "pp", true, 0},
		{"pwpd", "pd", false, 1},
		{"pwdddd", "pd", false, 0},
		{"dp", "p", true, 0},
		{"dwp", "dp", true, 0},
		{"dwpdpdp", "dp", true, 2},
	} {
		t.Run(test.ops, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				release := gated(store)
				var calls strings.Builder
				store.after = func(_ context.Context, method string) {
					if method != "Get" {
						calls.WriteString(strings.ToLower(method[:1]))
					}
				}
				c := newTestCache(t, store, CacheOptions{WriteBehind: 10, MissTTL: -1, MaxCalls: 1})
				if !strings.HasPrefix(test.ops[1:], "w") { // the only writer is busy with another id
					c.NewSession(t.Context(), tls12, numbered(99))
				}
				synctest.Wait()
				s := numbered(1)
				puts, dels := 0, 0
				for i, op := range test.ops {
					switch op {
					case 'p':
						s.der = fmt.Append(nil, "0 version ", i)
						c.NewSession(t.Context(), tls12, s)
						puts++
					case 'd':
						c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
						dels++
					case 'w':
						synctest.Wait()
					}
				}
				want := 0
				if test.there {
					want = 1
				}
				if got := lookups(t, c, s, 1); got != want {
					t.Errorf("%d hits while it is queued, want %d", got, want)
				}
				release()
				if err := c.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := lookups(t, c, s, 1); got != want {
					t.Errorf("%d hits after, want %d", got, want)
				}
				saw := calls.String()
				if store.value([]byte("id 99")) != nil {
					saw = saw[1:]
				}
				if saw != test.calls {
					t.Errorf("the store saw %q, want %q", saw, test.calls)
				}
				st := c.Stats()
				if st.Puts.Overtaken != test.overtaken || st.QueuedPuts != 0 || st.QueuedRemovals != 0 || len(c.behind.ids) != 0 {
					t.Errorf("%+v", st)
				}
				if r := st.Removals[Explicit]; int(r.Deleted+r.Failed) != dels {
					t.Errorf("%d removals, counted %+v", dels, r)
				}
				addsUp(t, st)
			})
		})
	}
}

// TestQueuedWriteFails: counted as what it is; the session is gone with it,
// unless it is near.
func TestQueuedWriteFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(context.Context, string) error
		o      CacheOptions
		want   PutStats
		failed uint64
	}{
		{"error", func(context.Context, string) error { return errBroken }, CacheOptions{}, PutStats{Error: 1}, 1},
		{"timeout", func(context.Context, string) error { return context.DeadlineExceeded }, CacheOptions{}, PutStats{Timeout: 1}, 1},
		{"panic", func(context.Context, string) error { panic("oops") }, CacheOptions{}, PutStats{Error: 1}, 1},
		{"Goexit", func(context.Context, string) error { runtime.Goexit(); return nil }, CacheOptions{}, PutStats{Error: 1}, 1},
		{"hangs", func(context.Context, string) error { time.Sleep(time.Hour); return errBroken }, CacheOptions{PutTimeout: time.Second}, PutStats{Timeout: 1}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				store.before = test.before
				test.o.WriteBehind = 10
				c := newTestCache(t, store, test.o)
				c.NewSession(t.Context(), tls12, numbered(1))
				c.RemoveSession(t.Context(), numbered(2), Removal{Reason: Explicit})
				if err := c.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				store.hook(nil)
				if lookups(t, c, numbered(1), 1) != 0 {
					t.Error("found")
				}
				time.Sleep(2 * time.Hour)
				checkStats(t, c, Stats{
					Lookups: LookupStats{Miss: 1}, Puts: test.want,
					Removals: map[Reason]RemovalStats{Explicit: {Failed: test.failed}},
				})
			})
		})
	}
}

// TestExpiresInTheQueue: a session whose lifetime ends while it waits is
// neither found nor written.
func TestExpiresInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		release := gated(store)
		c := newTestCache(t, store, CacheOptions{WriteBehind: 10, MaxCalls: 1, Now: time.Now, PutTimeout: 24 * time.Hour})
		first, short := numbered(1), numbered(2)
		first.time, first.timeout = time.Now(), 24*time.Hour
		short.time, short.timeout = time.Now(), time.Hour
		c.NewSession(t.Context(), tls12, first)
		c.NewSession(t.Context(), tls12, short)
		synctest.Wait()
		time.Sleep(time.Hour)
		if lookups(t, c, short, 1) != 0 || lookups(t, c, first, 1) != 1 {
			t.Error("a session in the queue is found past its end, or not before it")
		}
		release()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkStats(t, c, Stats{Lookups: LookupStats{Hit: 1, Miss: 1}, Puts: PutStats{Stored: 1, Skipped: 1}})
		if store.count("Put") != 1 {
			t.Error("what is over was written")
		}
	})
}

// TestCloseGivesUp: ctx ends before a hanging store does.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		release := gated(store)
		c := newTestCache(t, store, CacheOptions{WriteBehind: 10, MaxCalls: 2})
		for i := range 5 {
			c.NewSession(t.Context(), tls12, numbered(i))
		}
		c.RemoveSession(t.Context(), numbered(9), Removal{Reason: Explicit})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "4 queued writes dropped, 2 not finished") {
			t.Errorf("Close: %v", err)
		}
		release()
		synctest.Wait()
		checkStats(t, c, Stats{
			Puts:     PutStats{Stored: 2, Dropped: 3},
			Removals: map[Reason]RemovalStats{Explicit: {Failed: 1}},
		})
		if len(c.behind.ids) != 0 {
			t.Error("the queue is not empty")
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error("second Close:", err)
		}
	})
}

// TestQueueNeedsNoClose: its goroutines end with the work. (synctest fails if
// one is left.)
func TestQueueNeedsNoClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCache(t, newFakeStore(), CacheOptions{WriteBehind: 10})
		for i := range 5 {
			c.NewSession(t.Context(), tls12, numbered(i))
		}
		synctest.Wait()
		if c.behind.working != 0 || c.Stats().Puts.Stored != 5 {
			t.Errorf("%d goroutines work, %+v", c.behind.working, c.Stats().Puts)
		}
	})
}

// TestQueueClears: what was queued does not stay in memory.
func TestQueueClears(t *testing.T) {
	store := &keepingStore{fakeStore: newFakeStore()}
	c := newTestCache(t, store, CacheOptions{WriteBehind: 10, Codec: InsecurePlaintext()})
	var value []byte
	c.behind.make = func(w *write) error { value = w.value; return c.writeQueued(w) }
	s := numbered(1)
	c.NewSession(t.Context(), tls12, s)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{"the encoding": s.marshaled, "the queue's": value, "the store's": store.put} {
		if len(b) == 0 || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: %q", what, b)
		}
	}
	if !bytes.Equal(store.value(s.id), s.der) {
		t.Error("not stored")
	}
}

// TestConcurrentQueue puts, looks up and removes from many goroutines, through
// a queue and a store that is slow. The race detector looks on; what was
// acknowledged as queued is found or was removed.
func TestConcurrentQueue(t *testing.T) {
	store := newFakeStore()
	store.before = func(context.Context, string) error { runtime.Gosched(); return nil }
	// Room for all ids: a write that the queue has no room for may be missed, once
	// the removal before it is made.
	c := newTestCache(t, store, CacheOptions{WriteBehind: 64, NearBytes: 1 << 20})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				s := numbered(w*1000 + i%7)
				c.NewSession(t.Context(), tls12, s)
				if a, err := c.GetSession(t.Context(), tls12, bytes.Clone(s.id)); err != nil || !bytes.Equal(a.Encoded(), s.der) {
					t.Errorf("%s: %q, %v", s.id, a.Encoded(), err)
				}
				if i%3 == 0 {
					c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
					if a, err := c.GetSession(t.Context(), tls12, bytes.Clone(s.id)); err != nil || a.Encoded() != nil {
						t.Errorf("%s after its removal: %q, %v", s.id, a.Encoded(), err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := c.Stats()
	addsUp(t, s)
	if s.QueuedPuts != 0 || s.Puts.Dropped != 0 || s.QueuedRemovals != 0 || s.Puts.Offered() != 800 || s.Removals[Explicit].Deleted+s.Removals[Explicit].Failed != 8*34 {
		t.Errorf("%+v", s)
	}
}
