//go:build !race && !asan

package ssl

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
)

// The server whose costs are counted is a process of its own: the client's are
// not counted with them, and strace may look on.

// The counts are those of a plain build: the race detector's sync.Pool forgets,
// and AddressSanitizer's compiler has more objects on the heap. The stage counts
// of scripts/test runs them.

func init() { testProcesses["counts"] = runCountedServer }

// countedVisits is how many connections are counted. The least of them is what
// an operation costs: what else happens in a process only ever adds to it.
const countedVisits = 30

// A countedServer says what the process serves.
type countedServer struct {
	Version uint16
	Resumed bool
	Store   string // "" (stateless tickets), "map" or "live"
	Memory  bool   // the transport is no descriptor
	Socket  bool   // it is one of our own poller
	Mutual  bool   // the client has a certificate
	Steps   bool   // the steps of Handshake are counted, by themselves
	Fault   string // put into them; see TestCountsSeeFaults
}

func (o countedServer) String() string {
	s := map[bool]string{false: "full", true: "resumed"}[o.Resumed] + "/" + tls.VersionName(o.Version)[4:]
	s += "/" + map[string]string{"": "ticket", "map": "map", "live": "live"}[o.Store]
	if o.Mutual {
		s += "/mtls"
	}
	switch {
	case o.Memory:
		return s + "/memory"
	case o.Socket:
		return s + "/socket"
	}
	return s + "/descriptor"
}

// countedTransports are what the counts are taken over.
var countedTransports = []string{"descriptor", "socket", "memory"}

// over returns o with the transport of that name.
func (o countedServer) over(transport string) countedServer {
	o.Memory, o.Socket = transport == "memory", transport == "socket"
	return o
}

// The operations on each connection, in this order.
var countedOps = []string{"NewConn", "Handshake", "ConnectionState", "Write", "Read", "Write16K", "ReadWaits", "Close"}

// countReport is what the process says at its end.
type countReport struct {
	Least map[string]opCost
	// How the handshakes came about.
	Visits, Resumed, CallbackHits int64
}

// runCountedServer is the process. It says its address, serves the connections,
// and says what they cost.
func runCountedServer() {
	var o countedServer
	check(json.Unmarshal([]byte(os.Getenv("SESSIONCB_TEST_COUNTS")), &o))
	cfg := serverConfig()
	if o.Mutual {
		cfg = mutual()
	}
	// However busy the machine is, no limit of time has a part in it.
	cfg.HandshakeTimeout, cfg.LookupTimeout, cfg.StoreTimeout = time.Minute, time.Minute, time.Minute
	switch o.Store {
	case "map":
		cfg.SessionCallbacks = newStore().callbacks()
		cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
	case "live":
		store, err := livestore.New(livestore.Options{})
		check(err)
		cfg.SessionCache, err = sessioncb.NewCache(store, sessioncb.CacheOptions{})
		check(err)
	}
	ctx, err := NewContext(cfg)
	check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	marks, err := syscall.Open("/dev/null", syscall.O_WRONLY, 0)
	check(err)
	fmt.Println(l.Addr())
	c := &counter{o: o, marks: marks, report: countReport{Least: map[string]opCost{}}}
	for i := range countedVisits + 1 {
		nc, err := l.Accept()
		check(err)
		// The first makes sessions, and what is made once in a process.
		c.serve(nc, ctx, i > 0)
	}
	c.report.CallbackHits = ctx.Stats().CallbackHits
	json.NewEncoder(os.Stdout).Encode(c.report)
	os.Exit(0)
}

// counter counts what the operations of the server cost.
type counter struct {
	o      countedServer
	marks  int // a descriptor: what is written to it stands in strace's account
	report countReport
	steps  opCost

	before, after         runtime.MemStats
	beforeStep, afterStep runtime.MemStats
}

func (c *counter) mark(what string) { syscall.Write(c.marks, []byte("mark "+what+"\n")) }

// cost makes an operation and returns what it cost.
func (c *counter) cost(f func()) opCost { return cost(&c.before, &c.after, f) }

func (c *counter) costOfStep(f func()) opCost { return cost(&c.beforeStep, &c.afterStep, f) }

func (c *counter) op(what string, counts bool, f func()) {
	if counts {
		c.mark(what)
	}
	cost := c.cost(f)
	if counts {
		c.mark("none")
		c.note(what, cost)
	}
}

// note keeps the least of what an operation cost, each count by itself.
func (c *counter) note(what string, cost opCost) {
	least, seen := c.report.Least[what]
	if !seen {
		least = cost
	}
	c.report.Least[what] = opCost{min(least.Allocs, cost.Allocs), min(least.Crossings, cost.Crossings)}
}

var (
	faultSink *[64]byte
	small     [64]byte
	large     [16 << 10]byte
)

// serve serves a connection. All that an operation waits for is there before.
func (c *counter) serve(nc net.Conn, ctx *Context, counts bool) {
	var s *Conn
	var err error
	if c.o.Socket {
		nc = asSocket(nc)
	}
	transport := nc
	if c.o.Memory {
		transport = struct{ net.Conn }{nc}
	}
	buf := make([]byte, len(large))
	awaitBytes(nc)
	c.op("NewConn", counts, func() { s, err = Server(transport, ctx) })
	check(err)
	c.putIn(s)
	c.steps = opCost{}
	if c.o.Steps {
		c.countSteps(s)
	}
	c.op("Handshake", counts, func() { err = s.Handshake() })
	check(err)
	if c.o.Steps && counts {
		c.note("Steps", c.steps)
	}
	var state tls.ConnectionState
	c.op("ConnectionState", counts, func() { state = s.ConnectionState() })
	if counts {
		c.report.Visits++
		if state.DidResume {
			c.report.Resumed++
		}
	}
	c.op("Write", counts, func() { _, err = s.Write(small[:]) })
	check(err)
	awaitBytes(nc) // the client answers what was written: the handshake has read none of it
	c.op("Read", counts, func() { _, err = s.Read(buf) })
	check(err)
	c.op("Write16K", counts, func() { _, err = s.Write(large[:]) })
	check(err)
	c.op("ReadWaits", counts, func() { _, err = s.Read(buf) })
	check(err)
	c.op("Close", counts, func() { err = s.Close() })
	check(err)
}

// countSteps counts what the steps of the handshake cost, without what is done
// between them.
func (c *counter) countSteps(s *Conn) {
	aroundSteps(s, func(step *toHandshake, tr cshim.IO) (wait bool, in, out int) {
		cost := c.costOfStep(func() { wait, in, out = step.try(tr) })
		c.steps.Allocs += cost.Allocs
		c.steps.Crossings += cost.Crossings
		return wait, in, out
	})
}

// putIn makes each step of the handshake cost more, in one respect.
func (c *counter) putIn(s *Conn) {
	if c.o.Fault == "" {
		return
	}
	aroundSteps(s, func(step *toHandshake, tr cshim.IO) (wait bool, in, out int) {
		switch c.o.Fault {
		case "allocation":
			faultSink = new([64]byte)
		case "crossing":
			cshim.VersionNum()
		case "system call":
			syscall.Getsockname(tr.FD)
		}
		return step.try(tr)
	})
}

// countCosts runs the server process, under a program that looks on if there is
// one, and visits it. It fails the test unless each visit was of the kind that it
// should be.
func countCosts(t testing.TB, o countedServer, under ...string) countReport {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	addr, ask := startTestProcessUnder(t, under, "counts", "SESSIONCB_TEST_COUNTS="+string(text))

	var is []Certificate
	if o.Mutual {
		is = files("client.pem", "client-key.pem")
	}
	client, got := clientAs(t, o.Version, is)
	var offer *Session
	for range countedVisits + 1 {
		visitCounted(t, addr, client, offer)
		if o.Resumed {
			offer = got.last(t)
		}
	}
	var said []byte
	ask(&said)
	var r countReport
	if err := json.Unmarshal(said, &r); err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	if o.Resumed {
		want = countedVisits
	}
	if r.Visits != countedVisits || r.Resumed != want {
		t.Fatalf("%d of %d handshakes were resumptions, want %d of %d", r.Resumed, r.Visits, want, countedVisits)
	}
	if o.Store == "" {
		want = 0
	}
	if r.CallbackHits != want {
		t.Fatalf("%d resumptions came from the handler, want %d", r.CallbackHits, want)
	}
	return r
}

// visitCounted is the client's side of counter.serve.
func visitCounted(t testing.TB, addr string, client *Context, offer *Session) {
	t.Helper()
	c, err := Dial("tcp", addr, client, &ClientOptions{ServerName: "localhost", Session: offer})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, len(large))
	for _, n := range []int{len(small), len(large)} {
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			t.Fatal(err)
		}
		if n == len(large) {
			time.Sleep(2 * time.Millisecond) // the server waits for it, nearly always
		}
		if _, err := c.Write(buf[:len(small)]); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.Read(buf); err != io.EOF {
		t.Fatalf("at the end: %d bytes, %v", n, err)
	}
}
