package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// RunLive runs the suite for a store that keeps sessions themselves, as subtests
// of t. open is called once for each check, and returns an empty store that
// holds 100 sessions. If it is an io.Closer the suite closes it, and checks that
// no session stays open; else that is skipped.
//
// The sessions are the suite's own, and know whether they were closed.
func RunLive(t *testing.T, open func(t *testing.T) sessioncb.LiveStore) {
	for _, c := range liveChecks {
		t.Run(c.name, func(t *testing.T) {
			if c.waits {
				t.Parallel()
			}
			s := open(t)
			if _, ok := s.(io.Closer); c.closes && !ok {
				t.Skip("the store is no io.Closer")
			}
			c.run(t, s)
			if closer, ok := s.(io.Closer); ok && !c.closes {
				closer.Close()
			}
		})
	}
}

// A liveCheck is one rule. It stops at the first breach.
type liveCheck struct {
	name   string
	waits  bool // for real time to pass
	closes bool // needs an io.Closer
	run    func(t testing.TB, s sessioncb.LiveStore)
}

var liveChecks = []liveCheck{
	{name: "GetReturnsWhatWasPut", run: liveGet},
	{name: "AbsentIsErrNotFound", run: liveAbsent},
	{name: "PutReplaces", run: livePutReplaces},
	{name: "Delete", run: liveDelete},
	{name: "BinaryIDs", run: liveBinaryIDs},
	{name: "KeysAreTheCallers", run: liveKeys},
	{name: "Expiry", waits: true, run: liveExpiry},
	{name: "NoLifetime", run: liveNoLifetime},
	{name: "ClaimTakes", run: liveClaimTakes},
	{name: "ClaimExpired", waits: true, run: liveClaimExpired},
	{name: "ClaimRace", run: liveClaimRace},
	{name: "ManyGoroutines", closes: true, run: liveManyGoroutines},
	{name: "Close", closes: true, run: liveClose},
	{name: "NoBytes", run: liveNoBytes},
}

func liveGet(t testing.TB, s sessioncb.LiveStore) {
	a, b := putNew(t, s), putNew(t, s)
	wantSession(t, s, a)
	wantSession(t, s, b)
	wantSession(t, s, a) // reading does not take
}

func liveAbsent(t testing.TB, s sessioncb.LiveStore) {
	wantNoSession(t, s, newKey())
}

func livePutReplaces(t testing.TB, s sessioncb.LiveStore) {
	first := putNew(t, s)
	second := newSession(first.key)
	putSession(t, s, second, time.Hour)
	wantSession(t, s, second)
	wantClosed(t, first, "replaced")
}

func liveDelete(t testing.TB, s sessioncb.LiveStore) {
	gone, other := putNew(t, s), putNew(t, s)
	for range 2 { // what is not there is deleted without error too
		if err := s.Delete(t.Context(), gone.key); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantNoSession(t, s, gone.key)
		wantClosed(t, gone, "deleted")
	}
	wantSession(t, s, other)
	back := newSession(gone.key)
	putSession(t, s, back, time.Hour)
	wantSession(t, s, back)
}

func liveBinaryIDs(t testing.TB, s sessioncb.LiveStore) {
	var all []*session
	for _, id := range awkwardIDs() {
		one := newSession(sessioncb.Key{ID: []byte(id)})
		putSession(t, s, one, time.Hour)
		all = append(all, one)
	}
	for _, one := range all {
		wantSession(t, s, one)
	}
	for i, one := range all {
		s.Delete(t.Context(), one.key)
		wantNoSession(t, s, one.key)
		if i+1 < len(all) {
			wantSession(t, s, all[i+1])
		}
	}
}

func liveKeys(t testing.TB, s sessioncb.LiveStore) {
	one, other := newSession(newKey()), newKey()
	key := sessioncb.Key{ID: one.ID()}
	if !s.PutSession(key, one, time.Hour) {
		t.Fatalf("PutSession: not taken")
	}
	copy(key.ID, other.ID) // the caller's again
	wantSession(t, s, one)
	wantNoSession(t, s, other)
}

func liveExpiry(t testing.TB, s sessioncb.LiveStore) {
	over, replaced, stays := newSession(newKey()), newSession(newKey()), putNew(t, s)
	start := time.Now()
	putSession(t, s, over, short)
	putSession(t, s, replaced, short)
	anew := newSession(replaced.key)
	putSession(t, s, anew, time.Hour)
	if got, err := s.GetSession(over.key); time.Since(start) < short && (err != nil || got != over) {
		t.Fatalf("before its lifetime of %v was over: %v, %v", short, got, err)
	}
	for err := error(nil); !errors.Is(err, sessioncb.ErrNotFound); time.Sleep(10 * time.Millisecond) {
		asked := time.Now()
		if _, err = s.GetSession(over.key); err == nil && asked.Sub(start) > short+grace {
			t.Fatalf("put with a lifetime of %v, and still there after %v", short, asked.Sub(start))
		}
	}
	for i := 0; !over.closed(); i++ { // it may take other calls
		if i > 1000 {
			t.Fatalf("over and never closed")
		}
		s.GetSession(over.key)
		s.Delete(t.Context(), putNew(t, s).key)
	}
	wantSession(t, s, anew)
	wantSession(t, s, stays)
	again := newSession(over.key)
	putSession(t, s, again, time.Hour)
	wantSession(t, s, again)
}

func liveNoLifetime(t testing.TB, s sessioncb.LiveStore) {
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		old := putNew(t, s)
		for _, one := range []*session{newSession(newKey()), newSession(old.key)} {
			if s.PutSession(one.key, one, ttl) {
				t.Fatalf("PutSession with a lifetime of %v: taken", ttl)
			}
			if one.closed() {
				t.Fatalf("PutSession with a lifetime of %v: closed what it did not take", ttl)
			}
			wantNoSession(t, s, one.key)
		}
		wantClosed(t, old, "removed by one without a lifetime")
	}
}

func liveClaimTakes(t testing.TB, s sessioncb.LiveStore) {
	one, other := putNew(t, s), putNew(t, s)
	got, err := s.ClaimSession(one.key)
	if err != nil || got != one {
		t.Fatalf("ClaimSession: %v, %v", got, err)
	}
	wantNoSession(t, s, one.key)
	if one.closed() {
		t.Fatalf("ClaimSession: closed before anybody can have used it")
	}
	wantSession(t, s, other)
	again := newSession(one.key)
	putSession(t, s, again, time.Hour)
	if one.closed() {
		t.Fatalf("PutSession closed the session that was claimed before")
	}
	if got, err := s.ClaimSession(again.key); err != nil || got != again {
		t.Fatalf("ClaimSession: %v, %v", got, err)
	}
}

func liveClaimExpired(t testing.TB, s sessioncb.LiveStore) {
	one := newSession(newKey())
	putSession(t, s, one, short)
	time.Sleep(short + grace/2)
	if got, err := s.ClaimSession(one.key); got != nil || !errors.Is(err, sessioncb.ErrNotFound) {
		t.Fatalf("ClaimSession of what is over: got %v, %v; want ErrNotFound", got, err)
	}
}

// liveClaimRace: of many who claim one session at once, one gets it.
func liveClaimRace(t testing.TB, s sessioncb.LiveStore) {
	const goroutines = 16
	rounds := 500
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		one := putNew(t, s)
		var wins atomic.Int32
		together(t, goroutines, func(int) error {
			got, err := s.ClaimSession(one.key)
			switch {
			case errors.Is(err, sessioncb.ErrNotFound):
				return nil
			case err != nil || got != one:
				return fmt.Errorf("ClaimSession: %v, %v", got, err)
			}
			wins.Add(1)
			return nil
		})
		if n := wins.Load(); n != 1 {
			t.Fatalf("%d of %d claims of one session won, want 1", n, goroutines)
		}
	}
}

// liveManyGoroutines: whatever happens to a few keys at once, what is found was
// put under its key, and in the end each session that was taken is closed, and
// no other.
func liveManyGoroutines(t testing.TB, s sessioncb.LiveStore) {
	const goroutines, rounds = 16, 200
	keys := []sessioncb.Key{newKey(), newKey(), newKey()}
	var made [goroutines][]*session
	together(t, goroutines, func(i int) error {
		for round := range rounds {
			key := keys[(i+round)%len(keys)]
			var got sessioncb.Session
			var err error
			switch (i + round/len(keys)) % 4 {
			case 0:
				one := newSession(key)
				one.taken = s.PutSession(key, one, time.Hour)
				made[i] = append(made[i], one)
			case 1:
				got, err = s.GetSession(key)
			case 2:
				got, err = s.ClaimSession(key)
			case 3:
				if err := s.Delete(t.Context(), key); err != nil {
					return fmt.Errorf("Delete: %w", err)
				}
			}
			if err != nil && !errors.Is(err, sessioncb.ErrNotFound) {
				return fmt.Errorf("a session of many goroutines: %w", err)
			}
			if one, _ := got.(*session); got != nil && (one == nil || string(one.key.ID) != string(key.ID)) {
				return fmt.Errorf("found %v under id %x", got, key.ID)
			}
		}
		return nil
	})
	made[0] = append(made[0], putNew(t, s)) // Close has one to end, whatever the goroutines left
	closeStore(t, s)
	for _, list := range made {
		for _, one := range list {
			wantEnd(t, one)
		}
	}
}

// liveClose: what is put while the store is closed is closed too, or not taken.
func liveClose(t testing.TB, s sessioncb.LiveStore) {
	const goroutines, each = 8, 12
	there, taken := putNew(t, s), putNew(t, s)
	if _, err := s.ClaimSession(taken.key); err != nil {
		t.Fatalf("ClaimSession: %v", err)
	}
	var made [goroutines][each]*session
	together(t, goroutines, func(i int) error {
		for j := range each {
			if i == 0 && j == each/2 {
				if err := s.(io.Closer).Close(); err != nil {
					return fmt.Errorf("Close: %w", err)
				}
			}
			one := newSession(newKey())
			one.taken = s.PutSession(one.key, one, time.Hour)
			if i%2 == 0 {
				s.ClaimSession(one.key)
			}
			made[i][j] = one
		}
		return nil
	})
	wantClosed(t, there, "in a store that was closed")
	wantClosed(t, taken, "claimed from a store that was closed")
	for _, list := range made {
		for _, one := range list {
			wantEnd(t, one)
		}
	}
	wantNoSession(t, s, there.key)
	if late := newSession(newKey()); s.PutSession(late.key, late, time.Hour) {
		t.Fatalf("PutSession after Close: taken")
	}
	closeStore(t, s) // a second time
}

func liveNoBytes(t testing.TB, s sessioncb.LiveStore) {
	one := putNew(t, s)
	if b, err := s.Get(t.Context(), one.key); b != nil || !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("Get of bytes: %d bytes, %v; want errors.ErrUnsupported", len(b), err)
	}
	if err := s.Put(context.Background(), one.key, []byte("0"), time.Hour); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("Put of bytes: %v, want errors.ErrUnsupported", err)
	}
	wantSession(t, s, one)
}
