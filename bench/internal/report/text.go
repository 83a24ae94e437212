package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/sessioncb/openssl/bench/internal/rows"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

// WriteRow prints a row as soon as it is measured.
func (r *Row) WriteRow(w io.Writer) error {
	t := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	of := "of " + label(r.Base)
	fmt.Fprintf(t, "\t%s\t%s\tquartiles\tp50 µs\tp99 µs\tthreads\tCPUs\tRSS MiB\tswitches/op\tbusy\tload\t\n", r.Unit, of)
	for _, p := range r.Peers {
		score := p.Ratio
		if !r.row.Metric.Relative() {
			score = p.Value
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t[%s, %s]\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t%.2f\t%.2f\t%.2f\t\n", label(p.Name)+r.stored(p),
			number(p.Value.Median), ratio(p.Ratio.Median), r.scored(score.Q1), r.scored(score.Q3),
			p.P50, p.P99, p.Threads, p.CPUs, p.RSS, p.Switches, p.Busy, p.LoadBusy)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p := r.Peer(rows.Ours); p != nil {
		fmt.Fprintf(w, "  ours, goal %s: %s (%s)", r.goal(r.Goal), r.verdict(), r.scored(r.score(p).Median))
		if p.Waiting > 0 {
			fmt.Fprintf(w, "; %.0f lookups wait %v at once", p.Waiting, r.Delay)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "  %s", r.rounds())
	if r.Drift.N > 0 {
		fmt.Fprintf(w, "; %s by itself, last of a round by first: %s", label(r.Base), quartiles(r.Drift, ratio))
	}
	fmt.Fprintln(w)
	if names := r.LoadBound(); names != nil {
		fmt.Fprintf(w, "  the load was the BOTTLENECK of %s\n", strings.Join(names, ", "))
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "  FAILED: %s\n", f)
	}
	return nil
}

// WriteRules prints which rules hold.
func (rep *Report) WriteRules(w io.Writer) {
	for _, rule := range rep.Rules {
		fmt.Fprintf(w, "%s: %s\n", rule.Text, rule.verdict())
		for _, b := range rule.Broken {
			fmt.Fprintf(w, "  %s\n", b)
		}
	}
}

func (r Rule) verdict() string {
	switch {
	case !r.Holds():
		return fmt.Sprintf("BROKEN in %d of %d rows", len(r.Broken), r.Rows)
	case r.Rows == 0:
		return "no row to tell"
	}
	return fmt.Sprintf("holds in %d rows", r.Rows)
}

// stored names what a peer keeps where that is not what the base keeps.
func (r *Row) stored(p *Peer) string {
	base := r.Peer(r.Base)
	if base == nil || p.Store == base.Store || p.Name == "c-ref" || p.Name == "c-internal" {
		return ""
	}
	return " (" + p.Store + ")"
}

func quartiles(q stats.Quartiles, write func(float64) string) string {
	return fmt.Sprintf("%s [%s, %s]", write(q.Median), write(q.Q1), write(q.Q3))
}
