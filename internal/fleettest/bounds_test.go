package fleettest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// TestBulkhead: a store that hangs has no more than MaxCalls lookups and as
// many writes inside it, and the server no more than that many connections to
// it; the others are told so at once, and shake hands in full.
func TestBulkhead(t *testing.T) {
	const room = 8
	for _, x := range []struct {
		name  string
		begin func(t *testing.T, p *parts) (came func() int)
	}{
		{"black hole", func(t *testing.T, p *parts) func() int {
			hole := testserver.BlackHole(t)
			p.relay.to(hole.Addr())
			return hole.Connections
		}},
		{"2 s latency", func(t *testing.T, p *parts) func() int {
			slow := testserver.Slow(t, p.redis.Addr(), 2*time.Second*slowdown)
			p.relay.to(slow.Addr())
			return slow.Connections
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := newParts(t, setup{MaxCalls: room, Hasty: 400 * time.Millisecond * slowdown})
			r := p.rig
			r.primeAll()
			r = r.through(hasty)
			came := x.begin(t, p)
			until(t, "the connections of before are gone", func() bool { return p.relay.seen().Open == 0 })
			p.relay.seen()
			eachVersion(t, func(t *testing.T, version uint16) {
				r := r.at(t)
				before := r.state()
				most := 0
				over, watched := make(chan struct{}), make(chan struct{})
				go func() { // what Redis itself says, beyond the latency
					defer close(watched)
					for {
						most = max(most, connected(t, p.direct)-1) // not this one
						select {
						case <-over:
							return
						case <-time.After(10 * time.Millisecond):
						}
					}
				}()
				resumed, _ := r.wave(version)
				close(over)
				<-watched
				n := r.state().since(before)
				if resumed != 0 || n["Served.Full"] != handshakes {
					t.Errorf("%d resumed, counted are %v", resumed, n)
				}
				for _, kind := range []struct {
					name string
					all  int
				}{{"Lookups", offering}, {"Puts", handshakes}} {
					late, busy := n[kind.name+".Timeout"], n[kind.name+".Busy"]
					if late < room || busy == 0 || late+busy != kind.all {
						t.Errorf("%s: %d late and %d turned away of %d: %v", kind.name, late, busy, kind.all, n)
					}
				}
				if reaches := x.name == "2 s latency"; reaches != (most >= room) || most > 3*room {
					t.Errorf("Redis had up to %d connections", most)
				}
				t.Logf("%v; at most %d connections at Redis", n, most)
			})
			if came() == 0 {
				t.Error("nobody came: the fault was not seen")
			}
			s := r.state()
			if s.Store.MostLookups != room || s.Store.MostWrites != room {
				t.Errorf("%d lookups and %d writes were inside at most, want %d", s.Store.MostLookups, s.Store.MostWrites, room)
			}
			// A call that was given up leaves a connection that is closed a moment later.
			seen := p.relay.seen()
			if seen.MostOpen < room || seen.MostOpen > 3*room {
				t.Errorf("connections to the store: %+v, want %d for each kind of call", seen, room)
			}
			r.bounded()
		})
	}
}

// connected is how many clients a Redis server says that it has.
func connected(t testing.TB, c *redis.Client) int {
	t.Helper()
	_, n, _ := strings.Cut(infoOf(t, c, "clients"), "connected_clients:")
	return number(n)
}

// TestBreaker: while the store is at fault the breakers are open and no call
// is made of it but probes, one at a time and a pause apart; once it is back a
// probe closes them, and sessions are resumed again, by the store.
func TestBreaker(t *testing.T) {
	const pause = 100 * time.Millisecond
	for _, x := range []struct {
		name  string
		begin func(t *testing.T, p *parts)
		wait  time.Duration // for the store
		seen  string        // in the errors of the store
		ends  string        // what becomes of a call that is made
	}{
		{"connections are refused", func(t *testing.T, p *parts) { p.relay.to("") }, patience, "connection refused", "Error"},
		{"black hole", func(t *testing.T, p *parts) { p.relay.to(testserver.BlackHole(t).Addr()) }, 100 * time.Millisecond, "deadline exceeded", "Timeout"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := newParts(t, setup{BreakerFailures: 4, BreakerPause: pause, Hasty: x.wait})
			r := p.rig
			r.primeAll() // at the other door, whose breakers stay closed
			r = r.through(hasty)
			x.begin(t, p)
			begun := r.state()
			until(t, "both breakers are open", func() bool {
				for _, v := range versions {
					r.wave(v)
				}
				b := r.state().Stats.Breakers
				return b.Get.State != sessioncb.BreakerClosed && b.Put.State != sessioncb.BreakerClosed
			})
			open := r.state()
			if n := open.errorsWith(x.seen) - begun.errorsWith(x.seen); n < 2*r.setup.BreakerFailures {
				t.Errorf("the store failed %d times with %q: the fault was not seen", n, x.seen)
			}

			since := time.Now()
			waves := 0
			for ; time.Since(since) < 10*pause || waves < 4; waves++ {
				if resumed, _ := r.wave(versions[waves%2]); resumed > 0 {
					t.Errorf("%d resumed", resumed)
				}
			}
			now := r.state()
			took := time.Since(since)
			for _, kind := range []struct {
				name        string
				was, is     sessioncb.BreakerStats
				calls, seen int
				all         int
				outcome     string
			}{
				{"get", open.Stats.Breakers.Get, now.Stats.Breakers.Get, int(now.Stats.Calls.Get - open.Stats.Calls.Get),
					now.Store.Gets - open.Store.Gets, waves * offering, "Lookups."},
				{"put", open.Stats.Breakers.Put, now.Stats.Breakers.Put, int(now.Stats.Calls.Put - open.Stats.Calls.Put),
					now.Store.Puts - open.Store.Puts, waves * handshakes, "Puts."},
			} {
				probes := int(kind.is.FailedProbes - kind.was.FailedProbes)
				n := now.since(open)
				if kind.is.Opened != kind.was.Opened || kind.is.Opened != 1 {
					t.Errorf("the breaker of %s opened %d times, and then %d", kind.name, kind.was.Opened, kind.is.Opened)
				}
				if kind.calls != probes || kind.seen != probes {
					t.Errorf("%s: %d calls were made, %d of them seen by the store, and %d were probes", kind.name, kind.calls, kind.seen, probes)
				}
				if most := int(took/pause) + 1; probes == 0 || probes > most {
					t.Errorf("%s: %d probes in %v, want 1 to %d", kind.name, probes, took, most)
				}
				if n[kind.outcome+"BreakerOpen"] != kind.all-probes || n[kind.outcome+x.ends] != probes {
					t.Errorf("%s: of %d, %d of them probes, are counted %v", kind.name, kind.all, probes, n)
				}
				t.Logf("%s: %d of %d were made, all of them probes, in %v", kind.name, probes, kind.all, took.Round(time.Millisecond))
			}

			p.relay.to(p.redis.Addr())
			until(t, "both breakers are closed", func() bool {
				for _, v := range versions {
					r.atOnce(v, []*ssl.Session{r.offers[v][0], nil})
				}
				b := r.state().Stats.Breakers
				return b.Get.State == sessioncb.BreakerClosed && b.Put.State == sessioncb.BreakerClosed
			})
			for _, v := range versions {
				until(t, "resumed by the store", func() bool { // at this door, which may wait for 100 ms only
					before := r.state()
					seen := r.atOnce(v, r.offers[v][:1])
					return seen[0].resumed && r.state().since(before)["Hits.Store"] == 1
				})
			}
			said := fmt.Sprint(r.state().Log)
			for _, words := range []string{"circuit breaker open: the session store is not used", "circuit breaker closed: the session store is used again"} {
				for _, call := range []string{"call=get", "call=put"} {
					if !strings.Contains(said, fmt.Sprintf("%s\" %s", words, call)) {
						t.Errorf("not logged: %s %s\n%s", words, call, said)
					}
				}
			}
			r.bounded()
		})
	}
}
