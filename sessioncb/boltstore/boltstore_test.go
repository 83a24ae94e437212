package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

// testStore opens a store in a directory of its own, and when the test ends
// closes it and checks the file.
func testStore(t testing.TB, h hooks) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sessions.bolt")
	s, err := open(path, Options{}, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		checkFile(t, path)
	})
	return s
}

// checkFile holds the two buckets against each other, and lets bolt check
// the rest.
func checkFile(t testing.TB, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		sessions, expiry := tx.Bucket(bucketSessions), tx.Bucket(bucketExpiry)
		n := 0
		err := sessions.ForEach(func(id, v []byte) error {
			n++
			if k, _ := expiry.Cursor().Seek(record(v).indexKey(id)); !bytes.Equal(k, record(v).indexKey(id)) {
				t.Errorf("id %x has no place in the order of expiry", id)
			}
			return nil
		})
		if m := expiry.Stats().KeyN; m != n {
			t.Errorf("%d sessions, but %d expiries", n, m)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func key(id string) sessioncb.Key { return sessioncb.Key{ID: []byte(id)} }

func put(t testing.TB, s *Store, id, value string, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), key(id), []byte(value), ttl); err != nil {
		t.Fatalf("Put %s: %v", id, err)
	}
}

// contents is what ForEach tells, as "id=value".
func contents(t testing.TB, s *Store) (list []string) {
	t.Helper()
	err := s.ForEach(func(k sessioncb.Key, v []byte, _ time.Time) error {
		list = append(list, fmt.Sprintf("%s=%s", k.ID, v))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestStore: one process has the file, so the suite's clients are one.
func TestStore(t *testing.T) {
	storetest.RunWith(t, storetest.Options{
		Open:        func(t *testing.T) sessioncb.Store { return testStore(t, hooks{}) },
		OpenAnother: func(_ *testing.T, s sessioncb.Store) sessioncb.Store { return s },
		Hang: func(t *testing.T, s sessioncb.Store) (resume func()) {
			return holdWriter(t, s.(*Store)) // reads go on
		},
	})
}

func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "1", time.Hour)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, getErr := s.Get(t.Context(), key("a"))
	_, claimErr := s.Claim(t.Context(), key("a"))
	for _, err := range []error{
		getErr, claimErr,
		s.Put(t.Context(), key("a"), nil, time.Hour),
		s.Delete(t.Context(), key("a")),
		s.ForEach(func(sessioncb.Key, []byte, time.Time) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}

// clock is a time that tests move.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(1_750_000_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// kept counts sessions in the file, over or not.
func (s *Store) kept(t *testing.T) (n int) {
	t.Helper()
	err := s.view(func(tx *bolt.Tx) error {
		n = tx.Bucket(bucketSessions).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSweep: what is over is not seen, and leaves the file with later writes.
func TestSweep(t *testing.T) {
	c := newClock()
	s := testStore(t, hooks{now: c.now})
	const over = sweepExtra + 2 + 10
	for i := range over {
		put(t, s, fmt.Sprintf("over %d", i), "v", time.Minute+time.Duration(i)*time.Millisecond)
	}
	put(t, s, "stays", "v", time.Hour)
	put(t, s, "extended", "v", time.Minute)
	put(t, s, "extended", "w", time.Hour)
	c.advance(time.Minute - time.Millisecond)
	if n := len(contents(t, s)); n != over+2 {
		t.Errorf("a millisecond early: %d sessions, want %d", n, over+2)
	}
	c.advance(time.Second)
	if diff := cmp.Diff([]string{"extended=w", "stays=v"}, contents(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := s.kept(t); n != over+2 {
		t.Errorf("%d in the file before a write, want %d", n, over+2)
	}
	put(t, s, "next", "v", time.Hour)
	if n, want := s.kept(t), 10+3; n != want {
		t.Errorf("%d in the file after one write, want %d", n, want)
	}
	put(t, s, "next", "v", time.Hour)
	if n := s.kept(t); n != 3 {
		t.Errorf("%d in the file after two writes, want 3", n)
	}
}

// TestShortLifetimeIsNotNone: an expiry is kept in milliseconds, rounded up.
func TestShortLifetimeIsNotNone(t *testing.T) {
	c := newClock()
	s := testStore(t, hooks{now: c.now})
	put(t, s, "a", "1", 1)
	if _, err := s.Get(t.Context(), key("a")); err != nil {
		t.Errorf("before it is over: %v", err)
	}
	c.advance(time.Millisecond)
	if _, err := s.Get(t.Context(), key("a")); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("after: %v", err)
	}
}

// TestExpiredInTheQueue: a claim whose session is over by its commit fails,
// also when there was too much else to sweep.
func TestExpiredInTheQueue(t *testing.T) {
	c := newClock()
	var q queue
	s := testStore(t, hooks{now: c.now, queued: q.hook})
	const others = sweepExtra + 2
	for i := range others {
		put(t, s, fmt.Sprint(i), "v", time.Minute)
	}
	put(t, s, "claimed", "v", 2*time.Minute)
	release := holdWriter(t, s)
	defer release()
	result := make(chan error)
	go func() { _, err := s.Claim(t.Context(), key("claimed")); result <- err }()
	q.wait(t, others+2)
	c.advance(time.Hour)
	release()
	if err := <-result; !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// TestValuesAreCopies asks a file with pages of its own for the bucket: what
// Get returns is no part of the memory map, which cannot be written to.
func TestValuesAreCopies(t *testing.T) {
	s := testStore(t, hooks{})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { put(t, s, fmt.Sprint(i), strings.Repeat("v", 1000), time.Hour) })
	}
	wg.Wait()
	v, err := s.Get(t.Context(), key("7"))
	if err != nil {
		t.Fatal(err)
	}
	clear(v)
	v, err = s.Claim(t.Context(), key("7"))
	if err != nil || string(v) != strings.Repeat("v", 1000) {
		t.Fatalf("%d bytes, %v", len(v), err)
	}
	clear(v)
}

// TestOpenSweeps: a store that is only opened drops what is over.
func TestOpenSweeps(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "file")
	s, err := open(path, Options{}, hooks{now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "1", time.Minute)
	s.Close()
	c.advance(time.Hour)
	s, err = open(path, Options{}, hooks{now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "it is swept", func() bool { return s.kept(t) == 0 })
}

func TestForEach(t *testing.T) {
	s := testStore(t, hooks{})
	const n = 2*walkStep + 7
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { put(t, s, fmt.Sprintf("%05d", i), fmt.Sprint(i), time.Hour) })
	}
	wg.Wait()
	i := 0
	err := s.ForEach(func(k sessioncb.Key, v []byte, expires time.Time) error {
		if string(k.ID) != fmt.Sprintf("%05d", i) || string(v) != fmt.Sprint(i) {
			t.Fatalf("at %d: %s=%s", i, k.ID, v)
		}
		if left := time.Until(expires); left > time.Hour || left < 50*time.Minute {
			t.Fatalf("expires in %v", left)
		}
		if i%100 == 0 { // the walk holds nothing that a write waits for
			put(t, s, fmt.Sprintf("%05d", i), fmt.Sprint(i), time.Hour)
		}
		clear(v)
		clear(k.ID)
		i++
		return nil
	})
	if err != nil || i != n {
		t.Errorf("%d of %d sessions, %v", i, n, err)
	}
	stop := errors.New("stop")
	i = 0
	if err := s.ForEach(func(sessioncb.Key, []byte, time.Time) error { i++; return stop }); err != stop || i != 1 {
		t.Errorf("%d calls, %v", i, err)
	}
}

func TestBadArguments(t *testing.T) {
	s := testStore(t, hooks{})
	for _, k := range []sessioncb.Key{{}, {ID: make([]byte, 33)}} {
		if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err == nil || !strings.Contains(err.Error(), "an id has 1 to 32 bytes") {
			t.Errorf("Put with an id of %d bytes: %v", len(k.ID), err)
		}
		if _, err := s.Get(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("Get with an id of %d bytes: %v", len(k.ID), err)
		}
	}
	if err := s.Put(t.Context(), key("a"), make([]byte, maxValue+1), time.Hour); err == nil {
		t.Error("a value over the limit was stored")
	}
	put(t, s, "empty", "", time.Hour)
	if v, err := s.Get(t.Context(), key("empty")); err != nil || v == nil || len(v) != 0 {
		t.Errorf("empty value: %q, %v", v, err)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, goroutines := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			s := testStore(b, hooks{})
			value := make([]byte, 300)
			b.SetParallelism(max(1, goroutines/2))
			b.RunParallel(func(pb *testing.PB) {
				id := make([]byte, 32)
				for pb.Next() {
					for i := range 4 {
						binary.BigEndian.PutUint64(id[8*i:], rand.Uint64())
					}
					if err := s.Put(b.Context(), sessioncb.Key{ID: id}, value, time.Hour); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
