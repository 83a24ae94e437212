package memstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
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

func key(id string) sessioncb.Key { return sessioncb.Key{ID: []byte(id)} }

func put(t testing.TB, s *Store, id string, n int, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), key(id), make([]byte, n), ttl); err != nil {
		t.Fatalf("Put %s: %v", id, err)
	}
}

func TestBytesAreBounded(t *testing.T) {
	s := open(t, Options{MaxBytes: 4 << 10})
	const overhead = 192 // as Options says
	const cost = 1 + 1000 + overhead
	for i, id := range []string{"a", "b", "c"} {
		put(t, s, id, 1000, time.Hour)
		if got, want := s.Bytes(), int64((i+1)*cost); got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
	}
	put(t, s, "d", 2000, time.Hour) // takes the place of two
	if s.Len() != 2 {
		t.Errorf("%d sessions, want 2", s.Len())
	}
	if err := s.Put(t.Context(), key("c"), make([]byte, 4<<10), time.Hour); !errors.Is(err, errTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if s.Len() != 1 {
		t.Errorf("after a value that is too large there are %d sessions, want d alone", s.Len())
	}
	s.Delete(t.Context(), key("d"))
	if s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("empty, but %d entries with %d bytes", s.Len(), s.Bytes())
	}
}

func TestSessionsExpire(t *testing.T) {
	s := open(t, Options{MaxEntries: 3})
	now := time.Unix(1_750_000_000, 0)
	s.now = func() time.Time { return now }
	put(t, s, "a", 10, time.Minute)
	now = now.Add(time.Minute)
	if _, err := s.Get(t.Context(), key("a")); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("at the end of its lifetime: %v", err)
	}
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
