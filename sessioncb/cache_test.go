package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cacheTime is the clock of the caches under test, until a test moves it.
var cacheTime = time.Unix(1_750_000_000, 500_000_000)

func newTestCache(t testing.TB, store Store, o CacheOptions) *Cache {
	t.Helper()
	if o.Keys == nil && o.Codec == nil {
		o.Keys = mustRing(t, testKey(1))
	}
	if o.LookupTimeout == 0 {
		o.LookupTimeout = time.Minute // only what a test is about ends a call
	}
	if o.PutTimeout == 0 {
		o.PutTimeout = time.Minute
	}
	if o.Now == nil {
		o.Now = func() time.Time { return cacheTime }
	}
	c, err := NewCache(store, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testSession() *fakeSession {
	return &fakeSession{
		id:        []byte("\x00 id \xff"),
		idContext: []byte("host A"),
		der:       []byte("0\x20 session with its secrets"),
		time:      cacheTime.Add(-time.Minute).Truncate(time.Second),
		timeout:   time.Hour,
	}
}

var server = &fakeConn{idContext: []byte("host A")}

func TestStoredSessionIsFound(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     CacheOptions
		plain bool
	}{
		{"sealed", CacheOptions{}, false},
		{"plain", CacheOptions{Codec: InsecurePlaintext()}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeStore()
			c := newTestCache(t, store, test.o)
			s := testSession()
			if c.NewSession(t.Context(), server, s) {
				t.Error("NewSession keeps the session")
			}
			value := store.values[string(s.id)]
			if got := bytes.Equal(value, s.der); got != test.plain {
				t.Errorf("the stored value is plain: %v", got)
			}
			// 59 minutes of the hour are left, less the half second of the clock.
			if got, want := store.ttls[string(s.id)], 59*time.Minute-500*time.Millisecond; got != want {
				t.Errorf("ttl %v, want %v", got, want)
			}
			if !bytes.Equal(s.marshaled, make([]byte, len(s.der))) {
				t.Error("the DER was not cleared")
			}
			a, err := c.GetSession(t.Context(), server, s.id)
			if err != nil || !bytes.Equal(a.Encoded(), s.der) || a.Session() != nil {
				t.Errorf("got %q, %v", a.Encoded(), err)
			}
			// OpenSSL judges where only it knows the id context.
			if a, err := c.GetSession(t.Context(), &fakeConn{}, s.id); err != nil || a.Encoded() == nil {
				t.Errorf("for a view: %q, %v", a.Encoded(), err)
			}
			checkStats(t, c, Stats{Lookups: LookupStats{Hit: 2}, Puts: PutStats{Stored: 1}})
		})
	}
}

// checkStats holds what became of lookups, puts and removals against want, and
// looks whether everything adds up. No call of a handler is under way.
func checkStats(t *testing.T, c *Cache, want Stats) {
	t.Helper()
	if want.Removals == nil {
		want.Removals = map[Reason]RemovalStats{}
	}
	s := c.Stats()
	got := Stats{Lookups: s.Lookups, Puts: s.Puts, Removals: s.Removals, LookupsInside: s.LookupsInside, WritesInside: s.WritesInside}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	addsUp(t, s)
}

// addsUp holds the sums that Stats promises.
func addsUp(t *testing.T, s Stats) {
	t.Helper()
	for _, sum := range []struct {
		what      string
		got, want uint64
	}{
		{"hits by source", s.Hits.Near + s.Hits.Queued + s.Hits.Store + s.Hits.Claimed, s.Lookups.Hit},
		{"misses by source", s.Misses.Remembered + s.Misses.Asked, s.Lookups.Miss},
		{"lookup times", s.LookupTime.Count(), s.Lookups.Offered()},
		{"put times", s.PutTime.Count(), s.Puts.Offered() + uint64(s.QueuedPuts)},
	} {
		if sum.got != sum.want {
			t.Errorf("%s: %d, want %d in %+v", sum.what, sum.got, sum.want, s)
		}
	}
}

// TestLookupOutcomes has a row for each way in which a lookup can end.
func TestLookupOutcomes(t *testing.T) {
	s := testSession()
	sealed := func(key byte, id []byte, change func(*Record)) []byte {
		r := Record{DER: bytes.Clone(s.der), IDContext: s.idContext, Expires: cacheTime.Add(time.Hour)}
		if change != nil {
			change(&r)
		}
		return mustSeal(t, testKey(key), id, r)
	}
	fail := func(err error) func(context.Context, string) error {
		return func(context.Context, string) error { return err }
	}
	for _, test := range []struct {
		name   string
		value  []byte
		before func(context.Context, string) error
		conn   *fakeConn
		o      CacheOptions
		want   LookupStats
		err    error // errors.Is; nil for a plain miss
	}{
		{name: "hit", value: sealed(1, s.id, nil), want: LookupStats{Hit: 1}},
		{name: "absent", want: LookupStats{Miss: 1}},
		{name: "absent, wrapped", before: fail(fmt.Errorf("redis: %w", ErrNotFound)), want: LookupStats{Miss: 1}},
		{name: "expired this second", value: sealed(1, s.id, func(r *Record) { r.Expires = cacheTime.Truncate(time.Second) }), want: LookupStats{Expired: 1}},
		{name: "expires next second", value: sealed(1, s.id, func(r *Record) { r.Expires = cacheTime.Truncate(time.Second).Add(time.Second) }), want: LookupStats{Hit: 1}},
		{name: "other context", value: sealed(1, s.id, nil), conn: &fakeConn{idContext: []byte("host B")}, want: LookupStats{OtherContext: 1}},
		{name: "longer context", value: sealed(1, s.id, nil), conn: &fakeConn{idContext: []byte("host A+")}, want: LookupStats{OtherContext: 1}},
		{name: "empty context", value: sealed(1, s.id, func(r *Record) { r.IDContext = nil }), want: LookupStats{OtherContext: 1}},
		{name: "other key", value: sealed(2, s.id, nil), want: LookupStats{OtherKey: 1}, err: ErrOtherKey},
		{name: "other id", value: sealed(1, []byte("other"), nil), want: LookupStats{OtherID: 1}, err: ErrOtherID},
		{name: "garbage", value: []byte("garbage"), want: LookupStats{OtherFormat: 1}, err: ErrOtherFormat},
		{name: "a later version", value: append([]byte("scb\x02"), sealed(1, s.id, nil)[4:]...), want: LookupStats{OtherFormat: 1}, err: ErrOtherFormat},
		{name: "cut short", value: sealed(1, s.id, nil)[:20], want: LookupStats{Damaged: 1}, err: ErrDamaged},
		{name: "not even a DER", value: []byte("garbage"), o: CacheOptions{Codec: InsecurePlaintext()}, want: LookupStats{OtherFormat: 1}, err: ErrOtherFormat},
		{name: "empty value", value: []byte{}, want: LookupStats{Damaged: 1}, err: ErrDamaged},
		{name: "plain DER in a sealed store", value: s.der, want: LookupStats{OtherFormat: 1}, err: ErrOtherFormat},
		{name: "sealed value in a plain store", value: sealed(1, s.id, nil), o: CacheOptions{Codec: InsecurePlaintext()}, want: LookupStats{OtherFormat: 1}, err: ErrOtherFormat},
		{name: "as large as allowed", value: sealed(1, s.id, func(r *Record) { r.DER = make([]byte, 1024-offCtx-len(s.idContext)-tagSize) }), o: CacheOptions{MaxValue: 1024}, want: LookupStats{Hit: 1}},
		{name: "larger", value: sealed(1, s.id, func(r *Record) { r.DER = make([]byte, 1025-offCtx-len(s.idContext)-tagSize) }), o: CacheOptions{MaxValue: 1024}, want: LookupStats{TooLarge: 1}, err: errAny},
		{name: "store error", before: fail(errBroken), want: LookupStats{Error: 1}, err: errBroken},
		{name: "store timeout", before: fail(context.DeadlineExceeded), want: LookupStats{Timeout: 1}, err: context.DeadlineExceeded},
		{name: "store panics", before: func(context.Context, string) error { panic("oops") }, want: LookupStats{Error: 1}, err: errPanic},
		{name: "store calls Goexit", before: func(context.Context, string) error { runtime.Goexit(); return nil }, want: LookupStats{Error: 1}, err: errPanic},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeStore()
			if test.value != nil {
				store.values[string(s.id)] = test.value
			}
			store.before = test.before
			c := newTestCache(t, store, test.o)
			conn := test.conn
			if conn == nil {
				conn = server
			}
			a, err := c.GetSession(t.Context(), conn, bytes.Clone(s.id))
			if got, want := a.Encoded() != nil, test.want.Hit == 1; got != want {
				t.Errorf("hit: %v, want %v", got, want)
			}
			checkError(t, err, test.err)
			checkStats(t, c, Stats{Lookups: test.want})
			if store.count("Get") != 1 {
				t.Errorf("the store was asked %d times", store.count("Get"))
			}
		})
	}
}

var (
	errBroken = errors.New("broken pipe")
	errAny    = errors.New("any error")
	errPanic  = errors.New("a StorePanicError")
)

func checkError(t *testing.T, got, want error) {
	t.Helper()
	var panicked *StorePanicError
	switch {
	case want == nil && got != nil:
		t.Errorf("error %v, want none", got)
	case want == nil:
	case got == nil:
		t.Errorf("no error, want %v", want)
	case want == errAny:
	case want == errPanic:
		if !errors.As(got, &panicked) || len(panicked.Stack) == 0 || panicked.Error() == "" {
			t.Errorf("error %v, want a StorePanicError with a stack", got)
		}
	case !errors.Is(got, want):
		t.Errorf("error %v, want %v", got, want)
	}
	if got != nil && strings.Contains(got.Error(), "secret") {
		t.Errorf("the error shows the session: %v", got)
	}
}

func TestBadIDsReachNoStore(t *testing.T) {
	store := newFakeStore()
	c := newTestCache(t, store, CacheOptions{})
	for _, id := range [][]byte{nil, {}, make([]byte, 33)} {
		if a, err := c.GetSession(t.Context(), server, id); err == nil || a.Encoded() != nil {
			t.Errorf("id of %d bytes: %v, %v", len(id), a, err)
		}
	}
	if store.count("Get") != 0 {
		t.Error("the store was asked")
	}
	checkStats(t, c, Stats{Lookups: LookupStats{Error: 3}})
}

// TestPutOutcomes has a row for each way in which storing can end. None keeps
// the session.
func TestPutOutcomes(t *testing.T) {
	fail := func(err error) func(context.Context, string) error {
		return func(context.Context, string) error { return err }
	}
	for _, test := range []struct {
		name   string
		change func(*fakeSession)
		before func(context.Context, string) error
		conn   *fakeConn
		o      CacheOptions
		want   PutStats
		asked  int
	}{
		{name: "stored", want: PutStats{Stored: 1}, asked: 1},
		{name: "no id", change: func(s *fakeSession) { s.id = nil }, want: PutStats{Skipped: 1}},
		{name: "lifetime just over", change: func(s *fakeSession) { s.time = cacheTime.Add(-time.Hour) }, want: PutStats{Skipped: 1}},
		{name: "no lifetime", change: func(s *fakeSession) { s.time, s.timeout = cacheTime, 0 }, want: PutStats{Skipped: 1}},
		{name: "negative lifetime", change: func(s *fakeSession) { s.timeout = -time.Hour }, want: PutStats{Skipped: 1}},
		{name: "client", conn: &fakeConn{client: true}, want: PutStats{Skipped: 1}},
		{name: "removed", change: func(s *fakeSession) { s.err = ErrRemoved }, want: PutStats{Skipped: 1}},
		{name: "not encodable", change: func(s *fakeSession) { s.err = errBroken }, want: PutStats{Error: 1}},
		{name: "empty encoding", change: func(s *fakeSession) { s.der = nil }, want: PutStats{Error: 1}},
		{name: "id too long", change: func(s *fakeSession) { s.id = make([]byte, 33) }, want: PutStats{Error: 1}},
		{name: "too large", change: func(s *fakeSession) { s.der = make([]byte, 1024) }, o: CacheOptions{MaxValue: 1024}, want: PutStats{TooLarge: 1}},
		{name: "too large, plain", change: func(s *fakeSession) { s.der = make([]byte, 1025) }, o: CacheOptions{MaxValue: 1024, Codec: InsecurePlaintext()}, want: PutStats{TooLarge: 1}},
		{name: "store error", before: fail(errBroken), want: PutStats{Error: 1}, asked: 1},
		{name: "not found is an error of a put", before: fail(ErrNotFound), want: PutStats{Error: 1}, asked: 1},
		{name: "store timeout", before: fail(context.DeadlineExceeded), want: PutStats{Timeout: 1}, asked: 1},
		{name: "store panics", before: func(context.Context, string) error { panic("oops") }, want: PutStats{Error: 1}, asked: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeStore()
			store.before = test.before
			c := newTestCache(t, store, test.o)
			s, conn := testSession(), server
			if test.change != nil {
				test.change(s)
			}
			if test.conn != nil {
				conn = test.conn
			}
			if c.NewSession(t.Context(), conn, s) {
				t.Error("NewSession keeps the session")
			}
			checkStats(t, c, Stats{Puts: test.want})
			if store.count("Put") != test.asked {
				t.Errorf("the store was asked %d times, want %d", store.count("Put"), test.asked)
			}
			if stored := len(store.values) == 1; stored != (test.want.Stored == 1) {
				t.Errorf("stored: %v", stored)
			}
		})
	}
}

// TestBuffersAreCleared: the plain bytes of a session do not stay behind in
// memory that was ours.
func TestBuffersAreCleared(t *testing.T) {
	cleared := func(what string, b []byte) {
		t.Helper()
		if len(b) == 0 || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: %q", what, b)
		}
	}
	store := &keepingStore{fakeStore: newFakeStore()}
	codec := &keepingCodec{}
	c := newTestCache(t, store, CacheOptions{Codec: codec})
	s := testSession()
	c.NewSession(t.Context(), server, s)
	cleared("the encoding", s.marshaled)
	cleared("the value after Put", store.put)

	codec.record = Record{IDContext: []byte("host B")}
	c.GetSession(t.Context(), server, s.id)
	cleared("a session of another context", codec.decoded)
	codec.record = Record{Expires: cacheTime}
	c.GetSession(t.Context(), server, s.id)
	cleared("an expired session", codec.decoded)
	codec.record = Record{}
	a, _ := c.GetSession(t.Context(), server, s.id)
	if !bytes.Equal(a.Encoded(), s.der) {
		t.Errorf("a hit: %q", a.Encoded())
	}
	checkStats(t, c, Stats{Lookups: LookupStats{Hit: 1, OtherContext: 1, Expired: 1}, Puts: PutStats{Stored: 1}})
}

// keepingStore keeps what no store may.
type keepingStore struct {
	*fakeStore
	put []byte
}

func (s *keepingStore) Put(ctx context.Context, key Key, value []byte, ttl time.Duration) error {
	s.put = value
	return s.fakeStore.Put(ctx, key, value, ttl)
}

// keepingCodec is a plain one that adds record to what it decodes.
type keepingCodec struct {
	plaintext
	record  Record
	decoded []byte
}

func (c *keepingCodec) Decode(key Key, value []byte) (Record, error) {
	r := c.record
	r.DER, c.decoded = value, value
	return r, nil
}

// TestConcurrentCache runs everything at once; the race detector looks on.
func TestConcurrentCache(t *testing.T) {
	store := newFakeStore()
	ring := mustRing(t, testKey(1))
	c := newTestCache(t, store, CacheOptions{Keys: ring})
	const workers, rounds = 8, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				s := testSession()
				s.id = []byte{byte(w), byte(i)}
				c.NewSession(t.Context(), server, s)
				if w == 0 && i%10 == 0 {
					ring.Rotate(testKey(byte(2 + i/10)))
				}
				if a, err := c.GetSession(t.Context(), server, slices.Clone(s.id)); err != nil || !bytes.Equal(a.Encoded(), s.der) {
					t.Errorf("%v: %q, %v", s.id, a.Encoded(), err)
				}
				c.RemoveSession(t.Context(), s, Removal{Reason: Explicit})
				c.Stats()
			}
		})
	}
	wg.Wait()
	checkStats(t, c, Stats{
		Lookups:  LookupStats{Hit: workers * rounds},
		Puts:     PutStats{Stored: workers * rounds},
		Removals: map[Reason]RemovalStats{Explicit: {Deleted: workers * rounds}},
	})
}
