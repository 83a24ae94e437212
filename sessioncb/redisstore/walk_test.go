package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// walk is what ForEach tells: "id=value".
func walk(t testing.TB, s *Store) (all []string) {
	t.Helper()
	err := s.ForEach(t.Context(), func(k sessioncb.Key, v []byte, expires time.Time) error {
		if left := time.Until(expires); left < 50*time.Minute || left > time.Hour {
			t.Errorf("%q expires in %v", k.ID, left)
		}
		all = append(all, fmt.Sprintf("%q=%s", k.ID, v))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return slices.Compact(all) // what is seen twice
}

// fill puts n sessions and returns what walk should tell of them.
func fill(t testing.TB, s *Store, n int) (all []string) {
	t.Helper()
	for i := range n {
		id, v := fmt.Sprintf("\x00%d\xff", i), fmt.Sprint("value ", i)
		if err := s.Put(t.Context(), sessioncb.Key{ID: []byte(id)}, []byte(v), time.Hour); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%q=%s", id, v))
	}
	slices.Sort(all)
	return all
}

func TestForEach(t *testing.T) {
	server := testserver.Redis(t)
	c := client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}})
	// Each of these would find the others if it were taken for a pattern.
	prefixes := []string{"a*", "ab", "a?", "a[b]", `a\`, "a^"}
	wants := map[string][]string{}
	for i, p := range prefixes {
		wants[p] = fill(t, store(t, c, Options{Prefix: p + ":"}), 10+walkStep*i)
	}
	// Somebody else's keys under our prefix: too short and too long for an id.
	c.Set(t.Context(), "ab:", "v", 0)
	c.Set(t.Context(), "ab:"+string(make([]byte, 33)), "v", 0)
	for _, p := range prefixes {
		if diff := cmp.Diff(wants[p], walk(t, store(t, c, Options{Prefix: p + ":"}))); diff != "" {
			t.Errorf("prefix %q (-want +got):\n%s", p, diff)
		}
	}
	if got := walk(t, store(t, c, Options{})); got != nil {
		t.Errorf("of an empty prefix: %q", got)
	}

	s := store(t, c, Options{Prefix: "a^:"})
	seen, errStop := 0, errors.New("stop")
	if err := s.ForEach(t.Context(), func(sessioncb.Key, []byte, time.Time) error {
		seen++
		return errStop
	}); err != errStop || seen != 1 {
		t.Errorf("stopped after %d: %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen = 0
	if err := s.ForEach(ctx, func(k sessioncb.Key, _ []byte, _ time.Time) error {
		seen++
		cancel()
		return nil
	}); !errors.Is(err, context.Canceled) || seen == 0 || seen > 2*walkStep {
		t.Errorf("canceled, and %d seen: %v", seen, err)
	}
	// f may call the store.
	if err := s.ForEach(t.Context(), func(k sessioncb.Key, _ []byte, _ time.Time) error { return s.Delete(t.Context(), k) }); err != nil {
		t.Error(err)
	}
	if got := walk(t, s); got != nil {
		t.Errorf("after each was deleted: %q", got)
	}

	c.Set(t.Context(), DefaultPrefix+"for ever", "v", 0)
	c.LPush(t.Context(), DefaultPrefix+"list", "v")
	err := store(t, c, Options{}).ForEach(t.Context(), func(k sessioncb.Key, _ []byte, expires time.Time) error {
		if string(k.ID) != "for ever" || !expires.IsZero() {
			t.Errorf("%q expires %v", k.ID, expires)
		}
		return nil
	})
	if err == nil {
		t.Error("a value of another type is no error")
	}
}
