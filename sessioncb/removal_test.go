package sessioncb

import (
	"context"
	"fmt"
	"testing"
)

// TestRemovals has a row for each reason and state, with what the default
// set does; and asks the Cache, not the set alone.
func TestRemovals(t *testing.T) {
	for _, test := range []struct {
		reason  Reason
		done    bool
		deletes bool
	}{
		{Unknown, false, false},
		{Unknown, true, false},
		{Explicit, false, true},
		{Explicit, true, true},
		{Expired, false, false},
		{Expired, true, false},
		{Evicted, false, false},
		{Evicted, true, false},
		{Flushed, false, false},
		{Flushed, true, false},
		{ContextFreed, false, false},
		{ContextFreed, true, false},
		{Faulty, false, false},
		{Faulty, true, true},
		{UncleanClose, false, false},
		{UncleanClose, true, false},
		{SingleUse, false, true},
		{SingleUse, true, true},
		{Used, false, false},
		{Used, true, false},
		{Reason(-1), true, false},
		{Reason(99), false, false},
	} {
		t.Run(fmt.Sprintf("%v/%d/%v", test.reason, test.reason, test.done), func(t *testing.T) {
			remove := func(on RemovalSet) (gone bool, n RemovalStats) {
				store := newFakeStore()
				c := newTestCache(t, store, CacheOptions{RemoveOn: on})
				s := testSession()
				c.NewSession(t.Context(), server, s)
				if len(store.values) != 1 {
					t.Fatal("not stored")
				}
				c.RemoveSession(t.Context(), s, Removal{Reason: test.reason, HandshakeDone: test.done})
				reason := test.reason
				if reason.String() == "unknown" {
					reason = Unknown
				}
				stats := c.Stats()
				if len(stats.Removals) != 1 {
					t.Errorf("removals counted: %v", stats.Removals)
				}
				return len(store.values) == 0, stats.Removals[reason]
			}
			check := func(name string, on RemovalSet, want bool) {
				t.Helper()
				wantStats := RemovalStats{Kept: 1}
				if want {
					wantStats = RemovalStats{Deleted: 1}
				}
				gone, n := remove(on)
				if gone != want || n != wantStats {
					t.Errorf("%s: deleted %v (%+v), want %v", name, gone, n, want)
				}
			}
			valid := test.reason >= 0 && int(test.reason) < len(reasons)
			check("zero", RemovalSet{}, test.deletes)
			check("default", DefaultRemovals(), test.deletes)
			check("none", NoRemovals(), false)
			check("only this", NoRemovals().With(test.reason), valid)
			check("only this when done", NoRemovals().WithDone(test.reason), valid && test.done)
			check("default without this", DefaultRemovals().Without(test.reason), false)
		})
	}
	if n := len(reasons); n != 10 {
		t.Errorf("%d reasons: the table above has rows for 10", n)
	}
}

func TestRemovalSetString(t *testing.T) {
	for _, test := range []struct {
		set  RemovalSet
		want string
	}{
		{DefaultRemovals(), "explicit, faulty (handshake done), single use"},
		{NoRemovals(), "none"},
		{NoRemovals().With(Used, Unknown), "unknown, used"},
	} {
		if got := test.set.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestFailedRemovalIsCounted(t *testing.T) {
	store := newFakeStore()
	c := newTestCache(t, store, CacheOptions{})
	for _, err := range []error{errBroken, ErrNotFound, context.DeadlineExceeded} {
		store.before = func(context.Context, string) error { return err }
		c.RemoveSession(t.Context(), testSession(), Removal{Reason: Explicit})
	}
	c.RemoveSession(t.Context(), &fakeSession{}, Removal{Reason: Explicit}) // no id
	checkStats(t, c, Stats{Removals: map[Reason]RemovalStats{Explicit: {Deleted: 1, Kept: 1, Failed: 2}}})
	if store.count("Delete") != 3 {
		t.Errorf("%d deletes, want 3", store.count("Delete"))
	}
}
