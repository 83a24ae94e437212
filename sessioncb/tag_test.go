package sessioncb

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"
)

func tagged(t testing.TB, keys ...[]byte) *Cache {
	return newTestCache(t, newFakeStore(), CacheOptions{Keys: mustRing(t, keys...), TagIDs: true})
}

func mustMint(t testing.TB, c *Cache) []byte {
	t.Helper()
	id, ok := c.NewSessionID()
	if !ok {
		t.Fatal("no id")
	}
	return id[:]
}

// TestTagFormat holds the tag to bytes that another implementation of HKDF and
// HMAC gave: fleets of different builds share a store.
func TestTagFormat(t *testing.T) {
	key, err := newRingKey(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	tag := key.tagger.tag(make([]byte, tagStart))
	if got, want := hex.EncodeToString(tag[:]), "bbca87c6c962ae8a"; got != want {
		t.Errorf("the tag of 24 zeros is %s, want %s", got, want)
	}
}

func TestMintedIDs(t *testing.T) {
	c := tagged(t, testKey(1))
	seen := map[string]bool{}
	for range 1000 {
		id := mustMint(t, c)
		if !c.tags.has(id) {
			t.Fatalf("%x has no tag", id)
		}
		if seen[string(id)] {
			t.Fatalf("%x twice", id)
		}
		seen[string(id)] = true
	}
	if id, ok := newTestCache(t, newFakeStore(), CacheOptions{}).NewSessionID(); ok || id != [32]byte{} {
		t.Errorf("without TagIDs: %x, %v", id, ok)
	}
}

// TestJunk: what bears no tag under a key of the ring costs the store nothing.
func TestJunk(t *testing.T) {
	const young, old, gone = 1, 2, 3
	ring := [][]byte{testKey(young), testKey(old)}
	good := mustMint(t, tagged(t, ring...))
	flip := func(i int) []byte {
		id := bytes.Clone(good)
		id[i] ^= 1
		return id
	}
	for _, test := range []struct {
		name string
		id   []byte
		junk bool
	}{
		{"minted here", good, false},
		{"under the older key", mustMint(t, tagged(t, testKey(old))), false},
		{"under a key that is gone", mustMint(t, tagged(t, testKey(gone))), true},
		{"first bit", flip(0), true},
		{"last random bit", flip(tagStart - 1), true},
		{"first bit of the tag", flip(tagStart), true},
		{"last bit of the tag", flip(maxIDSize - 1), true},
		{"cut short", good[:31], true},
		{"the tag alone", good[tagStart:], true},
		{"zeros", make([]byte, 32), true},
		{"a value's key id in front", append(bytes.Clone(good[:24]), good[:8]...), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeStore()
			c := newTestCache(t, store, CacheOptions{Keys: mustRing(t, ring...), TagIDs: true, NearBytes: 1 << 20})
			s := testSession()
			s.id = test.id
			c.NewSession(t.Context(), server, s)
			hits := lookups(t, c, s, 1)
			c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
			want := Stats{
				Lookups: LookupStats{Hit: 1}, Puts: PutStats{Stored: 1},
				Removals: map[Reason]RemovalStats{Explicit: {Deleted: 1}},
			}
			calls := 2 // the lookup is near
			if test.junk {
				want = Stats{
					Lookups: LookupStats{Junk: 1}, Puts: PutStats{Untagged: 1},
					Removals: map[Reason]RemovalStats{Explicit: {Kept: 1}},
				}
				calls = 0
			}
			checkStats(t, c, want)
			if n := store.count("Get") + store.count("Put") + store.count("Delete"); n != calls || hits == 1 == test.junk {
				t.Errorf("%d calls, %d hits", n, hits)
			}
			if test.junk && (c.Stats().NearSessions != 0 || c.Stats().MissesRemembered != 0) {
				t.Error("junk is remembered")
			}
		})
	}
}

// TestTagsFollowTheRing: the newest key tags, all are known, as with seals.
func TestTagsFollowTheRing(t *testing.T) {
	ring := mustRing(t, testKey(1))
	c := newTestCache(t, newFakeStore(), CacheOptions{Keys: ring, TagIDs: true})
	a := mustMint(t, c)
	if err := ring.Rotate(testKey(2)); err != nil {
		t.Fatal(err)
	}
	b := mustMint(t, c)
	if !c.tags.has(a) || !c.tags.has(b) || tagged(t, testKey(1)).tags.has(b) || !tagged(t, testKey(2)).tags.has(b) {
		t.Error("after Rotate")
	}
	if err := ring.Replace(testKey(2)); err != nil {
		t.Fatal(err)
	}
	if c.tags.has(a) || !c.tags.has(b) {
		t.Error("after Replace")
	}
}

// TestJunkFlood: strangers' ids reach a store that would hang on each.
func TestJunkFlood(t *testing.T) {
	store := newFakeStore()
	store.before = func(context.Context, string) error { select {} }
	c := newTestCache(t, store, CacheOptions{TagIDs: true})
	for i := range 10_000 {
		id := [32]byte{byte(i), byte(i >> 8)}
		if a, err := c.GetSession(t.Context(), server, id[:]); a.Encoded() != nil || err != nil {
			t.Fatalf("%v, %v", a, err)
		}
	}
	checkStats(t, c, Stats{Lookups: LookupStats{Junk: 10_000}})
}

func BenchmarkMint(b *testing.B) {
	c := tagged(b, testKey(1))
	b.ReportAllocs()
	for b.Loop() {
		c.NewSessionID()
	}
}

func BenchmarkJunk(b *testing.B) {
	for _, test := range []struct {
		name string
		keys int
	}{{"1 key", 1}, {"3 keys", 3}, {"16 keys", 16}} {
		b.Run(test.name, func(b *testing.B) {
			var keys [][]byte
			for i := range test.keys {
				keys = append(keys, testKey(byte(i+1)))
			}
			c := tagged(b, keys...)
			id := make([]byte, 32)
			b.ReportAllocs()
			for b.Loop() {
				if c.tags.has(id) {
					b.Fatal("a tag")
				}
			}
		})
	}
}

func BenchmarkNearHit(b *testing.B) {
	c := newTestCache(b, newFakeStore(), CacheOptions{NearBytes: 64 << 20})
	s := testSession()
	s.der = append([]byte("0"), make([]byte, 500)...)
	c.NewSession(b.Context(), server, s)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.GetSession(b.Context(), server, s.id)
		}
	})
	if c.Stats().Calls.Get != 0 {
		b.Fatal("the store was asked")
	}
}

// BenchmarkStoreHit is the same from a store that is a map, with all that is
// between.
func BenchmarkStoreHit(b *testing.B) {
	c := newTestCache(b, newFakeStore(), CacheOptions{})
	s := testSession()
	s.der = append([]byte("0"), make([]byte, 500)...)
	c.NewSession(b.Context(), server, s)
	b.ReportAllocs()
	for b.Loop() {
		c.GetSession(b.Context(), server, s.id)
	}
}
