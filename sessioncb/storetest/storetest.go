// Package storetest checks that a Store does what package sessioncb asks of
// it: what memstore and boltstore must pass, and so any Store of yours.
//
//	func TestMyStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) sessioncb.Store {
//			s, err := mystore.Open(...)
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { s.Close() })
//			return s
//		})
//	}
//
// A store whose clients are several, or whose server can be made to hang, is
// checked for that too: see RunWith. A LiveStore, which keeps sessions and not
// bytes, is checked by RunLive.
//
// The suite takes about three seconds for a store in memory, some more for one
// behind a network. Two checks wait for real time to pass, for a lifetime to
// end: Expiry and ClaimExpired, which run at the same time. ClaimRace has a
// thousand rounds (a hundred with -short). Run the suite with -race.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// Options of RunWith.
type Options struct {
	// Open returns the store. Each check calls it once, for a store of its own
	// or for a view of the same one: apart from a few fixed ids, which the
	// suite deletes again, ids are random.
	Open func(t *testing.T) sessioncb.Store
	// OpenAnother returns another client of the store that Open gave to this
	// check, as another process of the fleet has it. nil: there is none, and
	// goroutines race on one client.
	OpenAnother func(t *testing.T, first sessioncb.Store) sessioncb.Store
	// Hang makes the store hang, with what it stores, until resume is called:
	// a server that is stopped, not one that is gone. Calls that do without
	// the server may still answer, but not all. nil: it cannot be done, and
	// what a call does then is not checked.
	Hang func(t *testing.T, s sessioncb.Store) (resume func())
}

// Run runs the suite as subtests of t, with open for Options.Open. If the
// Store is a Claimer, Claim is checked too, else those subtests are skipped.
func Run(t *testing.T, open func(t *testing.T) sessioncb.Store) {
	RunWith(t, Options{Open: open})
}

// RunWith is Run with more to check: several clients, a server that hangs.
func RunWith(t *testing.T, o Options) {
	for _, c := range checks {
		if c.clients != nil && !c.alone && o.OpenAnother == nil || c.hangs != nil && o.Hang == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.waits {
				t.Parallel()
			}
			s := o.Open(t)
			if _, ok := s.(sessioncb.Claimer); c.claims && !ok {
				t.Skip("the store is not a sessioncb.Claimer")
			}
			switch {
			case c.clients != nil:
				all := [clients]sessioncb.Store{s, s, s, s}
				for i := 1; o.OpenAnother != nil && i < clients; i++ {
					all[i] = o.OpenAnother(t, s)
				}
				c.clients(t, all)
			case c.hangs != nil:
				c.hangs(t, s, func() func() { return o.Hang(t, s) })
			default:
				c.run(t, s)
			}
		})
	}
}

// clients is how many clients of one store race.
const clients = 4

// A check is one rule. It stops at the first breach. It has one of run,
// clients and hangs.
type check struct {
	name    string
	claims  bool // needs a Claimer
	waits   bool // for real time to pass
	run     func(t testing.TB, s sessioncb.Store)
	clients func(t testing.TB, s [clients]sessioncb.Store)
	alone   bool // and clients makes sense if all are one
	hangs   func(t testing.TB, s sessioncb.Store, hang func() (resume func()))
}

var checks = []check{
	{name: "GetReturnsWhatWasPut", run: getReturnsWhatWasPut},
	{name: "AbsentIsErrNotFound", run: absentIsErrNotFound},
	{name: "PutReplaces", run: putReplaces},
	{name: "Delete", run: deleteRemoves},
	{name: "BinaryIDs", run: binaryIDs},
	{name: "Values", run: values},
	{name: "NothingIsShared", run: nothingIsShared},
	{name: "Expiry", waits: true, run: expiry},
	{name: "NoLifetime", run: noLifetime},
	{name: "LongLifetimes", run: longLifetimes},
	{name: "OneKeyManyGoroutines", run: oneKeyManyGoroutines},
	{name: "CanceledContext", run: canceledContext},
	{name: "ClaimTakes", claims: true, run: claimTakes},
	{name: "ClaimExpired", claims: true, waits: true, run: claimExpired},
	{name: "ClaimRace", claims: true, clients: claimRace, alone: true},
	{name: "ClaimCanceled", claims: true, run: claimCanceled},
	{name: "Clients", clients: oneStoreManyClients},
	{name: "CanceledInMidCall", hangs: canceledInMidCall},
}

func getReturnsWhatWasPut(t testing.TB, s sessioncb.Store) {
	a, b := newKey(), newKey()
	put(t, s, a, []byte("value a"), time.Hour)
	put(t, s, b, []byte("value b"), time.Hour)
	wantValue(t, s, a, []byte("value a"))
	wantValue(t, s, b, []byte("value b"))
	wantValue(t, s, a, []byte("value a")) // reading does not take
}

func absentIsErrNotFound(t testing.TB, s sessioncb.Store) {
	wantAbsent(t, s, newKey())
	if c, ok := s.(sessioncb.Claimer); ok {
		wantNotClaimed(t, c, newKey())
	}
}

func putReplaces(t testing.TB, s sessioncb.Store) {
	k := newKey()
	put(t, s, k, []byte("a first value, the longer one"), time.Hour)
	put(t, s, k, []byte("a second"), time.Hour)
	wantValue(t, s, k, []byte("a second"))
	put(t, s, k, []byte("a third, again longer than that"), time.Hour)
	wantValue(t, s, k, []byte("a third, again longer than that"))
}

func deleteRemoves(t testing.TB, s sessioncb.Store) {
	k, other := newKey(), newKey()
	put(t, s, k, []byte("value"), time.Hour)
	put(t, s, other, []byte("other"), time.Hour)
	for range 2 { // what is not there is deleted without error too
		if err := s.Delete(t.Context(), k); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantAbsent(t, s, k)
	}
	wantValue(t, s, other, []byte("other"))
	put(t, s, k, []byte("back"), time.Hour)
	wantValue(t, s, k, []byte("back"))
}

// awkwardIDs: ids are bytes. Each of these has been some store's downfall: a
// C string, a padded field, a text key, a case-insensitive column.
func awkwardIDs() []string {
	full := func(b byte) string { return string(bytes.Repeat([]byte{b}, 32)) }
	return []string{
		"\x00", "\xff", " ", "a", "A", "\n", "%", ":", "*", "/", "'", "\"", "\\",
		"a\x00", "\x00a", "a ", " a", "a\r\n", "a\x00b", "a\x00c", "\x00\x00", "\xff\xff",
		"{", "}", "{}", "{a}", "{a}b", "a{b}", // parts of a key that choose its server
		"\x80", "\xc3\x28", "\xef\xbf\xbd", // not UTF-8, and what is put in its place
		full(0x00), full(0xff), full(' '), full('a'), full('a')[:31], full('a')[:31] + "b",
	}
}

func binaryIDs(t testing.TB, s sessioncb.Store) {
	ids := awkwardIDs()
	defer func() {
		for _, id := range ids {
			s.Delete(context.WithoutCancel(t.Context()), sessioncb.Key{ID: []byte(id)})
		}
	}()
	for i, id := range ids {
		put(t, s, sessioncb.Key{ID: []byte(id)}, fmt.Appendf(nil, "value %d", i), time.Hour)
	}
	for i, id := range ids {
		wantValue(t, s, sessioncb.Key{ID: []byte(id)}, fmt.Appendf(nil, "value %d", i))
	}
	for i, id := range ids {
		if err := s.Delete(t.Context(), sessioncb.Key{ID: []byte(id)}); err != nil {
			t.Fatalf("Delete of id %q: %v", id, err)
		}
		wantAbsent(t, s, sessioncb.Key{ID: []byte(id)})
		if i+1 < len(ids) {
			wantValue(t, s, sessioncb.Key{ID: []byte(ids[i+1])}, fmt.Appendf(nil, "value %d", i+1))
		}
	}
}

func values(t testing.TB, s sessioncb.Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := make([]byte, 16<<10)
	rand.Read(large)
	for _, v := range [][]byte{{0}, []byte("\r\nEND\r\n"), every, large, make([]byte, 16<<10)} {
		k := newKey()
		put(t, s, k, v, time.Hour)
		wantValue(t, s, k, v)
	}
}

func nothingIsShared(t testing.TB, s sessioncb.Store) {
	k, other := newKey(), newKey()
	id, value := bytes.Clone(k.ID), []byte("value")
	put(t, s, sessioncb.Key{ID: id}, value, time.Hour)
	copy(value, "XXXXX") // the caller's again, after Put
	copy(id, other.ID)
	wantValue(t, s, k, []byte("value"))
	wantAbsent(t, s, other)
	got, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	copy(got, "YYYYY") // the caller's, after Get
	wantValue(t, s, k, []byte("value"))
}

// Lifetimes of the checks that wait. Stores that count in seconds pass too;
// the suite's own tests are less patient.
var (
	short = time.Second
	grace = 3 * time.Second
)

func expiry(t testing.TB, s sessioncb.Store) {
	over, replaced, shortened, stays := newKey(), newKey(), newKey(), newKey()
	put(t, s, stays, []byte("stays"), time.Hour)
	put(t, s, shortened, []byte("shortened"), time.Hour)
	start := time.Now()
	put(t, s, over, []byte("over"), short)
	put(t, s, replaced, []byte("replaced"), short)
	put(t, s, replaced, []byte("anew"), time.Hour)
	put(t, s, shortened, []byte("shortened"), short)
	if v, err := s.Get(t.Context(), over); time.Since(start) < short && (err != nil || string(v) != "over") {
		t.Fatalf("before its lifetime of %v was over: %q, %v", short, v, err)
	}
	waitAbsent(t, s, over)
	waitAbsent(t, s, shortened)
	wantValue(t, s, replaced, []byte("anew"))
	wantValue(t, s, stays, []byte("stays"))
	put(t, s, over, []byte("again"), time.Hour)
	wantValue(t, s, over, []byte("again"))
}

func noLifetime(t testing.TB, s sessioncb.Store) {
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		k := newKey()
		put(t, s, k, []byte("never"), ttl)
		wantAbsent(t, s, k)
		put(t, s, k, []byte("value"), time.Hour)
		put(t, s, k, []byte("over"), ttl)
		wantAbsent(t, s, k)
	}
}

// longLifetimes: memcached takes 31 days for a date in 1970, and seconds in
// 32 bits end.
func longLifetimes(t testing.TB, s sessioncb.Store) {
	for _, days := range []time.Duration{30, 31, 400} {
		k := newKey()
		put(t, s, k, []byte("value"), days*24*time.Hour)
		wantValue(t, s, k, []byte("value"))
	}
}

// oneKeyManyGoroutines: whatever Get returns, somebody put, whole.
func oneKeyManyGoroutines(t testing.TB, s sessioncb.Store) {
	const goroutines, rounds = 64, 8
	k := newKey()
	together(t, goroutines, func(i int) error {
		value := bytes.Repeat([]byte{byte(i)}, 500+10*i)
		for round := range rounds {
			if err := s.Put(t.Context(), k, value, time.Hour); err != nil {
				return fmt.Errorf("Put: %w", err)
			}
			got, err := s.Get(t.Context(), k)
			switch {
			case errors.Is(err, sessioncb.ErrNotFound): // another one deleted it
			case err != nil:
				return fmt.Errorf("Get: %w", err)
			case len(got) == 0 || len(got) != 500+10*int(got[0]) || !bytes.Equal(got, bytes.Repeat(got[:1], len(got))):
				return fmt.Errorf("Get: %d bytes that nobody put", len(got))
			}
			if round%4 == i%4 {
				if err := s.Delete(t.Context(), k); err != nil {
					return fmt.Errorf("Delete: %w", err)
				}
			}
		}
		return nil
	})
	put(t, s, k, []byte("the last"), time.Hour)
	wantValue(t, s, k, []byte("the last"))
}

// canceledContext: a call whose ctx has ended says so, and neither reports
// "not there" nor hides what is.
func canceledContext(t testing.TB, s sessioncb.Store) {
	k, absent := newKey(), newKey()
	put(t, s, k, []byte("value"), time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, k)
	wantCanceled(t, "Get", err)
	_, err = s.Get(ctx, absent)
	wantCanceled(t, "Get of an absent key", err)
	wantCanceled(t, "Put", s.Put(ctx, k, []byte("other"), time.Hour))
	wantCanceled(t, "Delete", s.Delete(ctx, k))
	if v, err := s.Get(t.Context(), k); err != nil || string(v) != "value" {
		t.Fatalf("calls whose ctx was canceled beforehand changed the value: %q, %v", v, err)
	}
}
