package sessioncb

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A breakerTest drives the four kinds of call by name.
type breakerTest struct {
	*testing.T
	store *fakeStore
	c     *Cache
	n     int
}

func newBreakerTest(t *testing.T, o CacheOptions) *breakerTest {
	b := &breakerTest{T: t, store: newFakeStore()}
	o.SingleUse = true
	b.c = newTestCache(t, claimingStore{b.store}, o)
	return b
}

// do makes one call of the kind, for an id of its own.
func (b *breakerTest) do(ctx context.Context, kind string) {
	b.n++
	s := testSession()
	s.id = fmt.Append(nil, b.n)
	switch kind {
	case "get":
		b.c.GetSession(ctx, &fakeConn{version: 0x0303}, s.id)
	case "claim":
		b.c.GetSession(ctx, server, s.id)
	case "put":
		b.c.NewSession(ctx, server, s)
	case "delete":
		b.c.RemoveSession(ctx, s, Removal{Reason: Explicit})
	}
}

func (b *breakerTest) breaker(kind string) BreakerStats {
	s := b.c.Stats().Breakers
	return map[string]BreakerStats{"get": s.Get, "claim": s.Claim, "put": s.Put, "delete": s.Delete}[kind]
}

var kinds = []string{"get", "claim", "put", "delete"}

func (b *breakerTest) calls() (n int) {
	for _, m := range []string{"Get", "Claim", "Put", "Delete"} {
		n += b.store.count(m)
	}
	return n
}

// TestBreaker takes each kind through a life: failing, open, probed in vain,
// probed, closed.
func TestBreaker(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, lines := logOf()
				b := newBreakerTest(t, CacheOptions{Logger: log, Now: time.Now})
				expect := func(when string, calls int, want BreakerStats) {
					t.Helper()
					if got := b.breaker(kind); got != want {
						t.Errorf("%s: %+v, want %+v", when, got, want)
					}
					if got := b.calls(); got != calls {
						t.Errorf("%s: %d calls of the store, want %d", when, got, calls)
					}
				}
				b.store.before = func(context.Context, string) error { return errBroken }
				for range DefaultBreakerFailures - 1 {
					b.do(t.Context(), kind)
				}
				expect("one less than it takes", 7, BreakerStats{})
				b.do(t.Context(), kind)
				expect("open", 8, BreakerStats{State: BreakerOpen, Opened: 1})
				for range 10 {
					b.do(t.Context(), kind)
				}
				expect("no call", 8, BreakerStats{State: BreakerOpen, Opened: 1})
				for _, other := range kinds {
					if s := b.breaker(other); other != kind && s != (BreakerStats{}) {
						t.Errorf("the breaker for %s: %+v", other, s)
					}
				}
				time.Sleep(DefaultBreakerPause + 1)
				expect("after the pause", 8, BreakerStats{State: BreakerHalfOpen, Opened: 1})
				b.do(t.Context(), kind)
				b.do(t.Context(), kind)
				expect("a probe in vain", 9, BreakerStats{State: BreakerOpen, Opened: 1, FailedProbes: 1})
				time.Sleep(DefaultBreakerPause + 1)
				b.store.before = nil
				b.do(t.Context(), kind)
				expect("a probe that works", 10, BreakerStats{Opened: 1, FailedProbes: 1})
				b.do(t.Context(), kind)
				expect("closed", 11, BreakerStats{Opened: 1, FailedProbes: 1})

				about := map[string]string{"get": "lookups", "claim": "lookups", "put": "writes", "delete": "writes"}[kind]
				if diff := cmp.Diff([]string{
					`level=WARN msg="sessioncb: session store ` + about + ` fail"`,
					`level=WARN msg="sessioncb: circuit breaker open: the session store is not used"`,
					`level=INFO msg="sessioncb: circuit breaker closed: the session store is used again"`,
				}, lines()); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestBreakerOutcomes: what a breaker refuses is counted so, and each goes on
// as if nothing were there.
func TestBreakerOutcomes(t *testing.T) {
	b := newBreakerTest(t, CacheOptions{BreakerFailures: 1, BreakerPause: time.Hour, MissTTL: -1})
	b.store.before = func(context.Context, string) error { return errBroken }
	for _, kind := range kinds {
		b.do(t.Context(), kind)
		b.do(t.Context(), kind)
	}
	checkStats(t, b.c, Stats{
		Lookups:  LookupStats{Error: 2, BreakerOpen: 2},
		Puts:     PutStats{Error: 1, BreakerOpen: 1},
		Removals: map[Reason]RemovalStats{Explicit: {Failed: 2}},
	})
	if diff := cmp.Diff(CallStats{1, 1, 1, 1}, b.c.Stats().Calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if _, err := b.c.GetSession(t.Context(), server, []byte("id")); !errors.Is(err, ErrBreakerOpen) {
		t.Errorf("%v", err)
	}
}

// TestWhatBreakers count: only what says that the store fails.
func TestWhatBreakersCount(t *testing.T) {
	for _, test := range []struct {
		name  string
		kinds []string
		err   error
		opens bool
	}{
		{"an error", kinds, errBroken, true},
		{"a timeout", kinds, context.DeadlineExceeded, true},
		{"nothing there", []string{"get", "claim", "delete"}, ErrNotFound, false},
		{"nothing there, of a Put", []string{"put"}, ErrNotFound, true},
	} {
		for _, kind := range test.kinds {
			b := newBreakerTest(t, CacheOptions{BreakerFailures: 3, MissTTL: -1})
			b.store.before = func(context.Context, string) error { return test.err }
			for range 3 {
				b.do(t.Context(), kind)
			}
			if got := b.breaker(kind).State == BreakerOpen; got != test.opens {
				t.Errorf("%s, %s: open is %v, want %v", test.name, kind, got, test.opens)
			}
		}
	}
}

func TestSuccessBeginsTheCountAnew(t *testing.T) {
	b := newBreakerTest(t, CacheOptions{BreakerFailures: 3})
	for i := range 30 {
		b.store.before = func(context.Context, string) error { return errBroken }
		if i%3 == 2 {
			b.store.before = nil
		}
		b.do(t.Context(), "get")
	}
	if s := b.breaker("get"); s != (BreakerStats{}) || b.calls() != 30 {
		t.Errorf("%+v, %d calls", s, b.calls())
	}
}

// TestPanicsOpenTheBreaker, and so do stores that hang.
func TestPanicsAndHangsOpenTheBreaker(t *testing.T) {
	for _, kind := range kinds {
		b := newBreakerTest(t, CacheOptions{BreakerFailures: 3})
		b.store.before = func(context.Context, string) error { panic("oops") }
		for range 5 {
			b.do(t.Context(), kind)
		}
		if b.breaker(kind).State != BreakerOpen || b.calls() != 3 {
			t.Errorf("panics, %s: %+v, %d calls", kind, b.breaker(kind), b.calls())
		}

		synctest.Test(t, func(t *testing.T) {
			b := newBreakerTest(t, CacheOptions{BreakerFailures: 3})
			release := hang(b.store)
			for range 5 {
				b.do(t.Context(), kind)
			}
			if b.breaker(kind).State != BreakerOpen || b.calls() != 3 {
				t.Errorf("hangs, %s: %+v, %d calls", kind, b.breaker(kind), b.calls())
			}
			release()
		})
	}
}

// TestConnectionsOpenNoBreaker: neither connections that end nor a burst of
// more calls than MaxCalls say that the store is down.
func TestConnectionsOpenNoBreaker(t *testing.T) {
	for _, kind := range []string{"claim", "put"} { // the calls of the others are nobody's alone
		b := newBreakerTest(t, CacheOptions{BreakerFailures: 1})
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			b.store.before = func(ctx context.Context, _ string) error {
				cancel()
				return errBroken
			}
			b.do(ctx, kind)
		}
		if s := b.breaker(kind); s.State != BreakerClosed || b.calls() != 5 {
			t.Errorf("canceled, %s: %+v, %d calls", kind, s, b.calls())
		}
	}

	synctest.Test(t, func(t *testing.T) {
		b := newBreakerTest(t, CacheOptions{BreakerFailures: 1, MaxCalls: 1, MissTTL: -1})
		release := hang(b.store)
		go b.do(t.Context(), "get")
		synctest.Wait()
		for range 5 {
			b.do(t.Context(), "claim")
		}
		if s := b.c.Stats(); s.Lookups.Busy != 5 || s.Breakers.Get != (BreakerStats{}) || s.Breakers.Claim != (BreakerStats{}) {
			t.Errorf("busy: %+v", s)
		}
		release()
	})
}

// TestOneProbeAtATime: while a probe is under way nobody else calls, and a
// probe whose connection ends leaves its place to the next.
func TestOneProbeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreakerTest(t, CacheOptions{BreakerFailures: 1})
		b.store.hook(func(context.Context, string) error { return errBroken })
		b.do(t.Context(), "claim")
		time.Sleep(DefaultBreakerPause + 1)
		ctx, cancel := context.WithCancel(t.Context())
		b.store.hook(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		go b.do(ctx, "claim")
		synctest.Wait()
		for range 5 {
			b.do(t.Context(), "claim")
		}
		if b.calls() != 2 || b.c.Stats().Lookups.BreakerOpen != 5 {
			t.Errorf("%d calls, %+v", b.calls(), b.c.Stats().Lookups)
		}
		cancel()
		synctest.Wait()
		b.store.hook(nil)
		b.do(t.Context(), "claim")
		if s := b.breaker("claim"); s.State != BreakerClosed || b.calls() != 3 {
			t.Errorf("%+v, %d calls", s, b.calls())
		}
	})
}

func TestNoBreaker(t *testing.T) {
	b := newBreakerTest(t, CacheOptions{BreakerFailures: -1})
	b.store.before = func(context.Context, string) error { return errBroken }
	for range 100 {
		b.do(t.Context(), "get")
	}
	if s := b.breaker("get"); s != (BreakerStats{}) || b.calls() != 100 {
		t.Errorf("%+v, %d calls", s, b.calls())
	}
}

// TestLoggerThatAsks: a logger may call the Cache.
func TestLoggerThatAsks(t *testing.T) {
	asking := new(askingHandler)
	b := newBreakerTest(t, CacheOptions{BreakerFailures: 1, Logger: asking.logger()})
	asking.c = b.c
	b.store.before = func(context.Context, string) error { return errBroken }
	for _, kind := range kinds {
		b.do(t.Context(), kind)
	}
	if asking.n < 4 {
		t.Errorf("the logger was called %d times", asking.n)
	}
}

func TestBreakerStateNames(t *testing.T) {
	if got := fmt.Sprint(BreakerClosed, BreakerHalfOpen, BreakerOpen, BreakerState(9)); got != "closed half-open open closed" {
		t.Error(got)
	}
}
