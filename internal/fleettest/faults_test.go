package fleettest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
)

// A fault of the store. While it lasts each lookup and each put of a wave is
// counted as said; nothing else moves.
type fault struct {
	name string
	// begin makes it and returns what ends it and what shows that it happened,
	// by the state before and after the waves.
	begin func(t *testing.T, p *parts) (end func(), seen func(before, after state) bool)
	// lookups and puts are what is counted of them.
	lookups, puts string
	// resumed: those that offer a session resume in spite of it.
	resumed bool
	handler string // the counter of package ssl that moves for each lookup
	hangs   bool   // so the hasty door is used
	setup   setup
}

// parts are what a fault is made of.
type parts struct {
	rig    *rig
	redis  *testserver.Server
	relay  *relay
	direct *redis.Client // to redis
}

var faults = []fault{
	{
		name: "connections are refused",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			p.relay.to("")
			return func() { p.relay.to(p.redis.Addr()) }, func(a, b state) bool {
				return b.errorsWith("connection refused")-a.errorsWith("connection refused") == 2*(offering+handshakes)
			}
		},
		lookups: "Lookups.Error", puts: "Puts.Error",
	},
	{
		name: "black hole",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			hole := testserver.BlackHole(t)
			p.relay.to(hole.Addr())
			return func() { p.relay.to(p.redis.Addr()) }, func(a, b state) bool { return hole.Connections() > 0 }
		},
		lookups: "Lookups.Timeout", puts: "Puts.Timeout", hangs: true,
	},
	{
		name: "2 s latency",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			slow := testserver.Slow(t, p.redis.Addr(), 2*time.Second*slowdown)
			p.relay.to(slow.Addr())
			return func() { p.relay.to(p.redis.Addr()) }, func(a, b state) bool { return slow.Connections() > 0 }
		},
		lookups: "Lookups.Timeout", puts: "Puts.Timeout", hangs: true,
	},
	{
		name: "stopped",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			if err := p.redis.Pause(); err != nil {
				t.Fatal(err)
			}
			return func() { p.redis.Resume() }, func(a, b state) bool {
				return b.Store.Gets-a.Store.Gets == 2*offering && b.errorsWith("deadline exceeded") > a.errorsWith("deadline exceeded")
			}
		},
		lookups: "Lookups.Timeout", puts: "Puts.Timeout", hangs: true,
	},
	{
		name: "garbage",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			other := newOtherService(t)
			p.relay.to(other.listener.Addr().String())
			return func() { p.relay.to(p.redis.Addr()) }, func(a, b state) bool { return other.answers.Load() >= 2*(offering+handshakes) }
		},
		lookups: "Lookups.Error", puts: "Puts.Error",
	},
	{
		name:    "another id's value",
		begin:   lie("swap"),
		lookups: "Lookups.OtherID", puts: "Puts.Stored",
	},
	{
		name:    "another id's value, not sealed",
		begin:   lie("swap"),
		lookups: "Lookups.Hit", puts: "Puts.Stored", handler: "Handlers.WrongID",
		setup: setup{Plain: true},
	},
	{
		name: "read-only",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			replica := testserver.Redis(t, "--replicaof", "127.0.0.1 "+port(p.redis))
			c := direct(t, replica)
			info := func(section, words string) bool { return strings.Contains(infoOf(t, c, section), words) }
			want := p.direct.DBSize(t.Context()).Val()
			until(t, "the replica has the sessions", func() bool {
				return info("replication", "master_link_status:up") && c.DBSize(t.Context()).Val() == want
			})
			p.relay.to(replica.Addr())
			return func() { p.relay.to(p.redis.Addr()) }, func(a, b state) bool {
				return info("replication", "role:slave") && errorStat(t, c, "READONLY") == b.errorsWith("READONLY") &&
					b.errorsWith("READONLY") > 0
			}
		},
		lookups: "Lookups.Hit", puts: "Puts.Error", resumed: true,
	},
	{
		name: "out of memory",
		begin: func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
			limit := func(bytes string) {
				if err := p.direct.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
					t.Fatal(err)
				}
			}
			limit("1")
			return func() { limit("0") }, func(a, b state) bool {
				return errorStat(t, p.direct, "OOM") == b.errorsWith("OOM") && b.errorsWith("OOM") > 0
			}
		},
		lookups: "Lookups.Hit", puts: "Puts.Error", resumed: true,
	},
}

// lie is a fault of a store that lies.
func lie(how string) func(*testing.T, *parts) (func(), func(a, b state) bool) {
	return func(t *testing.T, p *parts) (func(), func(a, b state) bool) {
		p.rig.ask("lie "+how, nil)
		return func() { p.rig.ask("lie", nil) }, func(a, b state) bool { return b.Store.Lies-a.Store.Lies == 2*offering }
	}
}

// TestFaults: while the store is at fault every handshake succeeds, and every
// lookup and put is counted as what became of it; after it the same sessions
// are resumed again, by the store.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			p := newParts(t, f.setup)
			r := p.rig
			r.primeAll()
			for _, v := range versions {
				r.healthyWave(v)
			}
			if f.hangs {
				r = r.through(hasty)
			}
			end, seen := f.begin(t, p)
			begun := r.state()
			for _, v := range versions {
				t.Run(versionName(v), func(t *testing.T) {
					r := r.at(t)
					before := r.state()
					resumed, took := r.wave(v)
					if want := map[bool]int{true: offering}[f.resumed]; resumed != want {
						t.Errorf("%d resumed, want %d", resumed, want)
					}
					want := moves{
						f.lookups: offering, f.puts: newPuts(v, resumed),
						"Served.Resumed": resumed, "Served.Full": handshakes - resumed,
					}
					if f.handler != "" {
						want[f.handler] = offering
					}
					if f.lookups == "Lookups.Hit" {
						want["Hits.Store"] = offering
					}
					r.counted(before, want)
					r.compare(v, took)
				})
			}
			if after := r.state(); !seen(begun, after) {
				t.Errorf("nothing shows that the fault happened\n%s", r.why(after))
			}
			end()
			for _, v := range versions {
				r.through(patient).recovered(v)
			}
			r.bounded()
		})
	}
}

// newParts starts a Redis server, a relay to it, and a server process that
// uses it through the relay.
func newParts(t *testing.T, o setup) *parts {
	t.Helper()
	return newPartsOf(t, o, "--appendonly", "yes") // what it acknowledged outlives it
}

func newPartsOf(t *testing.T, o setup, args ...string) *parts {
	t.Helper()
	p := &parts{redis: testserver.Redis(t, args...)}
	p.direct = direct(t, p.redis)
	p.relay = newRelay(t, p.redis.Addr())
	o.Redis = p.relay.addr
	p.rig = newRig(t, o)
	return p
}

func direct(t testing.TB, s *testserver.Server) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: 3})
	t.Cleanup(func() { c.Close() })
	return c
}

func infoOf(t testing.TB, c *redis.Client, section string) string {
	t.Helper()
	s, err := c.Info(context.Background(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// errorStat is how many errors of a kind a Redis server says that it has
// answered with.
func errorStat(t testing.TB, c *redis.Client, kind string) int {
	t.Helper()
	_, rest, _ := strings.Cut(infoOf(t, c, "errorstats"), "errorstat_"+kind+":count=")
	return number(rest)
}

// number reads the digits that s begins with.
func number(s string) (n int) {
	for _, c := range s {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func port(s *testserver.Server) string {
	_, port, _ := strings.Cut(s.Addr(), ":")
	return port
}

// until waits for what must come true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}
