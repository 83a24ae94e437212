package livestore

import (
	"context"
	"errors"
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
	for name, o := range map[string]Options{
		"one part":   {MaxSessions: 150},
		"many parts": {},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.RunLive(t, func(t *testing.T) sessioncb.LiveStore { return open(t, o) })
		})
	}
}

func TestNewRefuses(t *testing.T) {
	if s, err := New(Options{MaxSessions: -1}); s != nil || err == nil {
		t.Errorf("a negative bound: %v, %v", s, err)
	}
}

// session is one of storetest's kind: what a Store does with it is Close.
type session struct {
	sessioncb.Session
	closes int
}

func (s *session) Close() error {
	s.closes++
	return nil
}

func key(id string) sessioncb.Key { return sessioncb.Key{ID: []byte(id)} }

func put(t testing.TB, s *Store, id string, ttl time.Duration) *session {
	t.Helper()
	one := &session{}
	if !s.PutSession(key(id), one, ttl) {
		t.Fatalf("%s: not taken", id)
	}
	return one
}

func TestLeastRecentlyUsedLeaves(t *testing.T) {
	s := open(t, Options{MaxSessions: 2})
	a, b := put(t, s, "a", time.Hour), put(t, s, "b", time.Hour)
	if got, err := s.GetSession(key("a")); err != nil || got != a {
		t.Fatalf("a: %v, %v", got, err)
	}
	c := put(t, s, "c", time.Hour)
	if a.closes != 0 || b.closes != 1 || c.closes != 0 || s.Len() != 2 {
		t.Errorf("closed %d, %d, %d times; %d sessions", a.closes, b.closes, c.closes, s.Len())
	}
	s.Close()
	if a.closes != 1 || b.closes != 1 || c.closes != 1 || s.Len() != 0 {
		t.Errorf("after Close: closed %d, %d, %d times; %d sessions", a.closes, b.closes, c.closes, s.Len())
	}
}

// TestExpired: what is over is closed by whatever meets it, and makes room.
func TestExpired(t *testing.T) {
	now := time.Unix(1_750_000_000, 0)
	s := open(t, Options{MaxSessions: 2, Now: func() time.Time { return now }})
	defer s.Close()
	for name, meet := range map[string]func(){
		"Get":   func() { s.GetSession(key("a")) },
		"Claim": func() { s.ClaimSession(key("a")) },
		"Len":   func() { s.Len() },
		"Put":   func() { put(t, s, "other", time.Second) },
	} {
		a := put(t, s, "a", time.Minute)
		now = now.Add(time.Minute)
		meet()
		if a.closes != 1 {
			t.Errorf("%s: closed %d times", name, a.closes)
		}
	}
}

// TestClaimedAreClosed: ten seconds after the claim, or as the 1024th after it
// is claimed, or with the store.
func TestClaimedAreClosed(t *testing.T) {
	now := time.Unix(1_750_000_000, 0)
	s := open(t, Options{Now: func() time.Time { return now }})
	claim := func(id string) *session {
		t.Helper()
		one := put(t, s, id, time.Hour)
		if got, err := s.ClaimSession(key(id)); err != nil || got != one {
			t.Fatalf("%s: %v, %v", id, got, err)
		}
		return one
	}
	want := func(when string, one *session, closes int) {
		t.Helper()
		if one.closes != closes {
			t.Errorf("%s: closed %d times, want %d", when, one.closes, closes)
		}
	}

	a := claim("a")
	now = now.Add(claimedFor - 1)
	b := claim("b")
	want("before its time", a, 0)
	now = now.Add(1)
	put(t, s, "another", time.Hour)
	want("in its time, at a Put", a, 1)
	want("later than a", b, 0)
	now = now.Add(claimedFor)
	if _, err := s.ClaimSession(key("none")); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Error(err)
	}
	want("in its time, at a Claim", b, 1)

	c := claim("c")
	for range maxClaimed - 1 {
		claim("more")
	}
	want("as many as are kept", c, 0)
	d := claim("d")
	want("one more", c, 1)
	want("the last", d, 0)
	s.Close()
	want("the store was closed", d, 1)
	want("once", a, 1)
}

func TestDeleteCanceled(t *testing.T) {
	s := open(t, Options{})
	defer s.Close()
	a := put(t, s, "a", time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Delete(ctx, key("a")); !errors.Is(err, context.Canceled) || a.closes != 0 {
		t.Errorf("%v, closed %d times", err, a.closes)
	}
}
