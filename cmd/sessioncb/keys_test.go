package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// Keys change in three steps while two servers run, and no session is lost:
// docs/guide.md. A file that is broken leaves the keys as they are.
func TestKeyRotation(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fleet.keys")
	write := func(text []byte) {
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := os.WriteFile(next, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	lines := func(names ...string) (text []byte) {
		for _, name := range names {
			one, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, one...)
		}
		return text
	}
	id := make(map[string]string)
	for _, name := range []string{"old", "new"} {
		path := filepath.Join(dir, name)
		if err := sessioncb.WriteKeyFile(path); err != nil {
			t.Fatal(err)
		}
		ring, err := sessioncb.LoadKeyFile(path)
		if err != nil {
			t.Fatal(err)
		}
		id[name] = ring.IDs()[0]
	}
	write(lines("old"))
	store := "redis://" + testserver.Redis(t).Addr()
	a := serve(t, "--store", store, "--key-file", file)
	b := serve(t, "--store", store, "--key-file", file)
	both := func(parts ...string) {
		t.Helper()
		for _, p := range []*process{a, b} {
			p.awaitLog(t, 1, parts...)
		}
	}
	session := filepath.Join(dir, "session.pem")
	w := ways[0] // its session is stored once
	w.handshake(t, a, "", session, false)

	write(lines("old", "new"))
	both("session keys changed", id["old"]+" "+id["new"])
	w.handshake(t, b, session, "", true)
	write(lines("new", "old"))
	both("session keys changed", id["new"]+" "+id["old"])
	w.handshake(t, b, session, "", true)
	newer := filepath.Join(dir, "newer.pem")
	made := w.handshake(t, a, "", newer, false)
	if sealed := fields(succeed(t, "store", "get", store, made["session"])); sealed["sealed by"] != id["new"] {
		t.Errorf("sealed by %s, want %s", sealed["sealed by"], id["new"])
	}
	write([]byte("no key\n"))
	both("level=WARN", "session keys cannot be read")
	w.handshake(t, b, newer, "", true)
	write(lines("new"))
	both("session keys changed", "["+id["new"]+"]")
	w.handshake(t, b, newer, "", true)
	if answer := w.handshake(t, b, session, "", false); !strings.Contains(answer["offered"], "not in the ring") {
		t.Errorf("sealed with a key that is gone: offered %s", answer["offered"])
	}
	a.stop(t, syscall.SIGINT)
	b.stop(t, syscall.SIGINT)
}
