package sessioncb

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"
)

// lookups does n lookups and tells how many were hits with s's bytes.
func lookups(t *testing.T, c *Cache, s *fakeSession, n int) (hits int) {
	t.Helper()
	for range n {
		a, _ := c.GetSession(t.Context(), server, bytes.Clone(s.id))
		switch {
		case bytes.Equal(a.Encoded(), s.der):
			hits++
		case a.Encoded() != nil:
			t.Fatalf("a lookup gave other bytes: %q", a.Encoded())
		}
	}
	return hits
}

// pauseIn stops calls of a method in the store, after it has read or written
// its map. The first value from began says that one is there.
func pauseIn(store *fakeStore, method string) (began <-chan struct{}, release func()) {
	in, out := make(chan struct{}, 100), make(chan struct{})
	store.mu.Lock()
	defer store.mu.Unlock()
	store.after = func(_ context.Context, m string) {
		if m == method {
			in <- struct{}{}
			<-out
		}
	}
	return in, func() {
		store.mu.Lock()
		store.after = nil
		store.mu.Unlock()
		close(out)
	}
}

func TestNearAnswersForTheStore(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     CacheOptions
		after time.Duration // since it was last read from the store
		asks  int           // of the next lookup
		hit   bool
	}{
		{"at once", CacheOptions{NearBytes: 1 << 20}, 0, 0, true},
		{"at the end of its near life", CacheOptions{NearBytes: 1 << 20}, DefaultNearTTL - 1, 0, true},
		{"past it", CacheOptions{NearBytes: 1 << 20}, DefaultNearTTL, 1, true},
		{"another near life", CacheOptions{NearBytes: 1 << 20, NearTTL: 10 * time.Minute}, 10*time.Minute - 1, 0, true},
		{"another near life, past it", CacheOptions{NearBytes: 1 << 20, NearTTL: 10 * time.Minute}, 10 * time.Minute, 1, true},
		{"the session's end comes first", CacheOptions{NearBytes: 1 << 20, NearTTL: 24 * time.Hour}, 59*time.Minute - 500*time.Millisecond, 1, false},
		{"just before it", CacheOptions{NearBytes: 1 << 20, NearTTL: 24 * time.Hour}, 59*time.Minute - 501*time.Millisecond, 0, true},
		{"none", CacheOptions{}, 0, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, now, store := testSession(), cacheTime, newFakeStore()
			test.o.Now = func() time.Time { return now }
			test.o.Keys = mustRing(t, testKey(1))
			newTestCache(t, store, test.o).NewSession(t.Context(), server, s) // another server's
			c := newTestCache(t, store, test.o)
			if lookups(t, c, s, 1) != 1 || store.count("Get") != 1 {
				t.Fatal("the first lookup was no hit of the store")
			}
			now = now.Add(test.after)
			if got := lookups(t, c, s, 1) == 1; got != test.hit {
				t.Errorf("hit: %v, want %v", got, test.hit)
			}
			if got := store.count("Get") - 1; got != test.asks {
				t.Errorf("the store was asked %d times, want %d", got, test.asks)
			}
			if got, want := c.Stats().Hits.Near, uint64(1-test.asks); got != want {
				t.Errorf("%d hits near, want %d", got, want)
			}
		})
	}
}

// TestReadYourWrites: what this process was told of it finds, whatever the
// store does with it.
func TestReadYourWrites(t *testing.T) {
	for _, codec := range []Codec{nil, InsecurePlaintext()} {
		store := newFakeStore()
		store.before = func(context.Context, string) error { return errBroken }
		c := newTestCache(t, store, CacheOptions{NearBytes: 1 << 20, Codec: codec})
		s := testSession()
		c.NewSession(t.Context(), server, s)
		if lookups(t, c, s, 2) != 2 {
			t.Error("not found")
		}
		checkStats(t, c, Stats{Lookups: LookupStats{Hit: 2}, Puts: PutStats{Error: 1}})
		if store.count("Get") != 0 {
			t.Error("the store was asked")
		}
		// The near cache has no session in plain, whatever the Codec.
		raw, there := c.near.values.Get(s.id, cacheTime)
		if !there || bytes.Contains(raw, s.der) {
			t.Errorf("codec %T: in memory: %v, %q", codec, there, raw)
		}
		if st := c.Stats(); st.NearSessions != 1 || st.NearBytes < int64(len(s.der)) {
			t.Errorf("%d sessions, %d bytes", st.NearSessions, st.NearBytes)
		}
	}
}

func TestRemovalLeavesTheNearCache(t *testing.T) {
	for _, test := range []struct {
		name    string
		removal Removal
		broken  bool
		near    int
	}{
		{"removed", Removal{Reason: Explicit}, false, 0},
		{"removed, and the store fails", Removal{Reason: Explicit}, true, 0},
		{"kept", Removal{Reason: Evicted}, false, 1},
	} {
		store, s := newFakeStore(), testSession()
		c := newTestCache(t, store, CacheOptions{NearBytes: 1 << 20})
		c.NewSession(t.Context(), server, s)
		if test.broken {
			store.hook(func(context.Context, string) error { return errBroken })
		}
		c.RemoveSession(t.Context(), s, test.removal)
		if got := c.Stats().NearSessions; got != test.near {
			t.Errorf("%s: %d sessions near, want %d", test.name, got, test.near)
		}
		if got := lookups(t, c, s, 1); got != test.near {
			t.Errorf("%s: %d hits, want %d", test.name, got, test.near)
		}
	}
}

// TestLateLookupIsNotKept: a lookup has read the store, and before it comes
// back this process removes the session, or stores another value, or claims it.
// What it has read answers that lookup and is not kept.
func TestLateLookupIsNotKept(t *testing.T) {
	old, young := testSession(), testSession()
	young.der = []byte("0\x20 another secret session")
	for _, test := range []struct {
		name string
		act  func(*Cache)
		want []byte // what the next lookup finds
	}{
		{"removal", func(c *Cache) { c.RemoveSession(t.Context(), old, Removal{Reason: Explicit}) }, nil},
		{"put", func(c *Cache) { c.NewSession(t.Context(), server, young) }, young.der},
		{"claim", func(c *Cache) { c.GetSession(t.Context(), &fakeConn{}, old.id) }, nil},
	} {
		for _, near := range []int64{0, 1 << 20} {
			t.Run(fmt.Sprint(test.name, " ", near), func(t *testing.T) {
				store := newFakeStore()
				c := newTestCache(t, claimingStore{store}, CacheOptions{NearBytes: near, SingleUse: true})
				tls12 := &fakeConn{version: 0x0303}
				old.version, young.version = 0x0303, 0x0303
				store.values[string(old.id)], _ = c.codec.Encode(Key{old.id}, Record{DER: old.der, IDContext: old.idContext, Expires: cacheTime.Add(time.Hour)})

				began, release := pauseIn(store, "Get")
				late := make(chan []byte)
				go func() {
					a, _ := c.GetSession(t.Context(), tls12, bytes.Clone(old.id))
					late <- a.Encoded()
				}()
				<-began
				test.act(c)
				release()
				if got := <-late; !bytes.Equal(got, old.der) {
					t.Fatalf("the late lookup did not read the old value: %q", got)
				}
				if a, _ := c.GetSession(t.Context(), tls12, bytes.Clone(old.id)); !bytes.Equal(a.Encoded(), test.want) {
					t.Errorf("then: %q, want %q", a.Encoded(), test.want)
				}
			})
		}
	}
}

// TestLateDeletion: a deletion took longer than anybody waited, and a lookup
// meanwhile read the session and kept it. When the deletion lands it leaves.
func TestLateDeletion(t *testing.T) {
	store, s := newFakeStore(), testSession()
	c := newTestCache(t, store, CacheOptions{NearBytes: 1 << 20, PutTimeout: time.Millisecond})
	c.put.timeout = time.Minute
	c.NewSession(t.Context(), server, s)
	release := make(chan struct{})
	store.hook(func(_ context.Context, method string) error {
		if method == "Delete" {
			<-release
		}
		return nil
	})
	c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
	if got := c.Stats().Removals[Explicit].Failed; got != 1 {
		t.Fatalf("the deletion did not time out: %d", got)
	}
	if lookups(t, c, s, 1) != 1 || c.Stats().NearSessions != 1 {
		t.Fatal("the session is not near again")
	}
	close(release)
	eventually(t, "the deletion ends", func() bool { return c.Stats().WritesInside == 0 })
	if n := c.Stats().NearSessions; n != 0 || lookups(t, c, s, 1) != 0 {
		t.Errorf("%d sessions near after the deletion", n)
	}
}

// TestNearKeepsWhatOpens: values that are of no use are not kept, and a value
// whose key left the ring goes.
func TestNearKeepsWhatOpens(t *testing.T) {
	s := testSession()
	sealed := func(key byte, id []byte, expires time.Time) []byte {
		return mustSeal(t, testKey(key), id, Record{DER: bytes.Clone(s.der), IDContext: s.idContext, Expires: expires})
	}
	later := cacheTime.Add(time.Hour)
	for _, test := range []struct {
		name  string
		value []byte
		near  int
	}{
		{"good", sealed(1, s.id, later), 1},
		{"other key", sealed(2, s.id, later), 0},
		{"other id", sealed(1, []byte("other"), later), 0},
		{"garbage", []byte("garbage"), 0},
		{"expired", sealed(1, s.id, cacheTime.Add(-time.Hour)), 0},
		{"too large", make([]byte, DefaultMaxValue+1), 0},
	} {
		store := newFakeStore()
		store.values[string(s.id)] = test.value
		c := newTestCache(t, store, CacheOptions{NearBytes: 1 << 20, Keys: mustRing(t, testKey(1))})
		if got := lookups(t, c, s, 1); got != test.near {
			t.Errorf("%s: %d hits, want %d", test.name, got, test.near)
		}
		if got := c.Stats().NearSessions; got != test.near {
			t.Errorf("%s: %d values near, want %d", test.name, got, test.near)
		}
	}

	ring := mustRing(t, testKey(1))
	c := newTestCache(t, newFakeStore(), CacheOptions{NearBytes: 1 << 20, Keys: ring})
	c.NewSession(t.Context(), server, s)
	ring.Replace(testKey(2))
	if lookups(t, c, s, 1) != 0 || c.Stats().NearSessions != 0 || c.Stats().Lookups.OtherKey != 1 {
		t.Errorf("a key left the ring, and its values stay near: %+v", c.Stats())
	}
}

func TestNearIsBounded(t *testing.T) {
	c := newTestCache(t, newFakeStore(), CacheOptions{NearBytes: 64 << 10})
	s := testSession()
	s.der = append([]byte("0"), make([]byte, 1000)...)
	for i := range 1000 {
		s.id = []byte(fmt.Sprint(i))
		c.NewSession(t.Context(), server, s)
	}
	if st := c.Stats(); st.NearBytes > 64<<10 || st.NearSessions < 40 {
		t.Errorf("%d sessions, %d bytes near", st.NearSessions, st.NearBytes)
	}
	if lookups(t, c, s, 1) != 1 || c.Stats().Hits.Near != 1 {
		t.Error("the last one was not near")
	}
}

// TestScribblingStore: a store that overwrites what is lent to it hurts no
// other id than its own. (s is near from its Put, other is asked for.)
func TestScribblingStore(t *testing.T) {
	store := scribblingStore{newFakeStore()}
	c := newTestCache(t, store, CacheOptions{NearBytes: 1 << 20, WriteBehind: 10, MissTTL: time.Hour})
	s, other := testSession(), testSession()
	other.id = []byte("other id")
	for range 3 {
		c.NewSession(t.Context(), server, s)
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lookups(t, c, s, 3) != 3 || lookups(t, c, other, 1) != 0 {
			t.Fatal("a lookup went wrong")
		}
	}
	c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
	if lookups(t, c, s, 1) != 0 {
		t.Error("found after its removal")
	}
	if len(c.behind.ids) != 0 || c.Stats().MissesRemembered != 2 || !c.misses.has(Key{other.id}) {
		t.Errorf("left behind: %v, %+v", c.behind.ids, c.Stats())
	}
}

// scribblingStore holds nothing and overwrites what is lent to it.
type scribblingStore struct{ *fakeStore }

func (s scribblingStore) Put(ctx context.Context, key Key, value []byte, ttl time.Duration) error {
	clear(value)
	clear(key.ID)
	return nil
}

func (s scribblingStore) Get(ctx context.Context, key Key) ([]byte, error) {
	clear(key.ID)
	return nil, ErrNotFound
}

func (s scribblingStore) Delete(ctx context.Context, key Key) error {
	clear(key.ID)
	return nil
}
