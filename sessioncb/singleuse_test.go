package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newClaiming makes a cache with SingleUse and all else that could get in its
// way.
func newClaiming(t *testing.T, store *fakeStore, o CacheOptions) *Cache {
	o.SingleUse, o.NearBytes, o.MissTTL = true, 1<<20, time.Hour
	return newTestCache(t, claimingStore{store}, o)
}

// TestSingleUse: a session of TLS 1.3 is found once, by all servers together,
// always in the store; one of TLS 1.2 as often as it likes.
func TestSingleUse(t *testing.T) {
	for _, test := range []struct {
		version            uint16
		hits, gets, claims int
	}{
		{0x0304, 1, 0, 4},
		{0x0303, 4, 1, 0}, // the first server has it near, the second after asking
	} {
		store := newFakeStore()
		ring := mustRing(t, testKey(1))
		a, b := newClaiming(t, store, CacheOptions{Keys: ring}), newClaiming(t, store, CacheOptions{Keys: ring})
		s, conn := testSession(), &fakeConn{idContext: []byte("host A"), version: test.version}
		s.version = test.version
		a.NewSession(t.Context(), conn, s)
		if got := a.Stats().NearSessions == 1; got != (test.version == 0x0303) {
			t.Errorf("%x: near is %v", test.version, got)
		}
		hits := 0
		for _, c := range []*Cache{a, b, a, b} {
			answer, err := c.GetSession(t.Context(), conn, bytes.Clone(s.id))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(answer.Encoded(), s.der) {
				hits++
			}
		}
		if hits != test.hits || store.count("Get") != test.gets || store.count("Claim") != test.claims {
			t.Errorf("%x: %d hits, %d gets, %d claims; want %+v", test.version, hits, store.count("Get"), store.count("Claim"), test)
		}
		sum := a.Stats().Claimed + b.Stats().Claimed
		if a.SingleUse() != true || sum != uint64(min(test.claims, 1)) {
			t.Errorf("%x: %d claimed", test.version, sum)
		}
	}
}

// TestClaimIsExclusive: a crowd offers one ticket to several servers at once.
func TestClaimIsExclusive(t *testing.T) {
	store := newFakeStore()
	ring := mustRing(t, testKey(1))
	var servers []*Cache
	for range 3 {
		servers = append(servers, newClaiming(t, store, CacheOptions{Keys: ring, WriteBehind: 100}))
	}
	for round := range 20 {
		s := testSession()
		s.id = fmt.Append(nil, round)
		servers[round%3].NewSession(t.Context(), server, s)
		var wg sync.WaitGroup
		hits := make(chan bool, 30)
		for i := range cap(hits) {
			wg.Go(func() {
				if a, _ := servers[i%3].GetSession(t.Context(), server, bytes.Clone(s.id)); a.Encoded() != nil {
					hits <- true
				}
			})
		}
		wg.Wait()
		if len(hits) != 1 {
			t.Fatalf("%d hits of one ticket", len(hits))
		}
	}
	for _, c := range servers {
		addsUp(t, c.Stats())
	}
}

// TestSingleUseAwaitsWrites: a session that is only found in the store must be
// there before the client has its ticket, whatever WriteBehind says; and its
// removal is done when RemoveSession returns.
func TestSingleUseAwaitsWrites(t *testing.T) {
	for _, test := range []struct {
		version uint16
		queued  int64
	}{{0x0304, 0}, {0x0303, 1}} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore()
			release := gated(store)
			c := newClaiming(t, store, CacheOptions{WriteBehind: 10})
			s := testSession()
			s.version = test.version
			for _, act := range []func(){
				func() { c.NewSession(t.Context(), server, s) },
				func() { c.RemoveSession(t.Context(), s, Removal{Reason: Explicit}) },
			} {
				done := false
				go func() { act(); done = true }()
				synctest.Wait()
				if queued := test.queued == 1; done != queued {
					t.Errorf("%x: returned before the store did: %v", test.version, done)
				}
			}
			release()
			synctest.Wait()
			addsUp(t, c.Stats())
		})
	}
}

// TestClaimedAndBad: what is wrong with a claimed session is counted under its
// name, and it is gone.
func TestClaimedAndBad(t *testing.T) {
	s := testSession()
	sealed := func(key byte, context string, expires time.Time) []byte {
		return mustSeal(t, testKey(key), s.id, Record{DER: bytes.Clone(s.der), IDContext: []byte(context), Expires: expires})
	}
	later := cacheTime.Add(time.Hour)
	for _, test := range []struct {
		name  string
		value []byte
		want  LookupStats
	}{
		{"good", sealed(1, "host A", later), LookupStats{Hit: 1}},
		{"expired", sealed(1, "host A", cacheTime.Add(-time.Hour)), LookupStats{Expired: 1}},
		{"other context", sealed(1, "host B", later), LookupStats{OtherContext: 1}},
		{"other key", sealed(2, "host A", later), LookupStats{OtherKey: 1}},
		{"garbage", []byte("garbage"), LookupStats{OtherFormat: 1}},
		{"damaged", sealed(1, "host A", later)[:100], LookupStats{Damaged: 1}},
		{"too large", make([]byte, DefaultMaxValue+1), LookupStats{TooLarge: 1}},
	} {
		store := newFakeStore()
		store.values[string(s.id)] = test.value
		c := newClaiming(t, store, CacheOptions{Keys: mustRing(t, testKey(1))})
		lookups(t, c, s, 1)
		checkStats(t, c, Stats{Lookups: test.want})
		if st := c.Stats(); st.Claimed != 1 || st.NearSessions != 0 || store.value(s.id) != nil {
			t.Errorf("%s: %d claimed, %d near, in the store %q", test.name, st.Claimed, st.NearSessions, store.value(s.id))
		}
		if lookups(t, c, s, 1) != 0 || c.Stats().Lookups.Miss != 1 {
			t.Errorf("%s: there a second time", test.name)
		}
	}
}

// TestClaimFails: as a lookup fails, and not twice in the store.
func TestClaimFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(context.Context, string) error
		want   LookupStats
		err    error
	}{
		{"not there", nil, LookupStats{Miss: 1}, nil},
		{"error", func(context.Context, string) error { return errBroken }, LookupStats{Error: 1}, errBroken},
		{"panic", func(context.Context, string) error { panic("oops") }, LookupStats{Error: 1}, errPanic},
		{"timeout", func(context.Context, string) error { return context.DeadlineExceeded }, LookupStats{Timeout: 1}, context.DeadlineExceeded},
	} {
		store := newFakeStore()
		store.before = test.before
		c := newClaiming(t, store, CacheOptions{})
		_, err := c.GetSession(t.Context(), server, []byte("id"))
		checkError(t, err, test.err)
		checkStats(t, c, Stats{Lookups: test.want})
		if c.Stats().Claimed != 0 || store.count("Claim") != 1 || store.count("Get") != 0 {
			t.Errorf("%s: %d claimed, %v", test.name, c.Stats().Claimed, store.calls)
		}
	}
}

// TestLostClaim: the store answers after the deadline. The session is gone and
// counted as claimed.
func TestLostClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := newFakeStore(), testSession()
		c := newClaiming(t, store, CacheOptions{LookupTimeout: 50 * time.Millisecond})
		c.NewSession(t.Context(), server, s)
		store.hook(func(context.Context, string) error { time.Sleep(time.Second); return nil })
		start := time.Now()
		if _, err := c.GetSession(t.Context(), server, s.id); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.Sleep(time.Second)
		store.hook(nil)
		if lookups(t, c, s, 1) != 0 || c.Stats().Claimed != 1 {
			t.Errorf("%+v", c.Stats())
		}
	})
}

// TestClaimsAreNotShared: each has a call of its own, and ends with its
// connection.
func TestClaimsAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.hook(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		c := newClaiming(t, store, CacheOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { c.GetSession(ctx, server, []byte("id")) })
		}
		synctest.Wait()
		if s := c.Stats(); s.LookupsInside != 5 || s.IDsWaiting != 0 {
			t.Errorf("%d inside, %d ids", s.LookupsInside, s.IDsWaiting)
		}
		cancel()
		wg.Wait()
		synctest.Wait()
		checkStats(t, c, Stats{Lookups: LookupStats{Canceled: 5}})
	})
}

// TestUnknownVersionIsClaimed: what may be TLS 1.3 is used once.
func TestUnknownVersionIsClaimed(t *testing.T) {
	c := newClaiming(t, newFakeStore(), CacheOptions{})
	for version, want := range map[uint16]bool{0: true, 0x0304: true, 0x0303: false} {
		if c.once(version) != want {
			t.Errorf("version %x", version)
		}
	}
}
