package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// options are one simulated fleet. Shares are 0 to 1.
type options struct {
	title string // of its column
	nodes int
	rate  float64 // connections a second and node that results are scaled to

	// The clients.
	clients  int           // simulated
	burst    float64       // connections of a visit, mean of a geometric distribution
	within   time.Duration // between two of them, mean of an exponential distribution
	parallel float64       // share of them that start at once with the one before
	pause    time.Duration // between visits, mean of an exponential distribution
	fresh    float64       // share of visits by clients that were never here
	tls12    float64       // share of clients that speak TLS 1.2 only
	keep     time.Duration // how long a client keeps a session of TLS 1.2
	faulty   float64       // share of connections that end in a fatal alert
	junk     float64       // lookups of ids that a stranger made up, for each connection

	// The servers.
	only12  bool // limited to TLS 1.2
	ttl     time.Duration
	maxAge  time.Duration // of a chain of resumptions of TLS 1.3
	sticky  bool
	moved   float64 // with sticky: share of visits that come from another address
	own     bool    // a store for each node
	split   int     // groups of nodes with session id contexts of their own
	der     int     // bytes of an encoded session
	near    int64
	nearTTL time.Duration
	missTTL time.Duration
	single  bool
	tag     bool

	length time.Duration // measured, after as much as fills the store
	seed   uint64
}

// flags declares the flags on set; the node counts are a list.
func (o *options) flags(set *flag.FlagSet) (nodes *string) {
	nodes = set.String("nodes", "100", "number of nodes; several with commas make a column each")
	set.Float64Var(&o.rate, "rate", 200, "connections per second and node that the results are scaled to")
	set.IntVar(&o.clients, "clients", 20_000, "clients to simulate")
	set.Float64Var(&o.burst, "burst", 4, "connections of a visit, on average")
	set.DurationVar(&o.within, "within", 10*time.Second, "time between the connections of a visit, on average")
	set.Float64Var(&o.parallel, "parallel", 0, "share of these that start at once with the one before and offer the same session")
	set.DurationVar(&o.pause, "pause", 30*time.Minute, "time between the visits of a client, on average")
	set.Float64Var(&o.fresh, "fresh", 0.25, "share of visits by clients that have never been here")
	set.Float64Var(&o.tls12, "tls12", 0.1, "share of clients that speak TLS 1.2 only")
	set.DurationVar(&o.keep, "keep", 24*time.Hour, "how long a client keeps a TLS 1.2 session")
	set.Float64Var(&o.faulty, "faulty", 0.001, "share of connections that end in a fatal alert")
	set.Float64Var(&o.junk, "junk", 0, "made-up ids per connection")
	set.BoolVar(&o.only12, "only12", false, "the servers are limited to TLS 1.2")
	set.DurationVar(&o.ttl, "ttl", 2*time.Hour, "lifetime of a session (SessionTimeout)")
	set.DurationVar(&o.maxAge, "max-age", 24*time.Hour, "how long after a full handshake a client may go on resuming (MaxResumptionAge)")
	set.BoolVar(&o.sticky, "sticky", false, "the load balancer keeps a client's address on one node")
	set.Float64Var(&o.moved, "moved", 0.1, "with -sticky: share of visits from another address")
	set.BoolVar(&o.own, "own", false, "each node has a store of its own (memstore, boltstore)")
	set.IntVar(&o.split, "split", 1, "groups of nodes that differ in their session id context")
	set.IntVar(&o.der, "der", 207, "bytes of an encoded session")
	set.Int64Var(&o.near, "near", 0, "NearBytes of each node; 0: no near cache")
	set.DurationVar(&o.nearTTL, "near-ttl", 0, "NearTTL")
	set.DurationVar(&o.missTTL, "miss-ttl", 0, "MissTTL")
	set.BoolVar(&o.single, "single-use", false, "SingleUse")
	set.BoolVar(&o.tag, "tag-ids", false, "TagIDs")
	set.DurationVar(&o.length, "length", time.Hour, "time to measure, after a lifetime to fill the store")
	set.Uint64Var(&o.seed, "seed", 1, "seed of all that is random")
	return nodes
}

func (o *options) check() error {
	for name, share := range map[string]float64{
		"parallel": o.parallel, "fresh": o.fresh, "tls12": o.tls12, "faulty": o.faulty, "moved": o.moved,
	} {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("-%s is a share, 0 to 1, not %v", name, share)
		}
	}
	switch {
	case o.nodes < 1 || o.clients < 1 || o.split < 1:
		return errors.New("-nodes, -clients and -split are at least 1")
	case !(o.rate > 0) || !(o.burst >= 1) || !(o.junk >= 0):
		return errors.New("-rate is positive, -burst at least 1, -junk not negative")
	case o.ttl < time.Second || o.ttl%time.Second != 0:
		return fmt.Errorf("-ttl is a number of whole seconds, not %v", o.ttl)
	case o.maxAge < o.ttl:
		return fmt.Errorf("-max-age of %v is shorter than -ttl, %v", o.maxAge, o.ttl)
	case o.pause <= 0 || o.within < 0 || o.keep < 0 || o.length <= 0:
		return errors.New("-pause and -length are positive, -within and -keep not negative")
	case o.der < 1:
		return errors.New("-der is positive")
	}
	return nil
}

// parseNodes reads "1,10,100".
func parseNodes(list string) (nodes []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-nodes: %q is no number of nodes", s)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}
