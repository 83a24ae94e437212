//go:build !race && !asan

package ssl

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/cshim"
)

// The system calls of a server, as strace sees them in its process: those on
// descriptors. What waits for work (epoll_pwait, futex) depends on the load.

// sysCalls are system calls by name.
type sysCalls map[string]int

func (s sysCalls) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, " %s:%d", name, s[name])
	}
	return strings.TrimSpace(b.String())
}

// sysRows are what a handshake may cost. One recvfrom takes all that is there, and
// one more, behind the ClientHello, finds nothing; a flight is one sendto, as are
// the tickets of TLS 1.3. A socket of our own poller is given to it in the first
// wait, and finds nothing only where it cannot know. A step on the pool costs a
// write of one of its threads. OpenSSL 3.2 and newer read no more than a record's
// header, and then its body, until the handshake has ended, whatever read-ahead says.
var sysRows = []struct {
	server    countedServer
	handshake sysCalls
	recvs     int // recvfrom with OpenSSL 3.2 and newer
}{
	{countedServer{Version: only12, Store: "live"}, sysCalls{"recvfrom": 3, "sendto": 2, "write": 2}, 8},
	{countedServer{Version: only13, Store: "live"}, sysCalls{"recvfrom": 3, "sendto": 2, "write": 1}, 7},
	{countedServer{Version: only12, Store: "live", Resumed: true}, sysCalls{"recvfrom": 3, "sendto": 1}, 6},
	{countedServer{Version: only13, Store: "live", Resumed: true}, sysCalls{"recvfrom": 3, "sendto": 2, "write": 1}, 7},
	{countedServer{Version: only12, Store: "live", Resumed: true, Socket: true}, sysCalls{"recvfrom": 2, "sendto": 1, "epoll_ctl": 1}, 6},
	{countedServer{Version: only13, Store: "live", Resumed: true, Socket: true}, sysCalls{"recvfrom": 2, "sendto": 2, "epoll_ctl": 1, "write": 1}, 7},
	{countedServer{Version: only13, Store: "live", Resumed: true, Memory: true}, sysCalls{"read": 2, "write": 2}, 0},
}

// sysOps are what the other operations may cost, over a descriptor.
var sysOps = map[string]sysCalls{
	"NewConn":         {},
	"ConnectionState": {},
	"Write":           {"sendto": 1},
	"Read":            {"recvfrom": 1},
	"Write16K":        {"sendto": 1},
	"ReadWaits":       {"recvfrom": 2}, // one finds nothing
	"Close":           {"sendto": 1, "epoll_ctl": 1, "close": 1},
}

// through makes them those of another net.Conn, which has read and write.
func (s sysCalls) through(memory bool) sysCalls {
	if !memory {
		return s
	}
	calls := sysCalls{}
	for name, n := range s {
		if other := map[string]string{"sendto": "write", "recvfrom": "read"}[name]; other != "" {
			name = other
		}
		calls[name] += n
	}
	return calls
}

// over lists the calls of which there are more than in want.
func (s sysCalls) over(want sysCalls) sysCalls {
	more := sysCalls{}
	for name, n := range s {
		if n > want[name] {
			more[name] = n - want[name]
		}
	}
	return more
}

// A server makes no more system calls than these.
func TestSystemCalls(t *testing.T) {
	for _, row := range sysRows {
		t.Run(row.server.String(), func(t *testing.T) {
			ops := traceCosts(t, row.server)
			for _, op := range countedOps {
				want := sysOps[op].through(row.server.Memory)
				switch {
				case op == "ReadWaits" && row.server.Socket:
					want = sysCalls{"recvfrom": 1} // the poller has told it
				case op == "Close" && row.server.Socket:
					want = sysCalls{"sendto": 1, "close": 1}
				}
				if op == "Handshake" {
					want = maps.Clone(row.handshake)
					if row.recvs > 0 && cshim.VersionNum() >= 0x30200000 {
						want["recvfrom"] = row.recvs
					}
				}
				t.Logf("%-16s %v", op, ops[op])
				if more := ops[op].over(want); len(more) > 0 {
					t.Errorf("%s makes %v, which is more than %v by %v", op, ops[op], want, more)
				}
			}
		})
	}
}

// A cost that is put into the steps of a handshake is seen: none of the counts
// may pass for the wrong reason.
func TestCountsSeeFaults(t *testing.T) {
	o := countedServer{Version: only13, Resumed: true}
	sound := countCosts(t, o).Least["Handshake"]
	o.Fault = "allocation"
	if got := countCosts(t, o).Least["Handshake"]; got.Allocs <= sound.Allocs {
		t.Errorf("%d allocations with one put into each step, and %d without", got.Allocs, sound.Allocs)
	}
	o.Fault = "crossing"
	if got := countCosts(t, o).Least["Handshake"]; got.Crossings <= sound.Crossings {
		t.Errorf("%d crossings with one put into each step, and %d without", got.Crossings, sound.Crossings)
	}
	o.Fault = "system call"
	if got := traceCosts(t, o)["Handshake"]; got["getsockname"] < 2 {
		t.Errorf("the system calls are %v with one put into each step", got)
	}
}

// traceCosts runs the server process under strace, and returns the least number
// of each system call in each operation.
func traceCosts(t *testing.T, o countedServer) map[string]sysCalls {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is not installed; scripts/setup test does it")
	}
	file := filepath.Join(t.TempDir(), "trace")
	if out, err := exec.Command(strace, "-o", file, "true").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: the system calls of an operation. This system lets no process trace another: %v: %s", err, out)
	}
	countCosts(t, o, strace, "-f", "-e", "trace=%network,%desc", "-e", "signal=none", "-o", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ops, visits := leastCalls(string(text))
	for _, op := range countedOps {
		if visits[op] != countedVisits {
			t.Fatalf("the trace has %s %d times, want %d", op, visits[op], countedVisits)
		}
	}
	return ops
}

// waitingCalls depend on the load, or touch no descriptor of ours.
var waitingCalls = map[string]bool{"epoll_pwait": true, "epoll_pwait2": true, "epoll_wait": true, "mmap": true}

// leastCalls reads what strace -f wrote: a thread, and a call that begins, or
// one that is resumed. Between two marks are the calls of an operation.
func leastCalls(trace string) (least map[string]sysCalls, visits map[string]int) {
	least, visits = map[string]sysCalls{}, map[string]int{}
	op, calls := "none", sysCalls{}
	for line := range strings.Lines(trace) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, args, isCall := strings.Cut(strings.TrimSpace(rest), "(")
		if !isCall || strings.HasPrefix(name, "<...") || waitingCalls[name] {
			continue
		}
		if _, text, isMark := strings.Cut(args, `"mark `); isMark && name == "write" {
			if op != "none" {
				least[op] = lesserCalls(least[op], calls)
				visits[op]++
			}
			op, _, _ = strings.Cut(text, `\n`)
			calls = sysCalls{}
			continue
		}
		calls[name]++
	}
	return least, visits
}

func lesserCalls(a, b sysCalls) sysCalls {
	if a == nil {
		return b
	}
	for name := range a {
		if a[name] = min(a[name], b[name]); a[name] == 0 {
			delete(a, name)
		}
	}
	return a
}
