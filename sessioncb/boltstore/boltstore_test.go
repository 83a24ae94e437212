package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
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

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) sessioncb.Store { return testStore(t, hooks{}) })
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.bolt")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if s.Path() != path {
		t.Errorf("Path %q", s.Path())
	}
	put(t, s, "a", "1", time.Hour)
	put(t, s, "b", "2", 31*24*time.Hour)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		s, err = Open(path, Options{ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a=1", "b=2"}, contents(t, s)); diff != "" {
			t.Errorf("read-only %v (-want +got):\n%s", readOnly, diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	checkFile(t, path)
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.bolt")
	if _, err := Open(path, Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "1", time.Hour)
	s.Close()
	before, _ := os.ReadFile(path)

	one, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := Open(path, Options{ReadOnly: true}) // several may look
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{LockTimeout: time.Millisecond}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("open for writing meanwhile: %v", err)
	}
	if v, err := two.Get(t.Context(), key("a")); err != nil || string(v) != "1" {
		t.Errorf("Get: %q, %v", v, err)
	}
	_, claimErr := two.Claim(t.Context(), key("a"))
	for _, err := range []error{
		two.Put(t.Context(), key("b"), nil, time.Hour),
		two.Put(t.Context(), key("b"), nil, 0),
		two.Delete(t.Context(), key("a")),
		claimErr,
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("got %v, want ErrReadOnly", err)
		}
	}
	two.Close()
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file changed")
	}
}

// TestOpenRefuses: each of these is an error that names the file, leaves it as
// it was, and leaves it unlocked.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	boltFile := func(name string, fill func(*bolt.Tx) error) string {
		path := filepath.Join(dir, name)
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if fill != nil {
			err = db.Update(fill)
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bucket := func(name string, pairs ...string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket([]byte(name))
			for i := 0; err == nil && i < len(pairs); i += 2 {
				err = b.Put([]byte(pairs[i]), []byte(pairs[i+1]))
			}
			return err
		}
	}
	var used int64 // by bolt; the file may be longer
	full := boltFile("full", func(tx *bolt.Tx) error {
		err := makeFormat(tx)
		for i := 0; err == nil && i < 2000; i++ {
			id := fmt.Appendf(nil, "%08d", i)
			r := newRecord(time.Now().Add(time.Hour), make([]byte, 100))
			err = buckets{tx.Bucket(bucketSessions), tx.Bucket(bucketExpiry)}.put(id, nil, r)
		}
		return err
	})
	db, err := bolt.Open(full, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	db.View(func(tx *bolt.Tx) error { used = tx.Size(); return nil })
	db.Close()
	whole, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		o    Options
		want string
	}{
		{file("text", []byte("hello")), Options{}, "not a session store"},
		{file("one page", bytes.Repeat([]byte("hello "), 700)), Options{}, "not a session store"},
		{file("long text", bytes.Repeat([]byte("hello "), 10_000)), Options{}, "not a session store"},
		{file("zeros", make([]byte, 1<<16)), Options{}, "not a session store"},
		{file("cut in the first page", whole[:100]), Options{}, "not a session store"},
		{file("cut after the first page", whole[:5000]), Options{}, "not a session store"},
		{file("cut after the meta pages", whole[:2*os.Getpagesize()]), Options{}, "not a session store"},
		{file("cut in the middle", whole[:len(whole)/2]), Options{}, ""},
		{file("cut by a byte", whole[:used-1]), Options{}, "cut short"},
		{boltFile("other application", bucket("accounts", "a", "b")), Options{}, "a bolt file of another application"},
		{boltFile("other meta", bucket("meta", "application", "something")), Options{}, "a bolt file of another application"},
		{boltFile("empty meta", bucket("meta")), Options{}, "a bolt file of another application"},
		{boltFile("next format", bucket("meta", "application", "sessioncb", "format", "2")), Options{}, `a session store of format "2"; this program reads "1"`},
		{boltFile("bucket missing", bucket("meta", "application", "sessioncb", "format", "1")), Options{}, "a bucket is missing"},
		{boltFile("empty, read-only", nil), Options{ReadOnly: true}, "no session store was made of it yet"},
		{file("of no bytes, read-only", nil), Options{ReadOnly: true}, ""},
		{dir, Options{}, ""},
		{filepath.Join(dir, "no such directory", "file"), Options{}, "no such file or directory"},
		{full, Options{LockTimeout: -1}, "LockTimeout is negative"},
	} {
		t.Run(filepath.Base(test.path), func(t *testing.T) {
			before, _ := os.ReadFile(test.path)
			for range 2 { // the second finds no lock of the first
				s, err := Open(test.path, test.o)
				if s != nil || err == nil || !strings.HasPrefix(err.Error(), "boltstore: open "+test.path+": ") || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, %v; want an error with the path and %q", s, err, test.want)
				}
				if strings.Contains(err.Error(), "in use") {
					t.Errorf("left locked: %v", err)
				}
			}
			if after, _ := os.ReadFile(test.path); !bytes.Equal(before, after) {
				t.Error("the file changed")
			}
		})
	}
	checkFile(t, full)
}

func TestEmptyFilesBecomeStores(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"of no bytes": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"bolt without buckets": func(path string) error {
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			return db.Close()
		},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		put(t, s, "a", "1", time.Hour)
		s.Close()
		checkFile(t, path)
	}
}

func TestFileInUse(t *testing.T) {
	s := testStore(t, hooks{})
	for _, readOnly := range []bool{false, true} {
		_, err := Open(s.Path(), Options{LockTimeout: 20 * time.Millisecond, ReadOnly: readOnly})
		want := "boltstore: open " + s.Path() + ": in use by another process (waited 20ms for its lock)"
		if err == nil || err.Error() != want {
			t.Errorf("read-only %v: got %v, want %s", readOnly, err, want)
		}
	}
	put(t, s, "a", "1", time.Hour) // undisturbed
}

func TestOpenWaitsForTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	first, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error)
	go func() {
		second, err := Open(path, Options{LockTimeout: time.Minute})
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("the second Open did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
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

// holdWriter makes the writer wait, as a slow disk would, until release.
func holdWriter(t *testing.T, s *Store) (release func()) {
	t.Helper()
	tx, err := s.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() { tx.Rollback() })
}

// eventually waits for what another goroutine does next.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// queue counts the ops that went into a store's queue.
type queue struct{ n atomic.Int32 }

func (q *queue) hook() { q.n.Add(1) }

func (q *queue) wait(t *testing.T, n int32) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d ops queue", n), func() bool { return q.n.Load() >= n })
}

// TestGroupCommit: what queues while a commit runs goes into the next one.
func TestGroupCommit(t *testing.T) {
	const puts = 50
	var q queue
	var mu sync.Mutex
	var commits []int
	s := testStore(t, hooks{queued: q.hook, committed: func(ops int) {
		mu.Lock()
		defer mu.Unlock()
		if ops > 0 {
			commits = append(commits, ops)
		}
	}})
	release := holdWriter(t, s)
	defer release()
	var wg sync.WaitGroup
	for i := range puts {
		wg.Go(func() { put(t, s, fmt.Sprint(i), "value", time.Hour) })
	}
	q.wait(t, puts)
	release()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	total := 0
	for _, n := range commits {
		total += n
	}
	if total != puts || len(commits) > 2 {
		t.Errorf("commits of %v ops, want %d ops in at most 2 commits", commits, puts)
	}
}

// TestCloseDrains: what was queued before Close is written, and answered.
func TestCloseDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var q queue
	s, err := open(path, Options{}, hooks{queued: q.hook, committed: func(int) {
		time.Sleep(20 * time.Millisecond) // in which a Close that does not wait closes
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "0", "value", time.Hour) // the writer has begun
	release := holdWriter(t, s)
	defer release()
	const puts = 20
	var wg sync.WaitGroup
	for i := range puts {
		if i == 1 { // the rest is for another batch
			q.wait(t, 1+1)
			eventually(t, "the writer has the first", func() bool { return len(s.queue) == 0 })
		}
		wg.Go(func() { put(t, s, fmt.Sprint(i), "value", time.Hour) })
	}
	q.wait(t, 1+puts)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	eventually(t, "Close has begun", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		return errors.Is(s.Delete(ctx, key("absent")), ErrClosed)
	})
	select {
	case err := <-closed:
		t.Fatalf("Close did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s, err = Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n := len(contents(t, s)); n != puts {
		t.Errorf("%d sessions, want %d", n, puts)
	}
}

// TestContextEndsTheWait: of a Put and a Delete, not the write; a Claim that
// nobody waits for takes nothing.
func TestContextEndsTheWait(t *testing.T) {
	var q queue
	s := testStore(t, hooks{queued: q.hook})
	put(t, s, "deleted", "1", time.Hour)
	put(t, s, "claimed", "2", time.Hour)
	release := holdWriter(t, s)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	id, value := []byte("put"), []byte("value")
	errs := make(chan error)
	go func() { errs <- s.Put(ctx, sessioncb.Key{ID: id}, value, time.Hour) }()
	go func() { errs <- s.Delete(ctx, key("deleted")) }()
	go func() { _, err := s.Claim(ctx, key("claimed")); errs <- err }()
	q.wait(t, 2+3) // with the two puts above
	select {
	case err := <-errs:
		t.Fatalf("returned before its commit: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	for range 3 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
	copy(id, "XXX")
	copy(value, "XXXXX") // ours again, though the write is still to come
	release()
	put(t, s, "z", "behind the others", time.Hour)
	if diff := cmp.Diff([]string{"claimed=2", "put=value", "z=behind the others"}, contents(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestQueueFull: who does not fit waits with its ctx.
func TestQueueFull(t *testing.T) {
	s := testStore(t, hooks{})
	release := holdWriter(t, s)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var canceled atomic.Int32
	for i := range 2*queueSize + 100 {
		wg.Go(func() {
			if err := s.Put(ctx, key(fmt.Sprint(i)), []byte("v"), time.Hour); errors.Is(err, context.Canceled) {
				canceled.Add(1)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return len(s.queue) == queueSize })
	cancel()
	wg.Wait()
	if n := canceled.Load(); n != 2*queueSize+100 {
		t.Errorf("%d calls ended with their ctx, want %d", n, 2*queueSize+100)
	}
	release()
	put(t, s, "behind", "the others", time.Hour)
	if n := len(contents(t, s)); n < queueSize || n > 2*queueSize+100+1 {
		t.Errorf("%d sessions, want at least the %d that were queued", n, queueSize)
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

// TestNothingToWriteIsNotWritten: deletions of what is not there, and claims,
// cost no commit.
func TestNothingToWriteIsNotWritten(t *testing.T) {
	var commits atomic.Int32
	s := testStore(t, hooks{committed: func(int) { commits.Add(1) }})
	for range 5 {
		if err := s.Delete(t.Context(), key("absent")); err != nil {
			t.Error(err)
		}
		if _, err := s.Claim(t.Context(), key("absent")); !errors.Is(err, sessioncb.ErrNotFound) {
			t.Error(err)
		}
	}
	if n := commits.Load(); n != 0 {
		t.Errorf("%d commits", n)
	}
	put(t, s, "a", "1", time.Hour)
	if n := commits.Load(); n != 1 {
		t.Errorf("%d commits after a put", n)
	}
}

// TestDiskFull: a commit that fails fails its ops, and leaves what was there.
func TestDiskFull(t *testing.T) {
	s := testStore(t, hooks{tune: func(o *bolt.Options) { o.MaxSize = 256 << 10 }})
	put(t, s, "before", "1", time.Hour)
	big := make([]byte, 64<<10)
	var err error
	for i := 0; err == nil && i < 20; i++ {
		err = s.Put(t.Context(), key(fmt.Sprint(i)), big, time.Hour)
	}
	if err == nil || !strings.Contains(err.Error(), "boltstore: commit to "+s.Path()) {
		t.Fatalf("got %v", err)
	}
	if v, err := s.Get(t.Context(), key("before")); err != nil || string(v) != "1" {
		t.Errorf("what was there: %q, %v", v, err)
	}
	if err := s.Delete(t.Context(), key("0")); err != nil {
		t.Errorf("a delete on a full disk: %v", err)
	}
	put(t, s, "after", "2", time.Hour)
}

// TestFileCutWhileOpen: somebody cuts the file under us. That is an error of
// the calls, not the end of the process.
func TestFileCutWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		put(t, s, fmt.Sprint(i), strings.Repeat("v", 8<<10), time.Hour)
	}
	if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	var fault *faultError
	if _, err := s.Get(t.Context(), key("7")); !errors.As(err, &fault) {
		t.Errorf("Get: %v", err)
	}
	for range 2 {
		if err := s.Put(t.Context(), key("x"), []byte("v"), time.Hour); !errors.As(err, &fault) || !strings.Contains(err.Error(), path) {
			t.Errorf("Put: %v", err)
		}
	}
	if err := s.Close(); !errors.As(err, &fault) {
		t.Errorf("Close: %v", err)
	}
	if _, err := Open(path, Options{LockTimeout: time.Millisecond}); err == nil || strings.Contains(err.Error(), "in use") {
		t.Errorf("open again: %v", err)
	}
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
