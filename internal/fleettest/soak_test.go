package fleettest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
)

// TestSoak: faults of the network, of the server and of its answers come and
// go at random, beside each other, under clients that come again and again;
// with breakers, a queue of writes, a near cache and remembered misses. Every
// handshake succeeds, every lookup and every new session is counted once, and
// when it is over the sessions of before are resumed, by the store.
func TestSoak(t *testing.T) {
	rounds := 3
	if testing.Short() || slowdown > 1 {
		rounds = 1
	}
	p := newParts(t, setup{
		WriteBehind: handshakes, Hasty: 50 * time.Millisecond * slowdown, MaxCalls: 16, NearBytes: 16 << 10,
		BreakerFailures: 8, BreakerPause: 20 * time.Millisecond, MissTTL: 50 * time.Millisecond,
	})
	r := p.rig
	r.primeAll()
	r = r.through(hasty)
	hole, garbage := testserver.BlackHole(t), testserver.Garbage(t)
	slow := testserver.Slow(t, p.redis.Addr(), 30*time.Millisecond)
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	to := func(addr string) func() { return func() { p.relay.to(addr) } }
	// A fault of the network lasts until somebody met it.
	met := func(f *testserver.Fault) func() {
		before := f.Connections()
		return func() {
			until(t, "somebody comes to the fault", func() bool { return f.Connections() > before })
			before = f.Connections()
			p.relay.to(p.redis.Addr())
		}
	}
	memory := func(limit string) func() {
		return func() { try(p.direct.ConfigSet(t.Context(), "maxmemory", limit).Err()) }
	}
	lie := func(how string) func() { return func() { r.ask("lie "+how, nil) } }
	// Of each row one is on at a time, or none.
	type fault struct{ begin, end func() }
	rows := [][]fault{
		{{to(""), to(p.redis.Addr())}, {to(hole.Addr()), met(hole)}, {to(garbage.Addr()), met(garbage)}, {to(slow.Addr()), met(slow)}},
		{{func() { try(p.redis.Kill()) }, func() { try(p.redis.Restart()) }},
			{func() { try(p.redis.Pause()) }, func() { try(p.redis.Resume()) }}, {memory("1"), memory("0")}},
		{{lie("swap"), lie("")}, {lie("yesterday"), lie("")}},
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	before := r.state()
	c := r.traffic()
	for range rounds {
		var steps [][]func()
		var turns []int // whose step is next
		for i, row := range rows {
			var s []func()
			for _, j := range random.Perm(len(row)) {
				s = append(s, row[j].begin, row[j].end)
				turns = append(turns, i, i)
			}
			steps = append(steps, s)
		}
		random.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
		for _, i := range turns {
			steps[i][0]()
			steps[i] = steps[i][1:]
			time.Sleep(time.Duration(10+random.IntN(80)) * time.Millisecond)
		}
	}
	c.end(t)

	after := r.state()
	n := after.since(before)
	t.Logf("%v; %+v", n, after.Stats.Breakers)
	offered := int(after.Stats.Lookups.Offered() - before.Stats.Lookups.Offered())
	if want := int(c.offered.Load()); offered != want || n["Lookups.Hit"] != int(c.resumed.Load()) {
		t.Errorf("%d sessions were offered and %d resumed, counted are %v", want, c.resumed.Load(), n)
	}
	puts := int(after.Stats.Puts.Offered() - before.Stats.Puts.Offered())
	if want := n["Served.Full"] + int(c.renewed.Load()); puts != want || after.Stats.QueuedPuts != 0 {
		t.Errorf("%d new sessions, counted are %v", want, n)
	}
	if n["Served.Failed"] != 0 {
		t.Errorf("handshakes failed at the server\n%s", r.why(after))
	}
	if n["Lookups.Error"]+n["Lookups.Timeout"]+n["Lookups.BreakerOpen"] == 0 || n["Puts.Error"]+n["Puts.Timeout"]+n["Puts.BreakerOpen"] == 0 {
		t.Errorf("nothing failed: %v", n)
	}
	for _, v := range versions {
		r.through(patient).recovered(v)
	}
	var got closed
	if r.ask("close "+patience.String(), &got); got.Err != "" {
		t.Errorf("Close: %s", got.Err)
	}
	r.bounded()
}
