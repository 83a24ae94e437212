// Package rows says what the table has: each row, its peers, what they are
// told, and the goal.
package rows

import (
	"fmt"
	"time"
)

// Metric is what a row compares.
type Metric string

const (
	Rate    Metric = "rate"    // operations per second of the server's processor time
	P99     Metric = "p99"     // the client's 99th percentile, connect to handshake complete
	Memory  Metric = "memory"  // KiB of the server per idle connection
	Threads Metric = "threads" // threads of the server while lookups wait
)

// LowerIsBetter is so of all but Rate.
func (m Metric) LowerIsBetter() bool { return m != Rate }

// Relative reports whether goals and floors are ratios to the row's base;
// otherwise they are in the metric's own unit.
func (m Metric) Relative() bool { return m == Rate || m == P99 }

// A Peer is one column of a row: a server program and what it keeps.
type Peer struct {
	Name    string // of the column, unique in its row: c, c-ref, ours, cryptotls ...
	Program string // the server: cserver, ours, prototype, cryptotls, goopenssl, node
	Store   string // its -store
	Flags   []string
}

// Ours is the name of the column that goals are for.
const Ours = "ours"

// Prototype is the name of the column that ours is not to be below: the design
// of the prototype, measured in the same run.
const Prototype = "prototype"

// A Row is one measurement of all its peers.
type Row struct {
	Name    string
	Title   string
	Metric  Metric
	Work    string // the server's -work
	Load    string // the load's -work
	Version string // 1.2 or 1.3
	Cert    string // file in testdata/certs without .pem
	Mutual  bool   // with client certificates
	Conns   int    // the load's -conns
	Size    int    // the load's -size; 0: none given
	Delay   time.Duration
	Hosts   int           // virtual hosts that the load asks for, by name; 0: none named
	Warmup  time.Duration // at least; 0: the driver's
	Base    string        // the peer that ratios are to
	Peers   []Peer        // the first is Base
	Rounds  int           // at most; 0: the driver's
}

// Peer is the row's peer of a name.
func (r *Row) Peer(name string) (Peer, bool) {
	for _, p := range r.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}

// Full reports whether the row is of full handshakes.
func (r *Row) Full() bool { return r.Load == "full" }

// Unit is that of the base's own value.
func (r *Row) Unit() string {
	switch {
	case r.Metric == P99:
		return "µs"
	case r.Metric == Memory:
		return "KiB"
	case r.Metric == Threads:
		return "threads"
	case r.Bulk():
		return "GB/CPU-s"
	}
	return "ops/CPU-s"
}

// Bulk reports whether an operation is 16 KiB of data.
func (r *Row) Bulk() bool { return r.Load == "down" || r.Load == "up" }

// ServerArgs are the command line of a peer's server; certs is the directory
// of the certificates.
func (r *Row) ServerArgs(p Peer, certs string) []string {
	args := []string{
		"-work", r.Work, "-version", r.Version, "-store", p.Store,
		"-cert", certs + "/" + r.Cert + ".pem", "-key", certs + "/" + r.Cert + "-key.pem",
	}
	if r.Mutual {
		args = append(args, "-client-ca", certs+"/ca.pem")
	}
	if r.Delay > 0 {
		args = append(args, "-lookup-delay", r.Delay.String())
	}
	if r.Hosts > 0 {
		args = append(args, "-hosts", fmt.Sprint(r.Hosts))
	}
	return append(args, p.Flags...)
}

// LoadArgs are the command line of the load, but for the server's address and
// process.
func (r *Row) LoadArgs(certs string, conns int, warmup, window time.Duration) []string {
	args := []string{
		"-work", r.Load, "-version", r.Version, "-conns", fmt.Sprint(conns),
		"-warmup", fmt.Sprint(max(warmup, r.Warmup).Seconds()), "-seconds", fmt.Sprint(window.Seconds()),
	}
	if r.Size > 0 {
		args = append(args, "-size", fmt.Sprint(r.Size))
	}
	if r.Hosts > 0 {
		args = append(args, "-hosts", fmt.Sprint(r.Hosts))
	}
	if r.Mutual {
		args = append(args, "-cert", certs+"/client.pem", "-key", certs+"/client-key.pem")
	}
	return args
}

// Want is how many calm rounds the row is to have when the driver's number is
// rounds.
func (r *Row) Want(rounds int) int {
	if r.Rounds > 0 {
		return min(rounds, r.Rounds)
	}
	return rounds
}
