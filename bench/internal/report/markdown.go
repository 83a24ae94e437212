package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/sessioncb/openssl/bench/internal/rows"
)

// WriteJSON writes all numbers of the report.
func (rep *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(rep)
}

// WriteMarkdown writes the table, the rules, and what stands behind the ratios.
func (rep *Report) WriteMarkdown(w io.Writer) error {
	m := &markdown{w: w}
	m.print("# Results\n\nMade by `make bench`; [README.md](../README.md) says how, what each row means and how to read it.\n\n")
	s := rep.Settings
	m.print("%s, %d processors, of which the server has one; Linux %s, OpenSSL %s, %s%s. Commit %s.\n", rep.Machine.CPU, rep.Machine.CPUs,
		rep.Machine.Kernel, rep.Machine.OpenSSL, rep.Machine.Go, prefixed(", Node ", rep.Machine.Node), short(rep.Commit))
	m.print("Medians [lower quartile, upper quartile] of %d calm rounds; windows of %v after %v.\n\n", s.Rounds, s.Window, s.Warmup)
	rep.table(m)
	m.print("\nRatios are to C in the same round, of operations per second of the server's processor time; of the 99th percentile in\n")
	m.print("p99-full-1.3; idle is in KiB per connection, parked-lookups in threads. In those three less is better.\n")
	m.print("Prototype elsewhere is what the prototype reached on another machine, beside another C peer; prototype is its design, here.\n")
	rep.notes(m)
	m.print("\n## Rules\n\n| rule | | by which rows it is broken |\n|---|---|---|\n")
	for _, r := range rep.Rules {
		m.print("| %s | %s | %s |\n", r.Text, r.verdict(), strings.Join(r.Broken, "<br>"))
	}
	rep.behind(m)
	return m.err
}

// others are the columns after those of the prototype.
var others = []string{"cryptotls", "goopenssl", "node"}

func (rep *Report) table(m *markdown) {
	m.print("| row | C | ours | goal | | prototype | prototype elsewhere | crypto/tls | go-openssl | Node | C otherwise |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rep.Rows {
		absolute := "-"
		if base := r.Peer(r.Base); base != nil && r.Base != rows.Ours {
			absolute = fmt.Sprintf("%s %s", number(base.Value.Median), r.Unit)
			if r.Base != "c" {
				absolute += " (" + label(r.Base) + ")"
			}
		}
		m.print("| **%s**<br>%s | %s | %s | %s | %s | %s | %s |", r.Name, r.Title, absolute,
			r.cell(rows.Ours), r.goal(r.Goal), r.verdict(), r.cell(rows.Prototype), r.goal(r.Floor))
		for _, name := range others {
			m.print(" %s |", r.cell(name))
		}
		var variants []string
		for _, p := range r.Peers {
			if strings.HasPrefix(p.Name, "c-") && p.Name != r.Base {
				variants = append(variants, strings.TrimPrefix(label(p.Name), "C, ")+" "+r.cell(p.Name))
			}
		}
		if variants == nil {
			variants = []string{"-"}
		}
		m.print(" %s |\n", strings.Join(variants, "<br>"))
	}
}

func (r *Row) cell(name string) string {
	p := r.Peer(name)
	if p == nil {
		return "-"
	}
	return quartiles(r.score(p), r.scored) + r.stored(p)
}

// notes say of which rows the numbers are worth less than those of the others.
func (rep *Report) notes(m *markdown) {
	if rep.Missing != nil {
		m.print("\n**Not measured**: %s.\n", strings.Join(rep.Missing, ", "))
	}
	for _, r := range rep.Rows {
		for _, f := range r.Failures {
			m.print("\n**%s FAILED**, its numbers mean nothing: %s.\n", r.Name, f)
		}
		if r.Few() && len(r.Failures) == 0 {
			m.print("\n**%s**: %s.\n", r.Name, r.rounds())
		}
		if names := r.LoadBound(); names != nil {
			m.print("\n**%s**: the load was the bottleneck of %s.\n", r.Name, strings.Join(names, ", "))
		}
		if r.Commit != rep.Commit {
			m.print("\n**%s** is of commit %s.\n", r.Name, short(r.Commit))
		}
	}
}

func (rep *Report) behind(m *markdown) {
	m.print("\n## Behind the ratios\n\n")
	m.print("Medians over the rounds. Busy is processor time by time, of the server and of the load; switches are context switches of the server.\n")
	m.print("CPUs are those that the server may run on, and so GOMAXPROCS.\n\n")
	m.print("| row | peer | value | p50 µs | p99 µs | threads | CPUs | RSS MiB | switches per op | busy | load busy |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rep.Rows {
		for _, p := range r.Peers {
			waiting := ""
			if p.Waiting > 0 {
				waiting = fmt.Sprintf(", while %.0f lookups wait %v", p.Waiting, r.Delay)
			}
			m.print("| %s | %s%s | %s %s%s | %.0f | %.0f | %.0f | %.0f | %.1f | %.2f | %.2f | %.2f |\n", r.Name, label(p.Name), r.stored(p),
				quartiles(p.Value, number), r.Unit, waiting, p.P50, p.P99, p.Threads, p.CPUs, p.RSS, p.Switches, p.Busy, p.LoadBusy)
		}
	}
	m.print("\n## How far two measurements of the same differ\n\nThe base is measured at both ends of each round; this is its last by its first.\n\n| row | | rounds | last by first |\n|---|---|---|---|\n")
	for _, r := range rep.Rows {
		if r.Drift.N > 0 {
			m.print("| %s | %s | %s | %s |\n", r.Name, label(r.Base), r.rounds(), quartiles(r.Drift, ratio))
		}
	}
}

// markdown is a writer that keeps its first error.
type markdown struct {
	w   io.Writer
	err error
}

func (m *markdown) print(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.w, format, args...)
	}
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// short is a commit as people write it; a change since keeps its hash.
func short(commit string) string {
	commit, change, changed := strings.Cut(commit, "+")
	commit = commit[:min(len(commit), 12)]
	if changed {
		return commit + " with changes (" + change + ")"
	}
	return commit
}
