package sessioncb

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeLive is a LiveStore that is a map, with a hook before each call.
type fakeLive struct {
	Store // nil: a call of Get or Put panics
	mu    sync.Mutex
	there map[string]Session
	ttl   time.Duration // of the last PutSession
	full  bool
	hook  func(method string) error
}

func newFakeLive() *fakeLive { return &fakeLive{there: map[string]Session{}} }

func (s *fakeLive) enter(method string) error {
	if s.hook != nil {
		return s.hook(method)
	}
	return nil
}

func (s *fakeLive) PutSession(key Key, v Session, ttl time.Duration) bool {
	s.enter("PutSession")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return false
	}
	s.ttl = ttl
	s.there[string(key.ID)] = v
	return true
}

func (s *fakeLive) GetSession(key Key) (Session, error) {
	if err := s.enter("GetSession"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.there[string(key.ID)]
	if !ok {
		return nil, ErrNotFound
	}
	return v, nil
}

func (s *fakeLive) ClaimSession(key Key) (Session, error) {
	if err := s.enter("ClaimSession"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.there[string(key.ID)]
	if !ok {
		return nil, ErrNotFound
	}
	delete(s.there, string(key.ID))
	return v, nil
}

func (s *fakeLive) Delete(_ context.Context, key Key) error {
	if err := s.enter("Delete"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.there, string(key.ID))
	return nil
}

func (s *fakeLive) has(v *fakeSession) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.there[string(v.id)] == Session(v)
}

func liveCache(t *testing.T, store LiveStore, o CacheOptions) *Cache {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	if o.Now == nil {
		o.Now = func() time.Time { return cacheTime }
	}
	c, err := NewCache(store, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// onlyLookups and onlyPuts say that all lookups, or puts, are counted there.
func onlyLookups(t *testing.T, c *Cache, want LookupStats) {
	t.Helper()
	if diff := cmp.Diff(want, c.Stats().Lookups); diff != "" {
		t.Errorf("lookups (-want +got):\n%s", diff)
	}
}

func onlyPuts(t *testing.T, c *Cache, want PutStats) {
	t.Helper()
	if diff := cmp.Diff(want, c.Stats().Puts); diff != "" {
		t.Errorf("puts (-want +got):\n%s", diff)
	}
}

func TestLiveOptions(t *testing.T) {
	ring := mustRing(t, testKey(1))
	for _, test := range []struct {
		name string
		o    CacheOptions
		want string // "": it is fine
	}{
		{"the zero value", CacheOptions{}, ""},
		{"all that may be set", CacheOptions{SingleUse: true, TagIDs: true, Keys: ring, RemoveOn: NoRemovals(), Now: time.Now, Logger: slog.Default()}, ""},
		{"keys for nothing", CacheOptions{Keys: ring}, "Keys is set: a LiveStore keeps no bytes to seal"},
		{"tags without keys", CacheOptions{TagIDs: true}, "TagIDs needs Keys"},
		{"tags with no key", CacheOptions{TagIDs: true, Keys: new(KeyRing)}, "key ring is empty"},
		{"codec", CacheOptions{Codec: InsecurePlaintext()}, "Codec is set"},
		{"max value", CacheOptions{MaxValue: 4096}, "MaxValue is set"},
		{"near bytes", CacheOptions{NearBytes: 1 << 20}, "NearBytes is set"},
		{"near ttl", CacheOptions{NearTTL: 1}, "NearTTL is set"},
		{"lookup timeout", CacheOptions{LookupTimeout: 1}, "LookupTimeout is set: a LiveStore never waits"},
		{"put timeout", CacheOptions{PutTimeout: 1}, "PutTimeout is set"},
		{"max calls", CacheOptions{MaxCalls: 1}, "MaxCalls is set"},
		{"write behind", CacheOptions{WriteBehind: 1}, "WriteBehind is set"},
		{"misses", CacheOptions{MissTTL: -1}, "MissTTL is set"},
		{"breakers", CacheOptions{BreakerFailures: -1}, "BreakerFailures is set"},
		{"breaker pause", CacheOptions{BreakerPause: 1}, "BreakerPause is set"},
	} {
		c, err := NewCache(newFakeLive(), test.o)
		switch {
		case test.want == "" && (err != nil || !c.Immediate() || c.SingleUse() != test.o.SingleUse):
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (c != nil || err == nil || !strings.HasPrefix(err.Error(), "sessioncb: new cache: ") || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, %v; want an error with %q", test.name, c, err, test.want)
		}
	}
	if c, err := NewCache((*fakeLive)(nil), CacheOptions{}); c != nil || err == nil {
		t.Errorf("a typed nil: %v, %v", c, err)
	}
	if c, err := NewCache(newFakeStore(), CacheOptions{Keys: ring}); err != nil || c.Immediate() {
		t.Errorf("a store of bytes: %v, immediate %v", err, c.Immediate())
	}
}

// A live session is stored and found as it is: nothing encodes it, and the
// answer has no bytes to decode.
func TestLiveNothingIsEncoded(t *testing.T) {
	store := newFakeLive()
	c := liveCache(t, store, CacheOptions{})
	s := testSession()
	if !c.NewSession(t.Context(), server, s) {
		t.Fatal("not kept, though the store took it")
	}
	if store.ttl <= 0 || store.ttl > s.timeout {
		t.Errorf("stored for %v", store.ttl)
	}
	for range 2 {
		a, err := c.GetSession(t.Context(), server, s.id)
		if err != nil || a.Session() != Session(s) || a.Encoded() != nil {
			t.Fatalf("answer %v, %d bytes, %v", a.Session(), len(a.Encoded()), err)
		}
	}
	if s.marshaled != nil {
		t.Error("the session was encoded")
	}
	onlyPuts(t, c, PutStats{Stored: 1})
	onlyLookups(t, c, LookupStats{Hit: 2})
	got := c.Stats()
	if got.Hits != (HitStats{Store: 2}) || got.Calls != (CallStats{Get: 2, Put: 1}) || got.LookupTime.Count() != 2 || got.PutTime.Count() != 1 {
		t.Errorf("hits %+v, calls %+v, times %+v, %+v", got.Hits, got.Calls, got.LookupTime, got.PutTime)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error("Close:", err)
	}
}

func TestLiveLookups(t *testing.T) {
	errDown := errors.New("no session today")
	canceledCtx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		conn   *fakeConn
		change func(*fakeSession, *fakeLive)
		want   LookupStats
		calls  CallStats
		err    string // in the error; "": none
	}{
		{name: "there", want: LookupStats{Hit: 1}, calls: CallStats{Get: 1}},
		{name: "a connection whose context only OpenSSL knows", conn: &fakeConn{}, want: LookupStats{Hit: 1}, calls: CallStats{Get: 1}},
		{name: "not there", change: func(_ *fakeSession, s *fakeLive) { clear(s.there) },
			want: LookupStats{Miss: 1}, calls: CallStats{Get: 1}},
		{name: "of another host", conn: &fakeConn{idContext: []byte("host B")},
			want: LookupStats{OtherContext: 1}, calls: CallStats{Get: 1}},
		{name: "in its last second", change: func(s *fakeSession, _ *fakeLive) { s.timeout = time.Minute + time.Second },
			want: LookupStats{Hit: 1}, calls: CallStats{Get: 1}},
		{name: "over", change: func(s *fakeSession, _ *fakeLive) { s.timeout = time.Minute },
			want: LookupStats{Expired: 1}, calls: CallStats{Get: 1}},
		{name: "another session", change: func(s *fakeSession, l *fakeLive) {
			other := *s
			other.id = []byte("another")
			l.there[string(s.id)] = &other
		}, want: LookupStats{OtherID: 1}, calls: CallStats{Get: 1}, err: ErrOtherID.Error()},
		{name: "neither session nor error", change: func(s *fakeSession, l *fakeLive) { l.there[string(s.id)] = nil },
			want: LookupStats{Error: 1}, calls: CallStats{Get: 1}, err: "neither a session"},
		{name: "the store fails", change: func(_ *fakeSession, l *fakeLive) { l.hook = func(string) error { return errDown } },
			want: LookupStats{Error: 1}, calls: CallStats{Get: 1}, err: errDown.Error()},
		{name: "the store panics", change: func(_ *fakeSession, l *fakeLive) { l.hook = func(string) error { panic("oh") } },
			want: LookupStats{Error: 1}, calls: CallStats{Get: 1}, err: "the store panicked: oh"},
		{name: "the connection is gone", ctx: canceledCtx, want: LookupStats{Canceled: 1}, err: "canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeLive()
			s := testSession() // a minute old
			store.there[string(s.id)] = s
			if test.change != nil {
				test.change(s, store)
			}
			c := liveCache(t, store, CacheOptions{})
			a, err := c.GetSession(or(test.ctx, t.Context()), or(test.conn, server), s.id)
			if hit := test.want.Hit == 1; (a.Session() == Session(s)) != hit || a.Encoded() != nil {
				t.Errorf("answer %v", a)
			}
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			onlyLookups(t, c, test.want)
			if got := c.Stats().Calls; got != test.calls {
				t.Errorf("calls %+v, want %+v", got, test.calls)
			}
		})
	}
}

func TestLivePuts(t *testing.T) {
	for _, test := range []struct {
		name   string
		conn   *fakeConn
		change func(*fakeSession, *fakeLive)
		keep   bool
		want   PutStats
	}{
		{name: "taken", keep: true, want: PutStats{Stored: 1}},
		{name: "a client's", conn: &fakeConn{client: true}, want: PutStats{Skipped: 1}},
		{name: "over", change: func(s *fakeSession, _ *fakeLive) { s.timeout = 0 }, want: PutStats{Skipped: 1}},
		{name: "without an id", change: func(s *fakeSession, _ *fakeLive) { s.id = nil }, want: PutStats{Skipped: 1}},
		{name: "not taken", change: func(_ *fakeSession, l *fakeLive) { l.full = true }, want: PutStats{Dropped: 1}},
		{name: "the store panics", change: func(_ *fakeSession, l *fakeLive) { l.hook = func(string) error { panic("oh") } },
			want: PutStats{Error: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeLive()
			s := testSession()
			if test.change != nil {
				test.change(s, store)
			}
			c := liveCache(t, store, CacheOptions{})
			if keep := c.NewSession(t.Context(), or(test.conn, server), s); keep != test.keep || store.has(s) != test.keep {
				t.Errorf("keep %v, want %v; there %v", keep, test.keep, store.has(s))
			}
			onlyPuts(t, c, test.want)
		})
	}
}

// A session of TLS 1.3 is claimed, one of TLS 1.2 is not.
func TestLiveSingleUse(t *testing.T) {
	store := newFakeLive()
	c := liveCache(t, store, CacheOptions{SingleUse: true})
	s, old := testSession(), numbered(1)
	c.NewSession(t.Context(), server, s)
	c.NewSession(t.Context(), tls12, old)
	for i := range 2 {
		a, err := c.GetSession(t.Context(), server, s.id)
		if err != nil || (a.Session() == Session(s)) != (i == 0) {
			t.Errorf("TLS 1.3, lookup %d: %v, %v", i, a, err)
		}
		if a, err = c.GetSession(t.Context(), tls12, old.id); err != nil || a.Session() != Session(old) {
			t.Errorf("TLS 1.2, lookup %d: %v, %v", i, a, err)
		}
	}
	got := c.Stats()
	if got.Hits != (HitStats{Store: 2, Claimed: 1}) || got.Misses != (MissStats{Asked: 1}) || got.Claimed != 1 ||
		got.Calls != (CallStats{Get: 2, Claim: 2, Put: 2}) {
		t.Errorf("%+v", got)
	}
}

func TestLiveTags(t *testing.T) {
	store := newFakeLive()
	c := liveCache(t, store, CacheOptions{TagIDs: true, Keys: ProcessKey()})
	id, ok := c.NewSessionID()
	if !ok {
		t.Fatal("no id")
	}
	mine, other := testSession(), testSession()
	mine.id = id[:]
	other.id = bytes.Repeat([]byte{7}, 32)
	if !c.NewSession(t.Context(), server, mine) || c.NewSession(t.Context(), server, other) {
		t.Error("not the tagged one alone was kept")
	}
	for _, s := range []*fakeSession{mine, other} {
		if _, err := c.GetSession(t.Context(), server, s.id); err != nil {
			t.Error(err)
		}
		c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
	}
	onlyPuts(t, c, PutStats{Stored: 1, Untagged: 1})
	onlyLookups(t, c, LookupStats{Hit: 1, Junk: 1})
	if got := c.Stats(); got.Calls != (CallStats{Get: 1, Put: 1, Delete: 1}) || got.Removals[Explicit] != (RemovalStats{Deleted: 1, Kept: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestLiveRemovals(t *testing.T) {
	store := newFakeLive()
	c := liveCache(t, store, CacheOptions{})
	s := testSession()
	for _, test := range []struct {
		removal Removal
		there   bool
		want    RemovalStats
	}{
		{Removal{Reason: Evicted}, true, RemovalStats{Kept: 1}},
		{Removal{Reason: Faulty}, true, RemovalStats{Kept: 1}},
		{Removal{Reason: Faulty, HandshakeDone: true}, false, RemovalStats{Kept: 1, Deleted: 1}},
		{Removal{Reason: Explicit}, false, RemovalStats{Deleted: 1}},
	} {
		c.NewSession(t.Context(), server, s)
		c.RemoveSession(t.Context(), s, test.removal)
		if store.has(s) != test.there || c.Stats().Removals[test.removal.Reason] != test.want {
			t.Errorf("%+v: there %v, %+v", test.removal, store.has(s), c.Stats().Removals)
		}
	}
	for name, hook := range map[string]func(string) error{
		"reports what is not there": func(string) error { return ErrNotFound },
		"fails":                     func(string) error { return errors.New("down") },
		"panics":                    func(string) error { panic("oh") },
	} {
		store.hook = hook
		before := c.Stats().Removals[SingleUse]
		c.RemoveSession(t.Context(), s, Removal{Reason: SingleUse})
		after := c.Stats().Removals[SingleUse]
		if failed := after.Failed - before.Failed; (failed == 1) != (name != "reports what is not there") {
			t.Errorf("a store that %s: %+v", name, after)
		}
	}
}

// A session that is removed while the store takes it does not stay there.
func TestLiveRemovedWhileItIsPut(t *testing.T) {
	store := newFakeLive()
	c := liveCache(t, store, CacheOptions{})
	s := testSession()
	store.hook = func(method string) error {
		if method == "PutSession" {
			c.RemoveSession(context.Background(), s, Removal{Reason: Explicit})
		}
		return nil
	}
	if !c.NewSession(t.Context(), server, s) {
		t.Error("not kept: the store took it, and closes it")
	}
	if store.has(s) {
		t.Error("still there")
	}
	onlyPuts(t, c, PutStats{Overtaken: 1})
	if n := c.Stats().Calls.Delete; n != 2 {
		t.Errorf("%d deletions: this shows nothing", n)
	}
}

// The numbers of a Cache with a LiveStore have no breakers that are open, and
// nothing that waits.
func TestLiveStatsAreQuiet(t *testing.T) {
	c := liveCache(t, newFakeLive(), CacheOptions{})
	want := Stats{Removals: map[Reason]RemovalStats{}}
	got := c.Stats()
	got.LookupTime, got.PutTime = Histogram{}, Histogram{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c.once(tls.VersionTLS13) {
		t.Error("single use by default")
	}
}
