package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

func claimTakes(t testing.TB, s sessioncb.Store) {
	c := s.(sessioncb.Claimer)
	k, other := newKey(), newKey()
	put(t, s, k, []byte("value"), time.Hour)
	put(t, s, other, []byte("other"), time.Hour)
	got, err := c.Claim(t.Context(), k)
	if err != nil || string(got) != "value" {
		t.Fatalf("Claim: %q, %v", got, err)
	}
	wantNotClaimed(t, c, k)
	wantAbsent(t, s, k)
	wantValue(t, s, other, []byte("other"))
	put(t, s, k, []byte("again"), time.Hour)
	copy(got, "XXXXX") // the caller's
	if got, err := c.Claim(t.Context(), k); err != nil || string(got) != "again" {
		t.Fatalf("Claim: %q, %v", got, err)
	}
}

func claimExpired(t testing.TB, s sessioncb.Store) {
	k := newKey()
	put(t, s, k, []byte("value"), short)
	time.Sleep(short + grace/2)
	wantNotClaimed(t, s.(sessioncb.Claimer), k)
}

func claimCanceled(t testing.TB, s sessioncb.Store) {
	k := newKey()
	put(t, s, k, []byte("value"), time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.(sessioncb.Claimer).Claim(ctx, k)
	wantCanceled(t, "Claim", err)
	wantValue(t, s, k, []byte("value"))
}

// claimRace: of many who claim one value at once, over several clients, one
// gets it.
func claimRace(t testing.TB, s [clients]sessioncb.Store) {
	const goroutines = 32
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for round := 0; round < rounds; round += goroutines {
		// The values of some rounds are put at once, which a store with a disk
		// likes, but not of all: a bounded one may not have the room.
		var keys [goroutines]sessioncb.Key
		value := func(i int) []byte { return fmt.Appendf(nil, "value of round %d", round+i) }
		together(t, goroutines, func(i int) error {
			keys[i] = newKey()
			if err := s[i%clients].Put(t.Context(), keys[i], value(i), time.Hour); err != nil {
				return fmt.Errorf("Put: %w", err)
			}
			return nil
		})
		for i, k := range keys {
			claimOnce(t, s, k, value(i), goroutines)
		}
	}
}

func claimOnce(t testing.TB, s [clients]sessioncb.Store, k sessioncb.Key, value []byte, goroutines int) {
	t.Helper()
	var wins atomic.Int32
	together(t, goroutines, func(i int) error {
		got, err := s[i%clients].(sessioncb.Claimer).Claim(t.Context(), k)
		switch {
		case errors.Is(err, sessioncb.ErrNotFound):
			return nil
		case err != nil:
			return fmt.Errorf("Claim: %w", err)
		case !bytes.Equal(got, value):
			return fmt.Errorf("Claim: got %q, want %q", got, value)
		}
		wins.Add(1)
		return nil
	})
	if n := wins.Load(); n != 1 {
		t.Fatalf("%d of %d claims of one value won, want 1: the %s", n, goroutines, value)
	}
	wantAbsent(t, s[0], k)
}
