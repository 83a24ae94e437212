package fleettest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/ssl"
)

// As the queue of package sessioncb: so many of its writes are made at once.
const writers = 16

// TestWriteBehind: with a queue of writes no handshake waits for a store that
// hangs. What does not fit into the queue is dropped and counted, and so is
// what the store does not take, whatever its fault.
func TestWriteBehind(t *testing.T) {
	p := newParts(t, setup{WriteBehind: offering})
	r := p.rig
	r.primeAll()
	r = r.through(hasty)
	hole, other := testserver.BlackHole(t), newOtherService(t)
	puts := func(n moves) (all int) {
		for name, k := range n {
			if strings.HasPrefix(name, "Puts.") {
				all += k
			}
		}
		return all
	}

	p.relay.to(hole.Addr())
	begun := r.state()
	fullHandshakes := 0
	until(t, "the queue is full", func() bool {
		r.atOnce(versions[0], make([]*ssl.Session, handshakes)) // none waits for a lookup either
		fullHandshakes += handshakes
		return r.now().since(begun)["Puts.Dropped"] > 0
	})
	full := r.state()
	n := full.since(begun)
	if n["Puts.Dropped"]+n["Puts.Timeout"] != fullHandshakes || n["Puts.Timeout"] < offering || n["Served.Full"] != fullHandshakes {
		t.Errorf("a full queue: counted are %v", n)
	}
	if !strings.Contains(strings.Join(full.Log, "\n"), "the queue of writes is full: new sessions are not stored") {
		t.Errorf("not logged that the queue is full: %q", full.Log)
	}
	if hole.Connections() == 0 {
		t.Error("nobody came to the black hole")
	}

	// One fault after another, while the queue has what came under the last.
	mixed := r.state()
	want := 0
	for i, target := range []string{hole.Addr(), "", other.listener.Addr().String(), p.redis.Addr(), hole.Addr(), ""} {
		p.relay.to(target)
		v := versions[i%2]
		resumed, _ := r.wave(v)
		want += newPuts(v, resumed)
	}
	end := r.state()
	if n := end.since(mixed); puts(n) != want || end.Stats.QueuedPuts != 0 || n["Puts.Timeout"] == 0 || n["Puts.Error"] == 0 || n["Served.Failed"] != 0 {
		t.Errorf("%d new sessions, counted are %v", want, n)
	} else {
		t.Logf("mixed faults: %v", n)
	}
	if other.answers.Load() == 0 {
		t.Error("nobody came to the other service")
	}
	p.relay.to(p.redis.Addr())
	for _, v := range versions {
		r.through(patient).recovered(v)
	}
	r.bounded()
}

// TestDrain: Close writes what is queued once the store lets it, gives up when
// its time is over and says what, and the Cache works on without a queue.
func TestDrain(t *testing.T) {
	for _, x := range []struct {
		name   string
		wait   string
		resume bool // the store works again while Close waits
	}{
		{"all is written", patience.String(), true},
		{"what has not begun is given up", "50ms", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				p := newParts(t, setup{WriteBehind: offering})
				r := p.rig
				if err := p.redis.Pause(); err != nil {
					t.Fatal(err)
				}
				before := r.now()
				r.offers[version] = nil
				for _, v := range r.atOnce(version, make([]*ssl.Session, offering)) {
					r.offers[version] = append(r.offers[version], v.session)
				}
				if n := r.now().Stats.QueuedPuts; n != offering {
					t.Fatalf("%d writes are queued: %v", n, r.now().since(before))
				}
				// What is queued is found by this Cache.
				if v := r.atOnce(version, r.offers[version][:1]); !v[0].resumed || r.now().Stats.Hits.Queued != 1 {
					t.Errorf("resumed from the queue: %v, %+v", v[0].resumed, r.now().Stats.Hits)
				}
				queued := offering
				if version != versions[0] {
					queued++ // that resumption made one more
				}
				stored, said := queued, ""
				if !x.resume {
					stored = writers
					said = fmt.Sprintf("sessioncb: close cache: %d queued writes dropped, %d not finished: context deadline exceeded", queued-writers, writers)
				} else {
					time.AfterFunc(100*time.Millisecond, func() { p.redis.Resume() })
				}
				var got closed
				if r.ask("close "+x.wait, &got); got.Err != said {
					t.Errorf("Close: %q, want %q", got.Err, said)
				}
				if err := p.redis.Resume(); err != nil {
					t.Fatal(err)
				}
				r.counted(before, moves{"Puts.Stored": stored, "Puts.Dropped": queued - stored, "Served.Full": offering,
					"Lookups.Hit": 1, "Hits.Queued": 1, "Served.Resumed": 1})
				if n := p.direct.DBSize(t.Context()).Val(); int(n) != stored {
					t.Errorf("Redis has %d sessions, want %d", n, stored)
				}
				r.prime(version)
				r.healthyWave(version)
				r.bounded()
			})
		})
	}
}
