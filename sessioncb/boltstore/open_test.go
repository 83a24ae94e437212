package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

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
