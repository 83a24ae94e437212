package memcachestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

func TestNewRefuses(t *testing.T) {
	good := memcache.New("127.0.0.1:1")
	for _, test := range []struct {
		why    string
		client *memcache.Client
		o      Options
		want   string // begins the error; empty: none
	}{
		{"nothing wrong", good, Options{}, ""},
		{"the longest prefix", good, Options{Prefix: strings.Repeat("p", 186)}, ""},
		{"UTF-8", good, Options{Prefix: "sitzung-ä:"}, ""},
		{"no client", nil, Options{}, "the client is nil"},
		{"a negative timeout", &memcache.Client{Timeout: -1}, Options{}, "Timeout"},
		{"too long a prefix", good, Options{Prefix: strings.Repeat("p", 187)}, "Prefix"},
		{"a space", good, Options{Prefix: "a b"}, "Prefix"},
		{"a line end", good, Options{Prefix: "a\r\nflush_all\r\n"}, "Prefix"},
		{"a zero byte", good, Options{Prefix: "a\x00"}, "Prefix"},
		{"DEL", good, Options{Prefix: "a\x7f"}, "Prefix"},
	} {
		s, err := New(test.client, test.o)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.why, err)
		case test.want != "" && (err == nil || s != nil || !strings.HasPrefix(err.Error(), "memcachestore: "+test.want)):
			t.Errorf("%s: %v, want memcachestore: %s...", test.why, err, test.want)
		}
	}
}

func TestLongestKey(t *testing.T) {
	c := memcache.New(testserver.Memcached(t).Addr())
	defer c.Close()
	s, err := New(c, Options{Prefix: strings.Repeat("p", 186)})
	if err != nil {
		t.Fatal(err)
	}
	k := sessioncb.Key{ID: []byte(strings.Repeat("\xff", 32))}
	if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(t.Context(), k); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
	for _, k := range []sessioncb.Key{{}, {ID: make([]byte, 33)}} {
		if _, err := s.Get(t.Context(), k); err == nil || errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("an id of %d bytes: %v", len(k.ID), err)
		}
	}
}

func TestExpiration(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Unix(1_900_000_000, 0)
	for _, test := range []struct {
		why  string
		ttl  time.Duration
		now  time.Time
		want int32
	}{
		{"a nanosecond, and the second that runs", 1, now, 2},
		{"a second", time.Second, now, 2},
		{"a second and a bit", time.Second + 1, now, 3},
		{"the longest that is no date", 30*day - time.Second, now, 30 * 86400},
		{"30 days and the second that runs", 30 * day, now, 1_900_000_000 + 30*86400 + 1},
		{"31 days", 31 * day, now, 1_900_000_000 + 31*86400 + 1},
		{"beyond the last date", 9 * 365 * day, now, math.MaxInt32},
		{"for ever", math.MaxInt64, now, math.MaxInt32},
		{"31 days, near the last date", 31 * day, time.Unix(math.MaxInt32-86400, 0), 30 * 86400},
		{"31 days, after it", 31 * day, time.Unix(math.MaxInt32+86400, 0), 30 * 86400},
		{"an hour, after it", time.Hour, time.Unix(math.MaxInt32+86400, 0), 3601},
	} {
		if got := expiration(test.ttl, test.now); got != test.want {
			t.Errorf("%s: %d, want %d", test.why, got, test.want)
		}
	}
}

// TestShortestLifetime: memcached drops what has a lifetime of 1 at its
// clock's next tick, so that a Put of one second would often keep half. What
// is put here is there for the whole second.
func TestShortestLifetime(t *testing.T) {
	s := store(t, testserver.Memcached(t).Addr())
	for i := range 8 { // at different places between two ticks
		k := sessioncb.Key{ID: fmt.Append(nil, i)}
		put := time.Now()
		if err := s.Put(t.Context(), k, []byte("v"), time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(put.Add(130 * time.Millisecond)))
		defer func() {
			time.Sleep(time.Until(put.Add(950 * time.Millisecond)))
			asked := time.Now()
			if _, err := s.Get(t.Context(), k); err != nil && asked.Before(put.Add(time.Second)) && time.Now().Before(put.Add(time.Second)) {
				t.Errorf("%d: after %v: %v", i, asked.Sub(put), err)
			}
		}()
	}
}

func TestLargeValues(t *testing.T) {
	usual, large := store(t, testserver.Memcached(t).Addr()), store(t, testserver.Memcached(t, "-I", "2m").Addr())
	k := sessioncb.Key{ID: []byte("k")}
	for _, test := range []struct {
		why  string
		s    *Store
		size int
		want string
	}{
		{"a little less than 1 MiB", usual, 1<<20 - 1024, ""},
		{"1 MiB is more than 1 MiB with its key", usual, 1 << 20, "object too large for cache"},
		{"1 MiB, for a server that takes more", large, 1 << 20, ""},
		{"more", large, 1<<20 + 1, "a value of 1048577 bytes is more than memcached's 1 MiB"},
	} {
		err := test.s.Put(t.Context(), k, make([]byte, test.size), time.Hour)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", test.why, err)
		}
		if v, err := test.s.Get(t.Context(), k); test.want == "" && (err != nil || len(v) != test.size) {
			t.Errorf("%s: %d bytes, %v", test.why, len(v), err)
		}
	}
}

func calls(s *Store, k sessioncb.Key) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, k); return err },
		"Put":    func(ctx context.Context) error { return s.Put(ctx, k, []byte("v"), time.Hour) },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, k) },
		"Claim":  func(ctx context.Context) error { _, err := s.Claim(ctx, k); return err },
	}
}

// TestFaults: whatever the other end does, a call ends with its ctx and an
// error, and the error is not "not found".
func TestFaults(t *testing.T) {
	hole, garbage := testserver.BlackHole(t), testserver.Garbage(t)
	slow := testserver.Slow(t, testserver.Memcached(t).Addr(), time.Hour)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, test := range []struct {
		why   string
		addrs []string
		came  func() bool
	}{
		{"it does not answer", []string{hole.Addr()}, func() bool { return hole.Connections() > 0 }},
		{"it answers junk", []string{garbage.Addr()}, func() bool { return garbage.Connections() > 0 }},
		{"it answers late", []string{slow.Addr()}, func() bool { return slow.Connections() > 0 }},
		{"there is nobody", []string{gone.Addr().String()}, func() bool { return true }},
		{"no servers", nil, func() bool { return true }},
	} {
		t.Run(test.why, func(t *testing.T) {
			s := store(t, test.addrs...)
			for call, f := range calls(s, sessioncb.Key{ID: []byte("k")}) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				err := f(ctx)
				cancel()
				if err == nil || errors.Is(err, sessioncb.ErrNotFound) || errors.Is(err, memcache.ErrCacheMiss) {
					t.Errorf("%s: %v", call, err)
				}
			}
			if !test.came() {
				t.Error("nobody connected: the fault was not seen")
			}
		})
	}
}

func TestRestart(t *testing.T) {
	server := testserver.Memcached(t)
	s := store(t, server.Addr())
	k := sessioncb.Key{ID: []byte("k")}
	if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls(s, k) {
		if err := call(t.Context()); err == nil || errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("%s of a server that is gone: %v", name, err)
		}
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
		t.Errorf("Put: %v", err)
	}
}

// script is a memcached that answers each command with the next of its lines,
// and closes the connection where a line is empty. It returns what it is
// asked.
func script(t *testing.T, lines ...string) (addr string, asked func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var open net.Conn // the last one
	var mu sync.Mutex
	done := make(chan struct{})
	go func() {
		defer close(done)
		for len(lines) > 0 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = c
			mu.Unlock()
			r := bufio.NewReader(c)
			for len(lines) > 0 {
				command, err := r.ReadString('\n')
				if err != nil {
					break
				}
				got = append(got, strings.TrimSpace(command))
				answer := lines[0]
				lines = lines[1:]
				if answer == "" {
					break
				}
				io.WriteString(c, answer)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), func() []string {
		l.Close()
		mu.Lock()
		if open != nil {
			open.Close()
		}
		mu.Unlock()
		<-done
		return got
	}
}

// TestClaimCounts what memcached says to the deletion, which may be anything.
func TestClaimCounts(t *testing.T) {
	const hex = "sessioncb:6b" // of the id "k"
	const found = "VALUE " + hex + " 0 1 7\r\nv\r\nEND\r\n"
	get, del := "gets "+hex, "delete "+hex
	for _, test := range []struct {
		why     string
		answers []string
		asked   []string
		want    string // the value
		missed  bool   // ErrNotFound, else another error
	}{
		{"it is ours", []string{found, "DELETED\r\n"}, []string{get, del}, "v", false},
		{"another one took it in between", []string{found, "NOT_FOUND\r\n"}, []string{get, del}, "", true},
		{"there is none", []string{"END\r\n"}, []string{get}, "", true},
		{"the answer to the deletion is lost", []string{found, ""}, []string{get, del}, "", false},
		{"the server cannot", []string{found, "SERVER_ERROR out of memory\r\n"}, []string{get, del}, "", false},
		{"no answer to a deletion", []string{found, "STORED\r\n"}, []string{get, del}, "", false},
		{"the answer to the get is lost", []string{""}, []string{get}, "", false},
		{"a value of another key", []string{"VALUE sessioncb:6c 0 1 7\r\nv\r\nEND\r\n", "DELETED\r\n"}, []string{get}, "", false},
	} {
		t.Run(test.why, func(t *testing.T) {
			addr, asked := script(t, test.answers...)
			v, err := store(t, addr).Claim(t.Context(), sessioncb.Key{ID: []byte("k")})
			if diff := cmp.Diff(test.asked, asked()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			switch {
			case test.want != "" && (err != nil || string(v) != test.want):
				t.Errorf("%q, %v, want %q", v, err, test.want)
			case test.want == "" && (v != nil || err == nil || errors.Is(err, sessioncb.ErrNotFound) != test.missed):
				t.Errorf("%q, %v, want a miss: %v", v, err, test.missed)
			}
		})
	}
}

// TestListOfServersChanges is what the package's doc warns of: a deletion goes
// to where the key's place is at the time, and the value waits elsewhere.
func TestListOfServersChanges(t *testing.T) {
	a, b := testserver.Memcached(t), testserver.Memcached(t)
	both, one := store(t, a.Addr(), b.Addr()), store(t, a.Addr())
	const sessions = 50
	key := func(i int) sessioncb.Key { return sessioncb.Key{ID: fmt.Append(nil, i)} }
	for i := range sessions {
		if err := both.Put(t.Context(), key(i), []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var back []int
	for i := range sessions {
		if err := one.Delete(t.Context(), key(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := both.Get(t.Context(), key(i)); err == nil {
			back = append(back, i)
		}
	}
	if n := len(back); n == 0 || n == sessions {
		t.Errorf("%d of %d deleted sessions are back; if it is none, the doc warns of nothing", n, sessions)
	}
	// A claim is decided where the value is, so there is one at most.
	for i := range sessions {
		claims := 0
		for _, s := range []*Store{one, both, one, both} {
			if _, err := s.Claim(t.Context(), key(i)); err == nil {
				claims++
			}
		}
		if want := map[bool]int{true: 1}[slices.Contains(back, i)]; claims != want {
			t.Errorf("session %d was claimed %d times, want %d", i, claims, want)
		}
	}
}
