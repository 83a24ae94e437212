package fleettest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// A member is a node, here or in another process.
type member interface {
	addrs() []string
	take(count int) ([]report, error)
	counters() counters
	stop() error
}

// counters are a node's.
type counters struct {
	Cache   sessioncb.Stats
	Refused ssl.HandlerStats // of all its Contexts
}

// local starts a node in this process that ends with the test.
func local(t testing.TB, s nodeSetup) *node {
	t.Helper()
	n, err := startNode(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// took is what a node saw of one connection.
func took(t testing.TB, m member) report {
	t.Helper()
	list, err := m.take(1)
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// nodesProcess is the name of the process that runs nodes.
const nodesProcess = "nodes"

func init() { processes[nodesProcess] = runNodes }

// An order is what that process is told, a line each.
type order struct {
	Start *nodeSetup // the answer is a started
	Node  int        // of the others
	Take  int        // connections; the answer is their reports
	Count bool       // the answer is its counters
	Stop  bool
}

type started struct {
	Node  int
	Addrs []string
}

func runNodes() {
	var nodes []*node
	err := answerLines(func(line string) (any, error) {
		var o order
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			return nil, err
		}
		switch {
		case o.Start != nil:
			n, err := startNode(*o.Start)
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n)
			return started{len(nodes) - 1, n.addrs()}, nil
		case o.Take > 0:
			return nodes[o.Node].take(o.Take)
		case o.Count:
			return nodes[o.Node].counters(), nil
		case o.Stop:
			return nil, nodes[o.Node].stop()
		}
		return nil, fmt.Errorf("an order that says nothing: %s", line)
	})
	for _, n := range nodes {
		if e := n.stop(); err == nil {
			err = e
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// remote is a node of another process.
type remote struct {
	p    *process
	node started
}

// another starts a process that runs nodes.
func another(t testing.TB) *process {
	t.Helper()
	return startProcess(t, nodesProcess, nil)
}

func (p *process) order(o order, answer any) {
	p.t.Helper()
	line, err := json.Marshal(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.ask(string(line), answer)
}

// start starts a node there. It ends with its process, or by stop.
func (p *process) start(s nodeSetup) *remote {
	p.t.Helper()
	r := &remote{p: p}
	p.order(order{Start: &s}, &r.node)
	return r
}

func (r *remote) addrs() []string { return r.node.Addrs }

func (r *remote) take(count int) (list []report, err error) {
	r.p.order(order{Node: r.node.Node, Take: count}, &list)
	return list, nil
}

func (r *remote) counters() (c counters) {
	r.p.order(order{Node: r.node.Node, Count: true}, &c)
	return c
}

func (r *remote) stop() error {
	r.p.order(order{Node: r.node.Node, Stop: true}, nil)
	return nil
}

// said fails the test unless the server said so, and tells what it said.
func said(t testing.TB, r report, words string) {
	t.Helper()
	if !strings.Contains(r.Err, words) {
		t.Errorf("the server: %q, want it to say %q", r.Err, words)
	}
}
