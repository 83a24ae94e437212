package main

import (
	"context"

	"github.com/sessioncb/openssl/bench/internal/measure"
)

// A curve is one subject: what is measured at which points, and how it is
// shown.
type curve struct {
	name   string // of its flag, its file and its plots
	title  string
	x      string   // what the points are of
	how    string   // a paragraph: what is measured, and how
	why    []string // of bends; see why.go
	charts []chart
	// measure adds the curve's points to a result.
	measure func(context.Context, *bench, *result) error
}

// A chart is one value of a curve: a table and a plot.
type chart struct {
	name  string // of the value in the result
	title string
	y     string // with its unit
	digs  int    // digits after the point in the table
	logX  bool
	logY  bool
}

// bench is what a curve measures with.
type bench struct {
	*measure.Bench
	files int // that a process may open
	say   func(format string, args ...any)
	taker func() *taker
}

// conns is how many connections a server is given where n are wanted: some
// files are not for them.
func (b *bench) conns(n int) int { return min(n, b.files-spare) }

// spare are the files of a server or a load that are no connections.
const spare = 30

// curves are all of them, in the order of the text.
var curves = []*curve{active, idle, hold, stores, procs, delays, sizes, contexts}

func curveNames() []string {
	var names []string
	for _, c := range curves {
		names = append(names, c.name)
	}
	return names
}
