package boltstore

import (
	"context"
	"errors"
	"fmt"
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
)

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
