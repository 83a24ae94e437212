// Package report makes of what was recorded the table, the rules and the plots.
package report

import (
	"fmt"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A Report is all that is said of a run of the benchmark. Machine, Commit and
// Settings are those of its latest row.
type Report struct {
	Machine  host.Machine    `json:"machine"`
	Commit   string          `json:"commit"`
	Settings record.Settings `json:"settings"`
	Rows     []*Row          `json:"rows"`
	Missing  []string        `json:"missing,omitempty"` // rows without a record
	Rules    []Rule          `json:"rules"`
}

// A Row is a row of the table.
type Row struct {
	Name     string          `json:"name"`
	Title    string          `json:"title"`
	Unit     string          `json:"unit"`
	Base     string          `json:"base"`
	Commit   string          `json:"commit"`
	Goal     float64         `json:"goal,omitempty"`
	Floor    float64         `json:"floor,omitempty"`
	Met      bool            `json:"met"`    // the goal; false if there is none
	Rounds   int             `json:"rounds"` // that were kept
	Calm     int             `json:"calm"`   // of them
	Want     int             `json:"want"`   // calm rounds that were to be
	Failures []string        `json:"failures,omitempty"`
	Delay    time.Duration   `json:"delay,omitempty"` // of a lookup
	Drift    stats.Quartiles `json:"drift"`           // the base's last run of a round by its first: how far two measurements of the same differ
	Peers    []*Peer         `json:"peers"`

	row *rows.Row
}

// A Peer is a cell of the table, and what stands behind it. The numbers
// without quartiles are medians over the rounds.
type Peer struct {
	Name     string          `json:"name"`
	Store    string          `json:"store"`
	Value    stats.Quartiles `json:"value"` // in the row's unit
	Ratio    stats.Quartiles `json:"ratio"` // to the base of the same round
	Ours     stats.Quartiles `json:"ours"`  // ours by it, in the same round
	P50      float64         `json:"p50_us"`
	P99      float64         `json:"p99_us"`
	Threads  float64         `json:"threads"`
	CPUs     float64         `json:"cpus"` // that it may run on; GOMAXPROCS of a Go program
	RSS      float64         `json:"rss_mib"`
	Switches float64         `json:"switches_per_op"`
	Busy     float64         `json:"busy"`              // the server's processor time by the window
	LoadBusy float64         `json:"load_busy"`         // the load's
	Waiting  float64         `json:"waiting,omitempty"` // lookups at once
}

// Few reports whether fewer rounds were calm than were to be; then the
// numbers are over all rounds.
func (r *Row) Few() bool { return r.Calm < r.Want }

// Peer is the row's peer of a name, or nil.
func (r *Row) Peer(name string) *Peer {
	for _, p := range r.Peers {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// LoadBound are the peers under which the load had no time to spare while the
// server had.
func (r *Row) LoadBound() []string {
	var names []string
	for _, p := range r.Peers {
		if r.row.Metric != rows.Memory && p.LoadBusy > 0.95 && p.Busy < 0.95 {
			names = append(names, label(p.Name))
		}
	}
	return names
}

// score is what a goal is compared with.
func (r *Row) score(p *Peer) stats.Quartiles {
	if r.row.Metric.Relative() {
		return p.Ratio
	}
	return p.Value
}

// Of makes the report of the rows that there are records of.
func Of(all []*rows.Row, records map[string]*record.Row) *Report {
	rep := &Report{}
	var latest *record.Row
	for _, row := range all {
		rec := records[row.Name]
		if rec == nil {
			rep.Missing = append(rep.Missing, row.Name)
			continue
		}
		if latest == nil || rec.Started.After(latest.Started) {
			latest = rec
			rep.Machine, rep.Commit, rep.Settings = rec.Machine, rec.Commit, rec.Settings
		}
		rep.Rows = append(rep.Rows, RowOf(row, rec))
	}
	rep.Rules = rules(rep.Rows)
	return rep
}

// RowOf reduces the record of a row.
func RowOf(row *rows.Row, rec *record.Row) *Row {
	r := &Row{
		Name: row.Name, Title: row.Title, Unit: row.Unit(), Base: row.Base, Commit: rec.Commit,
		Goal: row.Goal().Want, Floor: row.Goal().Floor,
		Rounds: len(rec.Rounds), Calm: len(rec.Calm()), Want: row.Want(rec.Settings.Rounds),
		Failures: rec.Failures, Delay: rec.Delay, row: row,
	}
	rounds := rec.Rounds
	if !r.Few() {
		rounds = rec.Calm()
	}
	var drift []float64
	for _, round := range rounds {
		if v := values(row, round, row.Base); len(v) > 1 {
			drift = append(drift, v[len(v)-1]/v[0])
		}
	}
	r.Drift = stats.Of(drift)
	for _, p := range row.Peers {
		if peer := peerOf(row, p, rounds); peer.Value.N > 0 {
			r.Peers = append(r.Peers, peer)
		}
	}
	if p := r.Peer(rows.Ours); p != nil && r.Goal > 0 && len(r.Failures) == 0 {
		r.Met = row.Met(r.score(p).Median)
	}
	return r
}

// peerOf reduces the runs of a peer.
func peerOf(row *rows.Row, p rows.Peer, rounds []record.Round) *Peer {
	var value, ratio, ours, p50, p99, threads, cpus, rss, switches, busy, load, waiting []float64
	for _, round := range rounds {
		mine := values(row, round, p.Name)
		if len(mine) == 0 {
			continue
		}
		v := stats.Mean(mine)
		value = append(value, v)
		ratio = append(ratio, v/stats.Mean(values(row, round, row.Base)))
		ours = append(ours, stats.Mean(values(row, round, rows.Ours))/v)
		for _, run := range round.Runs {
			if run.Peer != p.Name {
				continue
			}
			p50, p99 = append(p50, run.Load.P50), append(p99, run.Load.P99)
			threads, cpus = append(threads, float64(run.Threads)), append(cpus, float64(run.CPUs))
			rss, switches = append(rss, float64(run.RSS)/(1<<20)), append(switches, run.Switches)
			busy, load = append(busy, run.Load.ServerCPU/run.Load.Seconds), append(load, run.Load.ClientCPU/run.Load.Seconds)
			waiting = append(waiting, run.Waiting)
		}
	}
	median := func(v []float64) float64 { return stats.Of(v).Median }
	return &Peer{
		Name: p.Name, Store: p.Store, Value: stats.Of(value), Ratio: stats.Of(ratio), Ours: stats.Of(ours),
		P50: median(p50), P99: median(p99), Threads: median(threads), CPUs: median(cpus), RSS: median(rss),
		Switches: median(switches), Busy: median(busy), LoadBusy: median(load), Waiting: median(waiting),
	}
}

// values are a peer's of a round, in the row's unit; a base has two.
func values(row *rows.Row, round record.Round, peer string) []float64 {
	var v []float64
	for _, run := range round.Runs {
		if run.Peer == peer {
			v = append(v, value(row, run))
		}
	}
	return v
}

func value(row *rows.Row, run record.Run) float64 {
	switch {
	case row.Metric == rows.P99:
		return run.Load.P99
	case row.Metric == rows.Memory:
		return run.KiBPerConn
	case row.Metric == rows.Threads:
		return float64(run.Threads)
	case row.Bulk():
		return float64(run.Load.Bytes) / run.Load.ServerCPU / 1e9
	}
	return float64(run.Load.Ops) / run.Load.ServerCPU
}

// label is a peer's name as a reader knows it.
func label(name string) string {
	if l, ok := labels[name]; ok {
		return l
	}
	return name
}

var labels = map[string]string{
	"c":          "C",
	"c-ref":      "C, references",
	"c-internal": "C, OpenSSL's cache",
	"c-release":  "C, RELEASE_BUFFERS",
	"c-tuned":    "C, tuned",
	"cryptotls":  "crypto/tls",
	"goopenssl":  "go-openssl",
	"node":       "Node",
}

// scored writes a score: a ratio with a digit more than its goal has.
func (r *Row) scored(v float64) string {
	if r.row.Metric.Relative() {
		return ratio(v)
	}
	return number(v)
}

func ratio(v float64) string { return fmt.Sprintf("%.3f", v) }

// number writes a value as its size asks for: 13,612, 146, 28.3, 1.52.
func number(v float64) string {
	switch {
	case v >= 1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// goal writes a goal or a floor of a row.
func (r *Row) goal(v float64) string {
	switch {
	case v == 0:
		return "-"
	case !r.row.Metric.Relative():
		return fmt.Sprintf("%g %s", v, r.Unit)
	}
	return fmt.Sprintf("%.2f", v)
}

// verdict says whether the goal is met.
func (r *Row) verdict() string {
	switch {
	case len(r.Failures) > 0:
		return "FAILED"
	case r.Peer(rows.Ours) == nil:
		return "not measured"
	case r.Goal == 0:
		return "no goal"
	case r.Met:
		return "met"
	}
	return "not met"
}

// rounds says how many rounds the numbers are of, and whether they are fewer or
// worse than they should be.
func (r *Row) rounds() string {
	disturbed := r.Rounds - r.Calm
	switch {
	case !r.Few():
		return fmt.Sprintf("%d calm rounds", r.Calm)
	case disturbed == 0:
		return fmt.Sprintf("%d calm rounds, FEWER than %d", r.Calm, r.Want)
	}
	return fmt.Sprintf("%d rounds, %d of them DISTURBED (%d calm ones were wanted)", r.Rounds, disturbed, r.Want)
}
