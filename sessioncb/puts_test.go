package sessioncb

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemovedWhileItIsPut: a session is removed while its Put is under way.
// Whenever the Put lands, the session is in the end neither in the store nor
// near.
func TestRemovedWhileItIsPut(t *testing.T) {
	for _, test := range []struct {
		name    string
		o       CacheOptions
		lands   time.Duration // the Put, after it began
		removed time.Duration // the session
		version uint16
		want    PutStats
		deletes int
	}{
		{"before it lands", CacheOptions{}, 10 * time.Millisecond, 5 * time.Millisecond, 0x0303, PutStats{Overtaken: 1}, 2},
		{"long before", CacheOptions{}, time.Hour, 5 * time.Millisecond, 0x0303, PutStats{Timeout: 1}, 2},
		{"after nobody waits any more", CacheOptions{}, time.Hour, time.Minute, 0x0303, PutStats{Timeout: 1}, 2},
		{"used once", CacheOptions{SingleUse: true, WriteBehind: 5}, 10 * time.Millisecond, 5 * time.Millisecond, 0x0304, PutStats{Overtaken: 1}, 2},
		{"queued", CacheOptions{WriteBehind: 5}, 10 * time.Millisecond, 5 * time.Millisecond, 0x0303, PutStats{Stored: 1}, 1},
		{"queued, long before", CacheOptions{WriteBehind: 5}, time.Hour, 5 * time.Millisecond, 0x0303, PutStats{Timeout: 1}, 2},
		{"queued, after nobody waits", CacheOptions{WriteBehind: 5}, time.Hour, time.Minute, 0x0303, PutStats{Timeout: 1}, 2},
		{"one place in the gate", CacheOptions{MaxCalls: 1}, 10 * time.Millisecond, 5 * time.Millisecond, 0x0303, PutStats{Overtaken: 1}, 1},
		{"after it landed", CacheOptions{}, 10 * time.Millisecond, 20 * time.Millisecond, 0x0303, PutStats{Stored: 1}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				store.hook(func(_ context.Context, method string) error {
					if method == "Put" {
						time.Sleep(test.lands)
					}
					return nil
				})
				test.o.PutTimeout, test.o.NearBytes, test.o.Now = time.Second, 1<<20, time.Now
				c := newTestCache(t, claimingStore{store}, test.o)
				s := numbered(1)
				s.time, s.timeout, s.version = time.Now(), 24*time.Hour, test.version
				go c.NewSession(t.Context(), tls12, s)
				time.Sleep(test.removed)
				c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if c.Stats().NearSessions != 0 || store.value(s.id) != nil {
					t.Errorf("near: %d, in the store: %q", c.Stats().NearSessions, store.value(s.id))
				}
				st := c.Stats()
				if st.Puts != test.want || int(st.Calls.Delete) != test.deletes || store.count("Delete") != test.deletes {
					t.Errorf("%+v, %d deletions", st.Puts, st.Calls.Delete)
				}
				addsUp(t, st)
				if len(c.puts.ids) != 0 {
					t.Errorf("left behind: %v", c.puts.ids)
				}
			})
		})
	}
}

// removingSession is removed while it is encoded, just after OpenSSL said that
// it may be.
type removingSession struct {
	*fakeSession
	remove func()
}

func (s removingSession) MarshalBinary() ([]byte, error) {
	der, err := s.fakeSession.MarshalBinary()
	s.remove()
	return der, err
}

func TestRemovedWhileItIsEncoded(t *testing.T) {
	for _, behind := range []int{0, 5} {
		store := newFakeStore()
		c := newTestCache(t, store, CacheOptions{NearBytes: 1 << 20, WriteBehind: behind})
		s := numbered(1)
		c.NewSession(t.Context(), tls12, removingSession{s, func() {
			c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
			if behind > 0 {
				eventually(t, "the deletion is done", func() bool { return c.Stats().QueuedRemovals == 0 })
			}
		}})
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lookups(t, c, s, 1) != 0 || store.value(s.id) != nil || len(c.puts.ids) != 0 {
			t.Errorf("behind %d: a removed session is found, or %q in the store", behind, store.value(s.id))
		}
	}
}

// TestPutsThatNeverBegin leave nothing behind.
func TestPutsThatNeverBegin(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error // of the encoding
		o    CacheOptions
		want PutStats
	}{
		{"removed before", ErrRemoved, CacheOptions{}, PutStats{Skipped: 1}},
		{"not encodable", errBroken, CacheOptions{}, PutStats{Error: 1}},
		{"the breaker is open", nil, CacheOptions{BreakerFailures: 1}, PutStats{Error: 1, BreakerOpen: 1}},
		{"no room", nil, CacheOptions{MaxCalls: 1}, PutStats{Timeout: 1, Busy: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore()
			c := newTestCache(t, store, test.o)
			switch {
			case test.want.BreakerOpen > 0:
				store.hook(func(context.Context, string) error { return errBroken })
				c.NewSession(t.Context(), tls12, numbered(0))
			case test.want.Busy > 0:
				defer synctest.Wait()
				defer hang(store)()
				c.NewSession(t.Context(), tls12, numbered(0))
			}
			s := numbered(1)
			s.err = test.err
			c.NewSession(t.Context(), tls12, s)
			if got := c.Stats().Puts; got != test.want {
				t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
			}
			if c.puts.ids[string(s.id)] != nil {
				t.Errorf("%s: left behind: %v", test.name, c.puts.ids)
			}
		})
	}
}

// TestPutsOfOneID: each is told of a removal that came while it was under way.
func TestPutsOfOneID(t *testing.T) {
	p, key := puts{}, Key{[]byte("id")}
	first := p.begin(key)
	second := p.begin(key)
	p.remove(key)
	third := p.begin(key)
	for _, end := range []struct {
		one  *putting
		want bool
	}{{second, true}, {second, true}, {third, false}, {first, true}} {
		if got := p.end(key, end.one); got != end.want || p.removed(end.one) != end.want {
			t.Errorf("removed: %v, want %v", got, end.want)
		}
	}
	if len(p.ids) != 0 {
		t.Errorf("left behind: %v", p.ids)
	}
}

// TestPutOutlivesItsConnection: the client has its session and leaves while
// the store takes its time.
func TestPutOutlivesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		var left atomic.Int64
		store.hook(func(ctx context.Context, _ string) error {
			end, _ := ctx.Deadline()
			left.Store(int64(time.Until(end)))
			time.Sleep(500 * time.Millisecond)
			return ctx.Err()
		})
		c := newTestCache(t, store, CacheOptions{PutTimeout: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond) // another end of a connection
		defer cancel()
		start := time.Now()
		c.NewSession(ctx, tls12, numbered(1))
		before, leaveBefore := context.WithCancel(t.Context())
		leaveBefore()
		c.NewSession(before, tls12, numbered(3)) // waits for nothing
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, leave)
		c.NewSession(gone, tls12, numbered(2))
		if d := time.Since(start); d != 500*time.Millisecond || time.Duration(left.Load()) != time.Second {
			t.Errorf("waited %v; the store had %v", d, time.Duration(left.Load()))
		}
		time.Sleep(time.Second)
		checkStats(t, c, Stats{Puts: PutStats{Canceled: 2, Timeout: 1}})
		if len(store.values) != 3 {
			t.Error("a session went with its connection")
		}
		if s := c.Stats().Breakers.Put; s != (BreakerStats{}) {
			t.Errorf("%+v", s)
		}
	})
}
