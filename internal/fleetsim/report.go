package main

import (
	"fmt"
	"io"
	"strings"
)

// A result is what a fleet did in its measured time, and what its stores hold
// at the end.
type result struct {
	counts   counts
	calls    tally
	sessions int
	bytes    int64
}

func (f *fleet) snapshot() (r result) {
	r.counts = f.count
	for _, s := range f.stores {
		count, sessions, bytes := s.state()
		r.calls.add(count, 1)
		r.sessions += sessions
		r.bytes += bytes
	}
	return r
}

// since leaves of the counts what came after before.
func (r *result) since(before result) {
	r.counts.sub(before.counts)
	r.calls.add(before.calls, -1)
}

// A row is a line of the report; show makes its cell for one fleet.
type row struct {
	name  string
	brief bool // stands in the short table too
	show  func(o *options, r *result) string
}

// scaled is n of the measured time as a rate, in the fleet that is meant: the
// simulated one has fewer clients.
func scaled(o *options, r *result, n int64) float64 {
	return float64(n) * o.rate * float64(o.nodes) / float64(r.counts.connections)
}

func perSecond(n func(r *result) int64) func(*options, *result) string {
	return func(o *options, r *result) string { return short(scaled(o, r, n(r))) }
}

func share(part, of func(r *result) int64) func(*options, *result) string {
	return func(o *options, r *result) string { return percent(part(r), of(r)) }
}

func percent(part, of int64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(of))
}

// alive scales what is in the store as the rates are scaled.
func alive(o *options, r *result, n float64) float64 {
	simulated := float64(r.counts.connections) / o.length.Seconds()
	return n * o.rate * float64(o.nodes) / simulated
}

func connections(r *result) int64 { return r.counts.connections }
func reads(r *result) int64       { return r.calls.gets + r.calls.claims }

var rows = []row{
	{"connections/s", false, perSecond(connections)},
	{"offer a session", false, share(func(r *result) int64 { return r.counts.offered }, connections)},
	{"resume", true, share(func(r *result) int64 { return r.counts.resumed }, connections)},
	{"of those that offer", false, share(func(r *result) int64 { return r.counts.resumed }, func(r *result) int64 { return r.counts.offered })},
	{"full handshakes/s", false, perSecond(func(r *result) int64 { return r.counts.full })},
	{"lookups/s", false, perSecond(func(r *result) int64 { return r.counts.lookups })},
	{"answered without the store", true, share(func(r *result) int64 { return r.counts.lookups - reads(r) }, func(r *result) int64 { return r.counts.lookups })},
	{"store: gets/s", true, perSecond(func(r *result) int64 { return r.calls.gets })},
	{"store: claims/s", true, perSecond(func(r *result) int64 { return r.calls.claims })},
	{"store: of both, found", false, share(func(r *result) int64 { return r.calls.found }, reads)},
	{"store: of both, junk", true, share(func(r *result) int64 { return r.counts.junkCalls }, reads)},
	{"store: puts/s", true, perSecond(func(r *result) int64 { return r.calls.puts })},
	{"store: deletes/s", false, perSecond(func(r *result) int64 { return r.calls.deletes })},
	{"store: calls/s", false, perSecond(func(r *result) int64 { return r.calls.calls() })},
	{"store: calls for a connection", true, func(o *options, r *result) string {
		return fmt.Sprintf("%.2f", float64(r.calls.calls())/float64(r.counts.connections))
	}},
	{"store: values written, B/s", false, perSecond(func(r *result) int64 { return r.calls.wrote })},
	{"store: values read, B/s", false, perSecond(func(r *result) int64 { return r.calls.read })},
	{"sessions alive", true, func(o *options, r *result) string { return short(alive(o, r, float64(r.sessions))) }},
	{"puts/s x lifetime", false, func(o *options, r *result) string {
		return short(scaled(o, r, r.calls.puts) * o.ttl.Seconds())
	}},
	{"their values, B", true, func(o *options, r *result) string { return short(alive(o, r, float64(r.bytes))) }},
	{"connections simulated", false, func(o *options, r *result) string { return short(float64(r.counts.connections)) }},
}

// write prints a table in Markdown, a column for each fleet. Rows that are
// empty in all columns are left out.
func write(w io.Writer, fleets []options, results []result, brief bool) error {
	var b strings.Builder
	b.WriteString("| nodes |")
	for i := range fleets {
		fmt.Fprintf(&b, " %s |", fleets[i].title)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(fleets)) + "\n")
	for _, row := range rows {
		if brief && !row.brief {
			continue
		}
		line, something := "| "+row.name+" |", false
		for i := range fleets {
			cell := row.show(&fleets[i], &results[i])
			line += " " + cell + " |"
			something = something || strings.ContainsAny(cell, "123456789")
		}
		if something {
			b.WriteString(line + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// short prints three digits and a unit: 0, 12.3, 4.56 k, 789 M.
func short(v float64) string {
	for _, unit := range []string{"", " k", " M", " G", " T"} {
		if v < 999.5 || unit == " T" {
			switch {
			case v == float64(int64(v)) || v >= 99.95:
				return fmt.Sprintf("%.0f%s", v, unit)
			case v >= 9.995:
				return fmt.Sprintf("%.1f%s", v, unit)
			default:
				return fmt.Sprintf("%.2f%s", v, unit)
			}
		}
		v /= 1000
	}
	return ""
}
