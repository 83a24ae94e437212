package sessioncb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testKey is a key that is easy to tell from another.
func testKey(n byte) []byte { return bytes.Repeat([]byte{n}, KeySize) }

func mustRing(t testing.TB, keys ...[]byte) *KeyRing {
	t.Helper()
	r, err := NewKeyRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewKeyRingRefuses(t *testing.T) {
	var many [][]byte
	for i := range MaxKeys + 1 {
		many = append(many, testKey(byte(i+1)))
	}
	for _, test := range []struct {
		name string
		keys [][]byte
		want string
	}{
		{"none", nil, "no keys"},
		{"nil key", [][]byte{nil}, "key 1 of 1: a key has 32 bytes, not 0"},
		{"short", [][]byte{testKey(1), testKey(2)[:31]}, "key 2 of 2: a key has 32 bytes, not 31"},
		{"long", [][]byte{make([]byte, 33)}, "not 33"},
		{"zeros", [][]byte{make([]byte, 32)}, "zeros"},
		{"twice", [][]byte{testKey(1), testKey(2), testKey(1)}, "key 3 of 3: it is there twice"},
		{"too many", many, "17 keys, at most 16"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := NewKeyRing(test.keys...)
			if r != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want an error with %q", r, err, test.want)
			}
		})
	}
	if _, err := NewKeyRing(many[:MaxKeys]...); err != nil {
		t.Errorf("%d keys: %v", MaxKeys, err)
	}
}

// idsOf are the ids of keys, as the ring shows them.
func idsOf(keys ...[]byte) (ids []string) {
	for _, k := range keys {
		ids = append(ids, idOf(k).String())
	}
	return ids
}

func TestRotateAndReplace(t *testing.T) {
	a, b, c := testKey(1), testKey(2), testKey(3)
	r := mustRing(t, a)
	step := func(what string, err error, want ...[]byte) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(idsOf(want...), r.IDs()); diff != "" {
			t.Fatalf("%s: ids (-want +got):\n%s", what, diff)
		}
	}
	step("new", nil, a)
	step("rotate", r.Rotate(b), b, a)
	step("rotate to an old one", r.Rotate(a), a, b)
	step("replace", r.Replace(c, a), c, a)
	if r.Rotate(nil) == nil || r.Replace() == nil || r.Replace(b, b) == nil {
		t.Error("a bad change was accepted")
	}
	step("after bad changes", nil, c, a)
	for i := range MaxKeys {
		if err := r.Rotate(testKey(byte(100 + i))); err != nil {
			t.Fatal(err)
		}
	}
	if ids := r.IDs(); len(ids) != MaxKeys || ids[0] != idOf(testKey(100+MaxKeys-1)).String() || ids[MaxKeys-1] != idOf(testKey(100)).String() {
		t.Errorf("after %d rotations: %v", MaxKeys, ids)
	}
}

func TestKeyRingCopiesKeys(t *testing.T) {
	k := testKey(1)
	r := mustRing(t, k)
	clear(k)
	if got := r.newest(); !bytes.Equal(got.key[:], testKey(1)) {
		t.Error("the ring changed with the caller's slice")
	}
}

func TestConcurrentRotationsLoseNoKey(t *testing.T) {
	r := mustRing(t, testKey(1))
	var wg sync.WaitGroup
	for i := range MaxKeys - 1 {
		wg.Go(func() {
			if err := r.Rotate(testKey(byte(i + 2))); err != nil {
				t.Error(err)
			}
			r.IDs()
		})
	}
	wg.Wait()
	for i := range MaxKeys {
		if _, ok := r.find(idOf(testKey(byte(i + 1)))); !ok {
			t.Errorf("key %d is lost", i+1)
		}
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	key := []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF")
	r := mustRing(t, key)
	type holder struct {
		Ring  *KeyRing
		inner *KeyRing
	}
	for _, v := range []any{r, holder{r, r}, &holder{r, r}, CacheOptions{Keys: r}, sealer{r}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			for _, form := range []string{"%s", "%x", "%X", "%v", "%d"} {
				secret := fmt.Sprintf(form, key[:8])
				if strings.Contains(out, strings.Trim(secret, "[]")) {
					t.Errorf("%s of %T shows the key: %s", verb, v, out)
				}
			}
		}
	}
	if got, want := r.String(), "KeyRing("+idOf(key).String()+")"; got != want {
		t.Errorf("String() = %s, want %s", got, want)
	}
}

func TestProcessKeysDiffer(t *testing.T) {
	if a, b := ProcessKey().IDs(), ProcessKey().IDs(); len(a) != 1 || a[0] == b[0] {
		t.Errorf("ids %v and %v", a, b)
	}
}

func TestParseKeys(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	k1, k2 := b64(testKey(1)), b64(testKey(2))
	id1, id2 := idOf(testKey(1)).String(), idOf(testKey(2)).String()
	for _, test := range []struct {
		name, text string
		want       [][]byte
		err        string
	}{
		{"one", k1, [][]byte{testKey(1)}, ""},
		{"with id", id1 + ":" + k1 + "\n", [][]byte{testKey(1)}, ""},
		{"order, comments, blanks, CRLF", "# a\r\n\r\n  " + id2 + " : " + k2 + " \r\n\t# b\n" + k1, [][]byte{testKey(2), testKey(1)}, ""},
		{"empty", "", nil, "no key"},
		{"comments only", "# " + k1 + "\n", nil, "no key"},
		{"other id", "\n" + id2 + ":" + k1, nil, "line 2: the key's id is " + id1},
		{"empty id", ":" + k1, nil, "line 1: the key's id is"},
		{"not base64", k1 + "\n!!", nil, "line 2: the key is not base64"},
		{"url base64", strings.ReplaceAll(b64(bytes.Repeat([]byte{0xff}, 32)), "/", "_"), nil, "not base64"},
		{"no padding", strings.TrimRight(k1, "="), nil, "not base64"},
		{"stray bits at the end", strings.TrimSuffix(k1, "E=") + "F=", nil, "not base64"},
		{"short", b64(testKey(1)[:16]), nil, "a key has 32 bytes, not 16"},
		{"two on a line", k1 + " " + k2, nil, "not base64"},
		{"too many", strings.Repeat(k1+"\n", MaxKeys+1), nil, "more than 16 keys"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseKeys([]byte(test.text))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v, want one with %q", err, test.err)
			case err != nil && (strings.Contains(err.Error(), k1) || strings.Contains(err.Error(), k2)):
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

func TestDocumentedKeyFileParses(t *testing.T) {
	source, err := os.ReadFile("keyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(source)) {
		if example, ok := strings.CutPrefix(line, "//\t"); ok {
			text.WriteString(example)
		}
	}
	if keys, err := ParseKeys([]byte(text.String())); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v, from:\n%s", len(keys), err, text.String())
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadKeyFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of no file: %v", err)
	}
	if err := WriteKeyFile(path, testKey(7), testKey(8)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	r, err := LoadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(idsOf(testKey(7), testKey(8)), r.IDs()); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	before, _ := os.ReadFile(path)
	if err := WriteKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second write: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the second write changed the file")
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("files left behind: %v", names)
	}
	if err := WriteKeyFile(path+"2", testKey(1)[:5]); err == nil || !strings.Contains(err.Error(), "not 5") {
		t.Errorf("write of a bad key: %v", err)
	}
}

func TestWriteKeyFileMakesAKey(t *testing.T) {
	dir := t.TempDir()
	// Sixteen processes start at once: one key comes of it.
	path := filepath.Join(dir, "keys")
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() {
			if err := WriteKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			r, err := LoadKeyFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = r.String()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("rings differ: %v", ids)
		}
	}
}

func TestLoadKeyFileRefuses(t *testing.T) {
	dir := t.TempDir()
	good := formatKeys([][]byte{testKey(1)})
	write := func(name string, text []byte, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct{ path, want string }{
		{write("others", good, 0o604), "chmod 600"},
		{write("group", good, 0o640), "has mode 0640"},
		{write("group-write", good, 0o620), "has mode 0620"},
		{write("huge", make([]byte, maxKeyFile+1), 0o600), "at most"},
		{write("empty", nil, 0o600), "no key"},
		{write("zeros", []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600), "zeros"},
		{dir, "not a regular file"},
	} {
		r, err := LoadKeyFile(test.path)
		if r != nil || err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: got %v, %v; want an error with the path and %q", test.path, r, err, test.want)
		}
	}
	if _, err := LoadKeyFile(write("read-only", good, 0o400)); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
}
