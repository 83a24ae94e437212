package fleettest

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// nodes is how many servers get the recorded flight, each a process.
const nodes = 8

// claiming is a node that takes early data.
func claiming(keys [][]byte) nodeSetup {
	return nodeSetup{Keys: keys, SingleUse: true, Hosts: []host{{EarlyData: 1000}}}
}

// fleet starts a node in each process.
func fleet(processes []*process, s nodeSetup) (list []member) {
	for _, p := range processes {
		list = append(list, p.start(s))
	}
	return list
}

// replayRounds records a first flight with early data and sends it to all
// servers at once, in each round a new one: want of them must accept it, and
// read it whole, and the others must not have a byte.
func replayRounds(t *testing.T, fleet []member, rounds, want int) {
	t.Helper()
	client := newVisitor(t, visitorConfig(tls.VersionTLS13, ""))
	before := make([]counters, len(fleet))
	for i, m := range fleet {
		before[i] = m.counters()
	}
	for round := range rounds {
		data := fmt.Sprintf("pay %d once", round)
		flight := client.flight("localhost", client.session(fleet[round%len(fleet)], 0, "localhost"), data)
		send(t, fleet, flight)
		accepted, whole, all := 0, 0, 0
		for _, m := range fleet {
			r := took(t, m)
			said(t, r, "unexpected EOF") // no alert: each would have gone on with a client
			if r.Accepted {
				accepted++
			}
			if string(r.Early) == data {
				whole++
			}
			all += len(r.Early)
		}
		if accepted != want || whole != want || all != want*len(data) {
			t.Fatalf("round %d: accepted by %d nodes, read whole by %d, %d bytes in all, want it %d times",
				round, accepted, whole, all, want)
		}
	}
	var claimed, missed, claims uint64
	for i, m := range fleet {
		a, b := before[i].Cache, m.counters().Cache
		claimed += b.Claimed - a.Claimed
		missed += b.Misses.Asked - a.Misses.Asked
		claims += b.Calls.Claim - a.Calls.Claim
	}
	if n := uint64(rounds * len(fleet)); claims != n || claimed != uint64(rounds*want) || missed != n-claimed {
		t.Errorf("%d claims, of which %d had a session and %d had none; want %d and %d", claims, claimed, missed, n, rounds*want)
	}
}

// send gives all of the fleet the flight, as nearly at once as can be, and
// returns when they are done with it. Nobody answers them: it is a recording.
func send(t *testing.T, fleet []member, flight []byte) {
	t.Helper()
	var conns []net.Conn
	for _, m := range fleet {
		c, err := net.Dial("tcp", m.addrs()[0])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	var ready, done sync.WaitGroup
	ready.Add(len(conns))
	for _, c := range conns {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			c.Write(flight)
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c)
		})
	}
	done.Wait()
}

// rounds is so many, or fewer where all is slower.
func rounds(n int) int {
	if testing.Short() || slowdown > 1 {
		return n / 10
	}
	return n
}

// One recorded flight is accepted once by the whole fleet, whichever of its
// eight processes gets it first.
func TestReplay(t *testing.T) {
	keys := [][]byte{sessioncb.GenerateKey()}
	var processes []*process
	for range nodes {
		processes = append(processes, another(t))
	}
	t.Run("Redis", func(t *testing.T) {
		s := claiming(keys)
		s.Redis = testserver.Redis(t).Addr()
		f := fleet(processes, s)
		replayRounds(t, f, rounds(200), 1)
		// It is the claim that sees to that.
		s.ClaimsNot, s.Prefix = true, "another:"
		replayRounds(t, fleet(processes, s), 3, nodes)
	})
	t.Run("memcached", func(t *testing.T) {
		s := claiming(keys)
		s.Memcached = testserver.Memcached(t).Addr()
		replayRounds(t, fleet(processes, s), rounds(40), 1)
	})
}

// Early data and single use are refused where a session could be used twice.
func TestNoClaimNoEarlyData(t *testing.T) {
	keys := [][]byte{sessioncb.GenerateKey()}
	server := testserver.Redis(t)
	for _, x := range []struct {
		name  string
		store sessioncb.Store // nil: Redis
		s     nodeSetup
		want  string
	}{
		{"a store without Claim", struct{ sessioncb.Store }{}, nodeSetup{SingleUse: true}, "SingleUse needs a store that claims"},
		{"a Cache that does not claim", nil, nodeSetup{Hosts: []host{{EarlyData: 1}}}, "MaxEarlyData needs a Get handler that takes each session out"},
		{"both", nil, claiming(keys), ""},
	} {
		x.s.Keys, x.s.Redis, x.s.store = keys, server.Addr(), x.store
		n, err := startNode(x.s)
		if err == nil {
			n.stop()
		}
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
}
