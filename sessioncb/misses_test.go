package sessioncb

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

func TestMissesAreRemembered(t *testing.T) {
	for _, test := range []struct {
		name  string
		ttl   time.Duration
		after time.Duration
		asks  int
	}{
		{"at once", 0, 0, 1},
		{"within a second", 0, time.Second - 1, 1},
		{"after it", 0, time.Second, 2},
		{"another time", time.Minute, time.Minute - 1, 1},
		{"after another time", time.Minute, time.Minute, 2},
		{"never", -1, 0, 2},
	} {
		now, store := cacheTime, newFakeStore()
		c := newTestCache(t, store, CacheOptions{MissTTL: test.ttl, Now: func() time.Time { return now }})
		s := testSession()
		lookups(t, c, s, 1)
		now = now.Add(test.after)
		lookups(t, c, s, 1)
		if got := store.count("Get"); got != test.asks {
			t.Errorf("%s: asked %d times, want %d", test.name, got, test.asks)
		}
		checkStats(t, c, Stats{Lookups: LookupStats{Miss: 2}})
		if got := int(c.Stats().Misses.Asked); got != test.asks {
			t.Errorf("%s: %d misses asked, want %d", test.name, got, test.asks)
		}
	}
}

func TestOtherFailuresAreNotRemembered(t *testing.T) {
	store, s := newFakeStore(), testSession()
	c := newTestCache(t, store, CacheOptions{MissTTL: time.Hour})
	store.values[string(s.id)] = []byte("garbage")
	lookups(t, c, s, 2)
	if got := store.count("Get"); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}
}

func TestPutEndsAMiss(t *testing.T) {
	c := newTestCache(t, newFakeStore(), CacheOptions{MissTTL: time.Hour})
	s := testSession()
	if lookups(t, c, s, 2) != 0 {
		t.Fatal("found before it was there")
	}
	c.NewSession(t.Context(), server, s)
	if lookups(t, c, s, 1) != 1 {
		t.Error("not found after it was put")
	}
}

// TestLateMissIsNotRemembered: a lookup has read that nothing is there, and a
// Put comes before it is back.
func TestLateMissIsNotRemembered(t *testing.T) {
	store, s := newFakeStore(), testSession()
	c := newTestCache(t, store, CacheOptions{MissTTL: time.Hour})
	began, release := pauseIn(store, "Get")
	late := make(chan []byte)
	go func() {
		a, _ := c.GetSession(t.Context(), server, bytes.Clone(s.id))
		late <- a.Encoded()
	}()
	<-began
	c.NewSession(t.Context(), server, s)
	release()
	if got := <-late; got != nil {
		t.Fatalf("the late lookup found %q", got)
	}
	if c.Stats().MissesRemembered != 0 || lookups(t, c, s, 1) != 1 {
		t.Error("the miss is remembered over the Put")
	}
}

// TestLatePut: a Put took longer than anybody waited, and a lookup meanwhile
// found nothing. When the Put lands the miss is forgotten.
func TestLatePut(t *testing.T) {
	store, s := newFakeStore(), testSession()
	c := newTestCache(t, store, CacheOptions{MissTTL: time.Hour, PutTimeout: time.Millisecond})
	release := hang(store)
	c.NewSession(t.Context(), server, s)
	store.hook(nil)
	if lookups(t, c, s, 1) != 0 || c.Stats().MissesRemembered != 1 {
		t.Fatal("the lookup was no miss")
	}
	release()
	eventually(t, "the put ends", func() bool { return c.Stats().WritesInside == 0 })
	if lookups(t, c, s, 1) != 1 {
		t.Error("not found after the Put has landed")
	}
}

func TestMissesAreBounded(t *testing.T) {
	m := newMisses(time.Hour, func() time.Time { return cacheTime })
	e := newEpochs()
	id := make([]byte, maxIDSize)
	for i := range 3 * maxMisses {
		binary.BigEndian.PutUint64(id, uint64(i))
		m.keep(Key{id}, e.of(Key{id}))
	}
	if n := m.size(); n > maxMisses || n < maxMisses/2 {
		t.Errorf("%d ids, want up to %d", n, maxMisses)
	}
	if !m.has(Key{id}) {
		t.Error("the last one is forgotten")
	}
}

// TestEpochs: what is asked before a change is late after it.
func TestEpochs(t *testing.T) {
	e := newEpochs()
	a := e.of(Key{[]byte("a")})
	if !a.isNow() {
		t.Error("over before it ended")
	}
	e.end(Key{[]byte("a")})
	if a.isNow() || !e.of(Key{[]byte("a")}).isNow() {
		t.Error("did not end, or the next did not begin")
	}
}
