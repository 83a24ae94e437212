package lru

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var t0 = time.Unix(1_750_000_000, 0)

// open makes a cache whose invariants are checked when the test ends.
func open(t testing.TB, maxBytes int64, maxEntries int) *Cache[[]byte] {
	t.Helper()
	s := Bytes(maxBytes, maxEntries)
	t.Cleanup(func() { s.check(t) })
	return s
}

// check holds the structures of each shard against each other and the bounds.
func (s *Cache[V]) check(t testing.TB) {
	t.Helper()
	for i := range s.shards {
		h := &s.shards[i]
		h.mu.Lock()
		var cost int64
		for key, e := range h.byKey {
			cost += e.cost
			if e.key != key || h.expiry[e.index] != e || e.used.Value != e {
				t.Errorf("shard %d: entry %q is not where it says", i, key)
			}
		}
		for j := 1; j < len(h.expiry); j++ {
			if h.expiry.Less(j, (j-1)/2) {
				t.Errorf("shard %d: heap out of order at %d", i, j)
			}
		}
		if h.used.Len() != len(h.byKey) || len(h.expiry) != len(h.byKey) || h.bytes != cost {
			t.Errorf("shard %d: %d by key, %d used, %d in the heap, %d bytes of %d", i, len(h.byKey), h.used.Len(), len(h.expiry), h.bytes, cost)
		}
		if cost > h.maxBytes || len(h.byKey) > h.maxEntries {
			t.Errorf("shard %d: %d bytes of %d, %d entries of %d", i, cost, h.maxBytes, len(h.byKey), h.maxEntries)
		}
		h.mu.Unlock()
	}
}

func TestShards(t *testing.T) {
	for _, test := range []struct {
		bytes   int64
		entries int
		want    int
	}{
		{64 << 20, 100_000, 64},
		{64 << 20, 3, 1},
		{1 << 20, 100_000, 2},
		{1 << 30, 1000, 4},
		{4 << 10, math.MaxInt, 1},
		{math.MaxInt64, math.MaxInt, 64},
	} {
		if s := open(t, test.bytes, test.entries); len(s.shards) != test.want {
			t.Errorf("%d bytes, %d entries: %d shards, want %d", test.bytes, test.entries, len(s.shards), test.want)
		}
	}
}

func mustPut(t testing.TB, c *Cache[[]byte], key string, n int, now time.Time, ttl time.Duration) {
	t.Helper()
	if !c.Put([]byte(key), make([]byte, n), now, now.Add(ttl)) {
		t.Fatalf("Put %s: does not fit", key)
	}
}

// keys tells which of these are there, without using them.
func (c *Cache[V]) keys(candidates string) (there string) {
	for _, k := range candidates {
		if c.of([]byte(string(k))).byKey[string(k)] != nil {
			there += string(k)
		}
	}
	return there
}

func (c *Cache[V]) expect(t *testing.T, when, candidates, want string) {
	t.Helper()
	if got := c.keys(candidates); got != want {
		t.Errorf("%s: there are %s, want %s", when, got, want)
	}
}

func TestLeastRecentlyUsedLeaves(t *testing.T) {
	c := open(t, 1<<20, 3)
	for _, key := range []string{"a", "b", "c"} {
		mustPut(t, c, key, 10, t0, time.Hour)
	}
	if _, there := c.Get([]byte("a"), t0); !there {
		t.Fatal("a is not there")
	}
	mustPut(t, c, "d", 10, t0, time.Hour)
	c.expect(t, "b was used least", "abcd", "acd")
	mustPut(t, c, "c", 10, t0, time.Hour) // replaces, evicts nothing, and counts as a use
	mustPut(t, c, "e", 10, t0, time.Hour)
	c.expect(t, "a was used least", "abcde", "cde")
}

func TestBytesAreBounded(t *testing.T) {
	c := open(t, 4<<10, 100)
	for i, key := range []string{"a", "b", "c"} {
		mustPut(t, c, key, 1000, t0, time.Hour)
		if _, got := c.Size(t0); got != int64((i+1)*(1+1000+Overhead)) {
			t.Errorf("%d bytes after %d values", got, i+1)
		}
	}
	mustPut(t, c, "d", 2000, t0, time.Hour)
	c.expect(t, "one in the place of two", "abcd", "cd")
	if c.Put([]byte("c"), make([]byte, 4<<10), t0, t0.Add(time.Hour)) {
		t.Error("more than a shard fits")
	}
	c.expect(t, "what does not fit removes", "abcd", "d")
	c.Delete([]byte("d"))
	c.Delete([]byte("d"))
	if n, bytes := c.Size(t0); n != 0 || bytes != 0 {
		t.Errorf("empty, but %d entries with %d bytes", n, bytes)
	}
}

// TestExpiredMakeRoom: what is over leaves before anything that is not.
func TestExpiredMakeRoom(t *testing.T) {
	c := open(t, 1<<20, 3)
	mustPut(t, c, "a", 10, t0, time.Hour)
	mustPut(t, c, "b", 10, t0, time.Minute)
	mustPut(t, c, "c", 10, t0, 2*time.Minute)
	now := t0.Add(time.Minute)
	if n, _ := c.Size(now); n != 2 {
		t.Errorf("Size %d, want 2", n)
	}
	now = now.Add(time.Minute)
	if _, there := c.Get([]byte("c"), now); there {
		t.Error("there at the end of its lifetime")
	}
	if _, there := c.Take([]byte("c"), now); there {
		t.Error("taken at the end of its lifetime")
	}
	mustPut(t, c, "d", 10, now, time.Hour)
	mustPut(t, c, "e", 10, now, time.Hour)
	c.expect(t, "a is not over", "abcde", "ade")
	mustPut(t, c, "a", 10, now, 0)
	c.expect(t, "what is over at once removes", "abcde", "de")
}

// TestTakeIsExclusive: of many takers one gets the value.
func TestTakeIsExclusive(t *testing.T) {
	c := open(t, 1<<20, 100)
	mustPut(t, c, "a", 10, t0, time.Hour)
	var wg sync.WaitGroup
	got := make(chan int, 8)
	for range cap(got) {
		wg.Go(func() {
			if v, there := c.Take([]byte("a"), t0); there {
				got <- len(v)
			}
		})
	}
	wg.Wait()
	if len(got) != 1 || <-got != 10 {
		t.Error("not exactly one got it")
	}
}

// TestPutIf: the condition is asked under the lock, so that a Delete between
// question and Put is not possible.
func TestPutIf(t *testing.T) {
	c := open(t, 1<<20, 100)
	c.PutIf([]byte("a"), []byte("1"), t0, t0.Add(time.Hour), func() bool { return false })
	c.expect(t, "not allowed", "a", "")
	c.PutIf([]byte("a"), []byte("1"), t0, t0.Add(time.Hour), func() bool {
		if c.of([]byte("a")).mu.TryLock() {
			t.Error("asked without the lock")
		}
		return true
	})
	c.expect(t, "allowed", "a", "a")
	c.PutIf([]byte("a"), []byte("2"), t0, t0.Add(time.Hour), func() bool { return false })
	if v, _ := c.Get([]byte("a"), t0); string(v) != "1" {
		t.Errorf("not allowed, and the value is %q", v)
	}
}

// TestCopies: neither what came in nor what went out is the cache's own.
func TestCopies(t *testing.T) {
	c := open(t, 1<<20, 100)
	v := []byte("value")
	c.Put([]byte("a"), v, t0, t0.Add(time.Hour))
	clear(v)
	got, _ := c.Get([]byte("a"), t0)
	clear(got)
	if got, _ = c.Take([]byte("a"), t0); string(got) != "value" {
		t.Errorf("%q", got)
	}
}

// TestManyInsertsStayBounded has many more entries than fit, from several
// goroutines, with lifetimes that end meanwhile.
func TestManyInsertsStayBounded(t *testing.T) {
	const maxBytes, maxEntries = 8 << 20, 20_000
	c := open(t, maxBytes, maxEntries)
	const goroutines, each = 4, 25_000
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			key := make([]byte, 16)
			value := make([]byte, 300)
			for i := range each {
				binary.BigEndian.PutUint64(key, uint64(g*each+i))
				now := time.Now()
				ttl := time.Duration(rand.IntN(int(20 * time.Millisecond)))
				if !c.Put(key, value[:rand.IntN(300)], now, now.Add(ttl)) {
					t.Error("does not fit")
					return
				}
				if i%1000 == 0 {
					if n, bytes := c.Size(now); n > maxEntries || bytes > maxBytes {
						t.Errorf("%d entries, %d bytes", n, bytes)
					}
				}
			}
		})
	}
	wg.Wait()
	if n, bytes := c.Size(time.Now().Add(time.Minute)); n != 0 || bytes != 0 {
		t.Errorf("all expired, but %d entries with %d bytes", n, bytes)
	}
}

// TestDrop: each value that leaves is dropped once, without a lock held, and by
// the time that the call which made it leave returns; what Take gives out is not.
func TestDrop(t *testing.T) {
	var c *Cache[string]
	dropped := ""
	c = New(1<<20, 2, Kind[string]{
		Size: func(string) int { return 0 },
		Copy: func(v string) string { return v },
		Drop: func(v string) {
			dropped += v
			c.Get([]byte("any"), t0) // a lock that is held would not let it in
		},
	})
	put := func(v string, now time.Time, ttl time.Duration) {
		t.Helper()
		if !c.PutIf([]byte(v[:1]), v, now, now.Add(ttl), func() bool { return true }) {
			t.Fatalf("%s is not in", v)
		}
	}
	want := func(when, v string) {
		t.Helper()
		if dropped != v {
			t.Errorf("%s: dropped %q, want %q", when, dropped, v)
		}
		dropped = ""
	}
	put("a1", t0, time.Hour)
	put("b1", t0, time.Minute)
	want("two fit", "")
	put("a2", t0, time.Hour)
	want("replaced", "a1")
	put("c1", t0, time.Minute)
	want("evicted", "b1")
	now := t0.Add(time.Minute)
	c.Get([]byte("c"), now)
	want("met when it was over", "c1")
	put("d1", t0, time.Minute)
	c.Size(now)
	want("counted when it was over", "d1")
	put("e1", t0, time.Minute)
	if _, there := c.Take([]byte("e"), now); there {
		t.Error("taken at the end of its lifetime")
	}
	want("taken when it was over", "e1")
	if v, there := c.Take([]byte("a"), now); v != "a2" || !there {
		t.Errorf("Take: %q, %v", v, there)
	}
	want("taken", "")
	put("f1", now, time.Hour)
	put("g1", now, time.Hour)
	if c.PutIf([]byte("f"), "f2", now, now, func() bool { return true }) {
		t.Error("what is over at once is in")
	}
	want("removed by what is over at once", "f1")
	if c.PutIf([]byte("g"), "g2", now, now.Add(time.Hour), func() bool { return false }) {
		t.Error("what is not allowed is in")
	}
	c.Delete([]byte("g"))
	want("deleted", "g1")
	put("h1", now, time.Hour)
	put("i1", now, time.Minute)
	c.Clear()
	if n, bytes := c.Size(now); n != 0 || bytes != 0 || len(dropped) != 4 {
		t.Errorf("after Clear there are %d entries with %d bytes; dropped %q", n, bytes, dropped)
	}
}
