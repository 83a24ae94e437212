package memstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

// open makes a store whose invariants are checked when the test ends.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.check(t) })
	return s
}

// check holds the structures of each shard against each other and the bounds.
func (s *Store) check(t testing.TB) {
	t.Helper()
	for i := range s.shards {
		h := &s.shards[i]
		h.mu.Lock()
		var cost int64
		for id, e := range h.byID {
			cost += e.cost()
			if e.id != id || h.expiry[e.index] != e || e.used.Value != e {
				t.Errorf("shard %d: entry %q is not where it says", i, id)
			}
		}
		for j := 1; j < len(h.expiry); j++ {
			if h.expiry.Less(j, (j-1)/2) {
				t.Errorf("shard %d: heap out of order at %d", i, j)
			}
		}
		if h.used.Len() != len(h.byID) || len(h.expiry) != len(h.byID) || h.bytes != cost {
			t.Errorf("shard %d: %d by id, %d used, %d in the heap, %d bytes of %d", i, len(h.byID), h.used.Len(), len(h.expiry), h.bytes, cost)
		}
		if cost > h.maxBytes || len(h.byID) > h.maxEntries {
			t.Errorf("shard %d: %d bytes of %d, %d entries of %d", i, cost, h.maxBytes, len(h.byID), h.maxEntries)
		}
		h.mu.Unlock()
	}
}

func TestStore(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
	}{
		{"default", Options{}},
		{"one shard", Options{MaxBytes: 256 << 10, MaxEntries: 100}},
	} {
		t.Run(test.name, func(t *testing.T) {
			storetest.RunWith(t, storetest.Options{
				Open:        func(t *testing.T) sessioncb.Store { return open(t, test.o) },
				OpenAnother: func(_ *testing.T, s sessioncb.Store) sessioncb.Store { return s },
			})
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{MaxBytes: -1}, {MaxBytes: 4095}, {MaxEntries: -1}} {
		if s, err := New(o); s != nil || err == nil || !strings.HasPrefix(err.Error(), "memstore: Max") {
			t.Errorf("%+v: %v, %v", o, s, err)
		}
	}
}

func TestShards(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want int
	}{
		{Options{}, 64},
		{Options{MaxEntries: 3}, 1},
		{Options{MaxBytes: 1 << 20}, 2},
		{Options{MaxBytes: 1 << 30, MaxEntries: 1000}, 4},
	} {
		if s := open(t, test.o); len(s.shards) != test.want {
			t.Errorf("%+v: %d shards, want %d", test.o, len(s.shards), test.want)
		}
	}
}

func key(id string) sessioncb.Key { return sessioncb.Key{ID: []byte(id)} }

func put(t testing.TB, s *Store, id string, n int, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), key(id), make([]byte, n), ttl); err != nil {
		t.Fatalf("Put %s: %v", id, err)
	}
}

// ids tells which of these are there, without using them.
func (s *Store) ids(candidates string) (there string) {
	for _, c := range candidates {
		for i := range s.shards {
			if s.shards[i].byID[string(c)] != nil {
				there += string(c)
			}
		}
	}
	return there
}

func TestLeastRecentlyUsedLeaves(t *testing.T) {
	s := open(t, Options{MaxEntries: 3})
	for _, id := range []string{"a", "b", "c"} {
		put(t, s, id, 10, time.Hour)
	}
	if _, err := s.Get(t.Context(), key("a")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "d", 10, time.Hour)
	if got := s.ids("abcd"); got != "acd" {
		t.Errorf("there are %s, want acd", got)
	}
	put(t, s, "c", 10, time.Hour) // replaces, evicts nothing, and counts as a use
	put(t, s, "e", 10, time.Hour)
	if got := s.ids("abcde"); got != "cde" {
		t.Errorf("there are %s, want cde", got)
	}
}

func TestBytesAreBounded(t *testing.T) {
	s := open(t, Options{MaxBytes: 4 << 10})
	const cost = 1 + 1000 + entryOverhead
	for i, id := range []string{"a", "b", "c"} {
		put(t, s, id, 1000, time.Hour)
		if got, want := s.Bytes(), int64((i+1)*cost); got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
	}
	put(t, s, "d", 2000, time.Hour) // takes the place of two
	if got := s.ids("abcd"); got != "cd" {
		t.Errorf("there are %s, want cd", got)
	}
	if err := s.Put(t.Context(), key("c"), make([]byte, 4<<10), time.Hour); !errors.Is(err, errTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if got := s.ids("abcd"); got != "d" {
		t.Errorf("after a value that is too large there are %s, want d alone", got)
	}
	s.Delete(t.Context(), key("d"))
	if s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("empty, but %d entries with %d bytes", s.Len(), s.Bytes())
	}
}

// TestExpiredMakeRoom: what is over leaves before anything that is not.
func TestExpiredMakeRoom(t *testing.T) {
	s := open(t, Options{MaxEntries: 3})
	now := time.Unix(1_750_000_000, 0)
	s.now = func() time.Time { return now }
	put(t, s, "a", 10, time.Hour)
	put(t, s, "b", 10, time.Minute)
	put(t, s, "c", 10, 2*time.Minute)
	now = now.Add(time.Minute)
	if n := s.Len(); n != 2 {
		t.Errorf("Len %d, want 2", n)
	}
	now = now.Add(time.Minute)
	if _, err := s.Get(t.Context(), key("c")); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("at the end of its lifetime: %v", err)
	}
	put(t, s, "d", 10, time.Hour)
	put(t, s, "e", 10, time.Hour)
	if got := s.ids("abcde"); got != "ade" {
		t.Errorf("there are %s, want ade", got)
	}
}

// TestManyInsertsStayBounded has many more sessions than fit, from several
// goroutines, with lifetimes that end meanwhile.
func TestManyInsertsStayBounded(t *testing.T) {
	s := open(t, Options{MaxBytes: 8 << 20, MaxEntries: 20_000})
	const goroutines, each = 4, 25_000
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			id := make([]byte, 16)
			value := make([]byte, 300)
			for i := range each {
				binary.BigEndian.PutUint64(id, uint64(g*each+i))
				ttl := time.Duration(rand.IntN(int(20 * time.Millisecond)))
				if err := s.Put(t.Context(), sessioncb.Key{ID: id}, value[:rand.IntN(300)], ttl); err != nil {
					t.Error(err)
					return
				}
				if i%1000 == 0 && (s.Len() > 20_000 || s.Bytes() > 8<<20) {
					t.Errorf("%d entries, %d bytes", s.Len(), s.Bytes())
				}
			}
		})
	}
	wg.Wait()
	s.now = func() time.Time { return time.Now().Add(time.Minute) }
	if s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("all expired, but %d entries with %d bytes", s.Len(), s.Bytes())
	}
}

func BenchmarkPutGet(b *testing.B) {
	for _, size := range []int{200, 2000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, Options{})
			value := make([]byte, size)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				id := make([]byte, 32)
				for pb.Next() {
					binary.BigEndian.PutUint64(id, rand.Uint64())
					if err := s.Put(b.Context(), sessioncb.Key{ID: id}, value, time.Hour); err != nil {
						b.Error(err)
					}
					if _, err := s.Get(b.Context(), sessioncb.Key{ID: id}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
