package sessioncb

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logDefault makes the default logger one that can be read, for this test.
func logDefault(t *testing.T) func() []string {
	log, lines := logOf()
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(log)
	return lines
}

// TestFollow takes a ring through what a source can do.
func TestFollow(t *testing.T) {
	lines := logDefault(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var answer func() ([][]byte, error)
		give := func(err error, keys ...[]byte) {
			mu.Lock()
			defer mu.Unlock()
			answer = func() ([][]byte, error) { return keys, err }
		}
		source := func(context.Context) ([][]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			return answer()
		}
		ring := new(KeyRing)
		ctx, cancel := context.WithCancel(t.Context())
		give(nil, testKey(1))
		if err := ring.Follow(ctx, time.Minute, source); err != nil {
			t.Fatal(err)
		}
		expect := func(when string, log []string, want ...[]byte) {
			t.Helper()
			if diff := cmp.Diff(idsOf(want...), ring.IDs()); diff != "" {
				t.Errorf("%s: ids (-want +got):\n%s", when, diff)
			}
			if diff := cmp.Diff(log, lines()); diff != "" {
				t.Errorf("%s: log (-want +got):\n%s", when, diff)
			}
		}
		tick := func() { time.Sleep(time.Minute); synctest.Wait() }
		expect("at once", nil, testKey(1))
		tick()
		expect("nothing new", nil, testKey(1))
		give(nil, testKey(2), testKey(1))
		expect("before the time has passed", nil, testKey(1))
		tick()
		changed := []string{`level=INFO msg="sessioncb: session keys changed"`}
		expect("a new key", changed, testKey(2), testKey(1))

		give(errBroken)
		tick()
		bad := []string{`level=WARN msg="sessioncb: session keys cannot be read: the last ones stay"`}
		expect("an error", bad, testKey(2), testKey(1))
		give(nil, testKey(3), testKey(3))
		tick()
		expect("bad keys", nil, testKey(2), testKey(1))
		mu.Lock()
		answer = func() ([][]byte, error) { panic("oops") }
		mu.Unlock()
		tick()
		expect("a panic", nil, testKey(2), testKey(1))
		give(nil, testKey(3))
		tick()
		expect("good again", append([]string{`level=INFO msg="sessioncb: session keys can be read again" failures=3`}, changed...), testKey(3))

		cancel()
		synctest.Wait()
		give(nil, testKey(4))
		tick()
		expect("after ctx ended", nil, testKey(3))
	})
}

func TestFollowRefuses(t *testing.T) {
	good := func(context.Context) ([][]byte, error) { return [][]byte{testKey(1)}, nil }
	for _, test := range []struct {
		name   string
		every  time.Duration
		source func(context.Context) ([][]byte, error)
		want   string
	}{
		{"no source", time.Minute, nil, "the source is nil"},
		{"no time", 0, good, "is 0s"},
		{"negative time", -1, good, "is -1ns"},
		{"error", time.Minute, func(context.Context) ([][]byte, error) { return nil, errBroken }, "follow keys: broken pipe"},
		{"panic", time.Minute, func(context.Context) ([][]byte, error) { panic("oops") }, "the source panicked: oops"},
		{"no keys", time.Minute, func(context.Context) ([][]byte, error) { return nil, nil }, "no keys"},
	} {
		synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
			r := new(KeyRing)
			if err := r.Follow(t.Context(), test.every, test.source); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
			}
			if r.IDs() != nil {
				t.Errorf("%s: keys in the ring", test.name)
			}
		})
	}
}

// TestFollowKeyFile: a file is renamed into place under a Cache that works.
// What was sealed before opens; what another server seals with the new key
// opens too.
func TestFollowKeyFile(t *testing.T) {
	lines := logDefault(t)
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys")
		if _, err := FollowKeyFile(t.Context(), path, time.Minute); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("no file: %v", err)
		}
		replace := func(keys ...[]byte) {
			t.Helper()
			if err := WriteKeyFile(path+".new", keys...); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
		replace(testKey(1))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ring, err := FollowKeyFile(ctx, path, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		store := newFakeStore()
		c := newTestCache(t, store, CacheOptions{Keys: ring})
		old, young := numbered(1), numbered(2)
		c.NewSession(t.Context(), tls12, old)
		replace(testKey(2), testKey(1))
		time.Sleep(time.Minute)
		synctest.Wait()
		newTestCache(t, store, CacheOptions{Keys: mustRing(t, testKey(2))}).NewSession(t.Context(), tls12, young)
		if lookups(t, c, old, 1) != 1 || lookups(t, c, young, 1) != 1 {
			t.Errorf("%+v", c.Stats().Lookups)
		}
		lines()
		os.Remove(path)
		time.Sleep(time.Minute)
		synctest.Wait()
		if lookups(t, c, young, 1) != 1 || len(lines()) != 1 {
			t.Error("without the file the keys are gone, or nobody was told")
		}
		cancel()
	})
}
