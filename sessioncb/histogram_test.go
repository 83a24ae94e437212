package sessioncb

import (
	"context"
	"slices"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	h := histogram{}
	for _, d := range []time.Duration{-time.Second, 0, 10 * time.Microsecond, 10*time.Microsecond + 1, time.Second, time.Second + 1, time.Hour} {
		h.observe(d)
	}
	got := h.load()
	if !slices.IsSorted(got.Bounds) || got.Bounds[0] != 0.00001 || got.Bounds[len(got.Bounds)-1] != 1 {
		t.Errorf("bounds %v", got.Bounds)
	}
	want := make([]uint64, len(got.Bounds)+1)
	want[0], want[1], want[len(want)-2], want[len(want)-1] = 3, 1, 1, 2
	if !slices.Equal(got.Counts, want) || got.Count() != 7 {
		t.Errorf("counts %v, want %v", got.Counts, want)
	}
	if sum := (20*time.Microsecond + 2*time.Second + time.Hour + 2).Seconds(); got.Sum != sum {
		t.Errorf("sum %v, want %v", got.Sum, sum)
	}
}

// TestTimesAreCounted, by the clock of the options.
func TestTimesAreCounted(t *testing.T) {
	now, store := cacheTime, newFakeStore()
	c := newTestCache(t, store, CacheOptions{Now: func() time.Time { return now }})
	took := map[string]time.Duration{"Get": 3 * time.Millisecond, "Put": 30 * time.Millisecond}
	store.before = func(_ context.Context, method string) error { now = now.Add(took[method]); return nil }
	s := testSession()
	c.NewSession(t.Context(), server, s)
	lookups(t, c, s, 2)
	st := c.Stats()
	if st.LookupTime.Sum != 0.006 || st.LookupTime.Count() != 2 || st.PutTime.Sum != 0.03 || st.PutTime.Count() != 1 {
		t.Errorf("lookups %+v, puts %+v", st.LookupTime, st.PutTime)
	}
}
