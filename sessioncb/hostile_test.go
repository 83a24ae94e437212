package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hostileStore does in turn all that a store must not do.
type hostileStore struct {
	mu     sync.Mutex
	values map[string][]byte
	ids    []string
	did    map[string]int
}

// badError fails in its own methods.
type badError struct{}

func (badError) Error() string   { panic("Error panics") }
func (badError) Timeout() bool   { panic("Timeout panics") }
func (badError) Is(error) bool   { panic("Is panics") }
func (badError) LogValue() error { panic("LogValue panics") }

var tricks = []string{"error", "bad error", "panic", "goexit", "hang", "slow", "full", "absent", "canceled"}

func (s *hostileStore) trick(ctx context.Context) error {
	trick := "none"
	if rand.IntN(3) == 0 {
		trick = tricks[rand.IntN(len(tricks))]
	}
	s.mu.Lock()
	s.did[trick]++
	s.mu.Unlock()
	switch trick {
	case "error":
		return errBroken
	case "bad error":
		return badError{}
	case "panic":
		panic(badError{})
	case "goexit":
		runtime.Goexit()
	case "hang":
		time.Sleep(time.Duration(rand.Int64N(int64(time.Minute)))) // whatever ctx says
		return ctx.Err()
	case "slow":
		time.Sleep(time.Duration(rand.Int64N(int64(time.Second))))
	case "full":
		return ErrStoreBusy
	case "absent":
		return ErrNotFound
	case "canceled":
		return context.Canceled
	}
	return nil
}

func (s *hostileStore) Get(ctx context.Context, key Key) ([]byte, error) {
	defer clear(key.ID)
	if err := s.trick(ctx); err != nil {
		return []byte("0 a value with an error"), err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch v := bytes.Clone(s.values[string(key.ID)]); rand.IntN(8) {
	case 0: // another's
		return bytes.Clone(s.values[s.ids[rand.IntN(len(s.ids))]]), nil
	case 1: // altered
		if len(v) > 0 {
			v[rand.IntN(len(v))] ^= 1 << rand.IntN(8)
		}
		return v, nil
	case 2:
		return v[:rand.IntN(len(v)+1)], nil
	case 3:
		return make([]byte, rand.IntN(1<<20)), nil
	case 4:
		return nil, nil
	default:
		return v, nil
	}
}

func (s *hostileStore) Claim(ctx context.Context, key Key) ([]byte, error) {
	return s.Get(ctx, key) // and gives it again, and again
}

func (s *hostileStore) Put(ctx context.Context, key Key, value []byte, ttl time.Duration) error {
	if err := s.trick(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.values[string(key.ID)] = bytes.Clone(value)
	s.ids = append(s.ids, string(key.ID))
	s.mu.Unlock()
	rand.Shuffle(len(value), func(i, j int) { value[i], value[j] = value[j], value[i] })
	clear(key.ID)
	return nil
}

func (s *hostileStore) Delete(ctx context.Context, key Key) error { return s.trick(ctx) }

// TestHostileStore: whatever the store does, each lookup ends in the session
// that was asked for or in none, each call in time, and nothing is left when
// the last call has left the store.
func TestHostileStore(t *testing.T) {
	for _, o := range []CacheOptions{
		{},
		{NearBytes: 64 << 10, WriteBehind: 20, TagIDs: true, SingleUse: true, MaxCalls: 50},
		{NearBytes: 64 << 10, SingleUse: true, BreakerFailures: -1, MissTTL: -1},
		{WriteBehind: 5, BreakerFailures: 2, BreakerPause: 10 * time.Millisecond},
	} {
		t.Run(fmt.Sprint("near ", o.NearBytes, " behind ", o.WriteBehind, " single use ", o.SingleUse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &hostileStore{values: map[string][]byte{}, ids: []string{"none"}, did: map[string]int{}}
				o.Keys, o.Now, o.Logger = mustRing(t, testKey(1)), time.Now, slog.New(slog.DiscardHandler)
				o.LookupTimeout, o.PutTimeout = 50*time.Millisecond, 100*time.Millisecond
				c := newTestCache(t, store, o)
				var wg sync.WaitGroup
				const workers, rounds = 8, 60
				hits := 0
				for w := range workers {
					wg.Go(func() {
						for i := range rounds {
							s, conn := numbered(w*1000+i), tls12
							s.time, s.timeout = time.Now(), time.Hour
							if i%2 == 0 {
								s.version, conn = 0x0304, server
							}
							if id, ok := c.NewSessionID(); ok {
								s.id = id[:]
							}
							inTime(t, 100*time.Millisecond, func() { c.NewSession(t.Context(), conn, s) })
							time.Sleep(time.Duration(rand.Int64N(int64(200 * time.Millisecond)))) // a breaker may close meanwhile
							for range 3 {
								inTime(t, 50*time.Millisecond, func() {
									a, err := c.GetSession(t.Context(), conn, bytes.Clone(s.id))
									switch {
									case a.Encoded() == nil:
									case err != nil || !bytes.Equal(a.Encoded(), s.der):
										t.Errorf("a lookup gave %q, %v", a.Encoded(), err)
									default:
										store.mu.Lock()
										hits++
										store.mu.Unlock()
									}
								})
							}
							inTime(t, 100*time.Millisecond, func() { c.RemoveSession(t.Context(), s, Removal{Reason: Explicit}) })
						}
					})
				}
				wg.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := c.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				st := c.Stats()
				addsUp(t, st)
				r := st.Removals[Explicit]
				if st.Lookups.Offered() != workers*rounds*3 || st.Puts.Offered() != workers*rounds || r.Deleted+r.Kept+r.Failed != workers*rounds {
					t.Errorf("not all counted: %+v", st)
				}
				if st.LookupsInside != 0 || st.WritesInside != 0 || st.IDsWaiting != 0 || st.QueuedPuts != 0 || st.QueuedRemovals != 0 {
					t.Errorf("something is left: %+v", st)
				}
				if c.behind != nil && (len(c.behind.ids) != 0 || c.behind.working != 0) {
					t.Errorf("the queue holds %d ids, %d work", len(c.behind.ids), c.behind.working)
				}
				if hits == 0 {
					t.Error("no hit at all: the test tests nothing")
				}
				for _, trick := range tricks {
					if store.did[trick] == 0 {
						t.Errorf("the store never did %q", trick)
					}
				}
			})
		})
	}
}

// inTime runs a handler, whose panics ssl would contain, and looks how long it
// took by the bubble's clock.
func inTime(t *testing.T, limit time.Duration, handler func()) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("a handler panicked: %v", p)
		}
	}()
	start := time.Now()
	handler()
	if d := time.Since(start); d > limit {
		t.Errorf("a handler took %v, the limit is %v", d, limit)
	}
}
