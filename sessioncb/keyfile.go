package sessioncb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sessioncb/openssl/sessioncb/internal/durable"
)

// maxKeyFile bounds what LoadKeyFile reads: MaxKeys keys and many comments.
const maxKeyFile = 64 << 10

// ParseKeys reads keys in the text form of a key file:
//
//	# made on 2025-03-01 for the fleet in Oslo
//	07c40dcafffe9ce6:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=
//	YW5vdGhlciAzMi1ieXRlIGtleSBmb3IgdGhlIHJpbmc=
//
// One key stands on each line, newest first, in standard base64; blank lines
// and lines that begin with # are skipped. The key's id (KeyRing.IDs) may
// stand before it with a colon: a key that does not match its id is an error,
// so that a damaged file does not pass for another key. There must be 1 to
// MaxKeys keys. Errors name the line, never what stands on it.
func ParseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := parseKey(string(line))
		if err != nil {
			return nil, fmt.Errorf("sessioncb: parse keys: line %d: %w", number, err)
		}
		if keys = append(keys, key); len(keys) > MaxKeys {
			return nil, fmt.Errorf("sessioncb: parse keys: more than %d keys", MaxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("sessioncb: parse keys: no key in it")
	}
	return keys, nil
}

func parseKey(line string) ([]byte, error) {
	id, text, named := strings.Cut(line, ":")
	if !named {
		text = line
	}
	// base64's own error is not passed on: errors here say nothing of the text.
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("the key is not base64")
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(key))
	}
	if named && strings.TrimSpace(id) != idOf(key).String() {
		return nil, fmt.Errorf("the key's id is %s, but another stands before it: one of the two is damaged", idOf(key))
	}
	return key, nil
}

// LoadKeyFile makes a KeyRing of the keys in a file; see ParseKeys for its
// form. The file must be a regular one that group and others cannot access
// (not looked at on Windows): whoever reads it can read and forge sessions.
// A file that does not exist is fs.ErrNotExist.
func LoadKeyFile(path string) (*KeyRing, error) {
	keys, err := loadKeys(path)
	if err != nil {
		return nil, fmt.Errorf("sessioncb: %w", err)
	}
	ring, err := NewKeyRing(keys...)
	for _, key := range keys {
		clear(key)
	}
	if err != nil {
		return nil, fmt.Errorf("sessioncb: load key file %s: %w", path, err)
	}
	return ring, nil
}

// loadKeys reads the keys in a file. They are the caller's to clear.
func loadKeys(path string) ([][]byte, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("load key file: %w", err)
	}
	defer clear(text)
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("load key file %s: %w", path, err)
	}
	return keys, nil
}

func readKeyFile(path string) ([]byte, error) {
	// Looked at before it is opened, because opening a FIFO waits; and again
	// on the open file, which is the one that is read.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s has mode %04o: others can get at the keys, and with them read and forge sessions; "+
			"do: chmod 600 %s, and make new keys if someone may have read these", path, perm, path)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s has %d bytes, a key file at most %d", path, info.Size(), maxKeyFile)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// WriteKeyFile makes a key file with mode 0600, with these keys, newest
// first, or with one new random key if none is given. It never overwrites: a
// file that exists is fs.ErrExist, so of several processes that start at once
// one makes the file and all load the same. The file appears whole and on
// disk, or not at all. Its directory must exist, on a file system with hard
// links.
func WriteKeyFile(path string, keys ...[]byte) (err error) {
	if len(keys) == 0 {
		key := GenerateKey()
		defer clear(key)
		keys = [][]byte{key}
	}
	if _, err := NewKeyRing(keys...); err != nil {
		return fmt.Errorf("sessioncb: write key file %s: %w", path, err)
	}
	if err := writeKeyFile(path, formatKeys(keys)); err != nil {
		return fmt.Errorf("sessioncb: write key file: %w", err)
	}
	return nil
}

// formatKeys is the inverse of ParseKeys.
func formatKeys(keys [][]byte) []byte {
	var b bytes.Buffer
	b.WriteString("# Keys that seal TLS sessions, newest first: whoever has them can read and forge sessions.\n")
	for _, key := range keys {
		fmt.Fprintf(&b, "%s:%s\n", idOf(key), base64.StdEncoding.EncodeToString(key))
	}
	return b.Bytes()
}

// writeKeyFile writes beside path and links the result to it: a link is
// exclusive, and shows no reader an unfinished file.
func writeKeyFile(path string, text []byte) error {
	defer clear(text)
	f, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return err
	}
	return durable.SyncDirOf(path)
}
