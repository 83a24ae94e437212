package fleettest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/ssl"
)

// traffic is clients that come again and again: half of them offer one of the
// sessions of prime, each its own, and half offer none.
type traffic struct {
	r       *rig
	stop    atomic.Bool
	running sync.WaitGroup

	visits, offered, resumed atomic.Int64
	renewed                  atomic.Int64 // resumed, and given a session of TLS 1.3
	mu                       sync.Mutex
	failed                   map[string]int
}

// traffic starts as many clients as handshakes, of both versions. It is ended
// by end.
func (r *rig) traffic() *traffic {
	c := &traffic{r: r, failed: map[string]int{}}
	for i := range handshakes {
		version := versions[i%2]
		var offer *ssl.Session
		if i%4 < 2 {
			offer = r.offers[version][i/4]
		}
		c.running.Go(func() {
			for !c.stop.Load() {
				v, err := r.clients[version].visit(r.addrs[r.door], offer)
				c.note(offer != nil, v, err)
			}
		})
	}
	return c
}

func (c *traffic) note(offered bool, v visit, err error) {
	c.visits.Add(1)
	if offered {
		c.offered.Add(1)
	}
	if v.resumed {
		c.resumed.Add(1)
		if v.session != nil {
			c.renewed.Add(1)
		}
	}
	if err != nil || v.resumed && !offered {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed[fmt.Sprintf("resumed %v, offered %v: %v", v.resumed, offered, err)]++
	}
}

// end ends the traffic, and wants every handshake to have succeeded.
func (c *traffic) end(t *testing.T) {
	t.Helper()
	c.stop.Store(true)
	c.running.Wait()
	for what, n := range c.failed {
		t.Errorf("%d handshakes of %d: %s", n, c.visits.Load(), what)
	}
	t.Logf("%d handshakes, %d offered a session, %d resumed", c.visits.Load(), c.offered.Load(), c.resumed.Load())
}

// now is the state while there is traffic.
func (r *rig) now() (s state) {
	r.t.Helper()
	r.ask("state", &s)
	return s
}

// TestKill: the store is killed in mid-run and comes back, with what it had
// acknowledged. No handshake fails; the sessions of before are resumed again,
// by the store.
func TestKill(t *testing.T) {
	p := newParts(t, setup{})
	r := p.rig
	r.primeAll()
	for _, v := range versions {
		r.healthyWave(v)
	}
	before := r.state()
	c := r.traffic()
	moved := func(what string, since state, name string, more int) {
		t.Helper()
		until(t, what, func() bool { return r.now().since(since)[name] >= more })
	}
	moved("traffic before the kill", before, "Hits.Store", handshakes)
	pid := p.redis.Pid()
	if err := p.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := r.now()
	moved("lookups fail", killed, "Lookups.Error", handshakes)
	moved("puts fail", killed, "Puts.Error", handshakes)
	if err := p.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	back := r.now()
	moved("lookups hit again", back, "Hits.Store", handshakes)
	c.end(t)

	after := r.state()
	n := after.since(before)
	if n["Served.Failed"] != 0 {
		t.Errorf("handshakes failed at the server\n%s", r.why(after))
	}
	if now := p.redis.Pid(); pid == 0 || now == 0 || now == pid {
		t.Errorf("the store had process id %d and has %d: it was not killed", pid, now)
	}
	if got, want := n["Lookups.Hit"]+n["Lookups.Error"], int(c.offered.Load()); got != want || n["Lookups.Hit"] != int(c.resumed.Load()) {
		t.Errorf("%d of %d offers resumed; counted are %v", c.resumed.Load(), want, n)
	}
	for _, v := range versions {
		r.recovered(v)
	}
	r.bounded()
}

// TestKillForgets: a store that comes back empty has no session of before:
// that is a miss, no error, and what is made from then on is resumed.
func TestKillForgets(t *testing.T) {
	p := newPartsOf(t, setup{}) // nothing on disk
	r := p.rig
	r.primeAll()
	if err := p.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	until(t, "the store is used again", func() bool {
		before := r.state()
		r.atOnce(versions[0], []*ssl.Session{nil})
		return r.state().since(before)["Puts.Stored"] == 1
	})
	eachVersion(t, func(t *testing.T, version uint16) {
		r := r.at(t)
		before := r.state()
		resumed, _ := r.wave(version)
		if resumed != 0 {
			t.Errorf("%d resumed", resumed)
		}
		r.counted(before, moves{"Lookups.Miss": offering, "Misses.Asked": offering, "Puts.Stored": handshakes, "Served.Full": handshakes})
		r.prime(version)
		r.healthyWave(version)
	})
	r.bounded()
}

// TestDialsAgain: go-redis dials five times, 100 ms apart, unless told
// otherwise (DialerRetries). So to a Cache that waits less than that, a store
// that refuses connections is one that does not answer.
func TestDialsAgain(t *testing.T) {
	p := newParts(t, setup{Dials: 5, Hasty: 100 * time.Millisecond})
	r := p.rig
	r.primeAll()
	p.relay.to("")
	if c, err := net.Dial("tcp", p.relay.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, %v", c, err)
	}
	eachVersion(t, func(t *testing.T, version uint16) {
		r := r.at(t).through(hasty)
		before := r.state()
		r.wave(version)
		r.counted(before, moves{"Lookups.Timeout": offering, "Puts.Timeout": handshakes, "Served.Full": handshakes})
	})
	p.relay.to(p.redis.Addr())
	for _, v := range versions {
		r.recovered(v)
	}
	r.bounded()
}
