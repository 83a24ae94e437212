package main

import (
	"testing"

	"github.com/sessioncb/openssl/bench/peer"
)

func TestStore(t *testing.T) {
	n := &peer.Counters{}
	s := newStore(2, n)
	a, b, c := sessionID{1}, sessionID{2}, sessionID{3}
	has := func(when string, want ...sessionID) {
		t.Helper()
		if len(s.sessions) != len(want) {
			t.Errorf("%s: %d sessions, want %d", when, len(s.sessions), len(want))
		}
		for _, id := range want {
			if der := s.get(id); len(der) != 1 || der[0] != id[0] {
				t.Errorf("%s: at %d is %v", when, id[0], der)
			}
		}
	}
	put := func(id sessionID) { s.put(id, id[:1]) }
	put(a)
	put(b)
	put(a)
	has("full, and one replaced", a, b)
	put(c)
	has("the oldest went", b, c)
	s.remove(b)
	s.remove(a)
	has("removed", c)
	put(a)
	has("and another is in its place", a, c)
	if s.get(b) != nil {
		t.Error("a miss is found")
	}
	if n.Stored.Load() != 5 || n.Lookups.Load() != 8 || n.Hits.Load() != 7 {
		t.Errorf("%d stored, %d lookups, %d hits; want 5, 8, 7", n.Stored.Load(), n.Lookups.Load(), n.Hits.Load())
	}
}
