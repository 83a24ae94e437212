package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sessioncb/openssl/bench/internal/plot"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

const head = `# How it scales

Made by ` + "`make scale`" + `; [bench/README.md](../README.md) says how the servers and the load work, and what a calm
window is. A cell is the median, and the quartiles where they differ from it. *C* is the C server on the same libssl,
*ours* this binding.
`

// write makes the text and the plots of all curves that were ever measured.
func write(results, raw string) error {
	var b bytes.Buffer
	b.WriteString(head)
	for _, c := range curves {
		r, err := read(raw, c.name)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		text(&b, c, r)
		for _, ch := range c.charts {
			if err := draw(results, c, ch, r); err != nil {
				return err
			}
		}
	}
	file := filepath.Join(results, "scale.md")
	if err := os.WriteFile(file+".new", b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func text(b *bytes.Buffer, c *curve, r *result) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", c.title, c.how)
	for _, ch := range c.charts {
		table(b, c, ch, r)
	}
	if len(r.Facts) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(r.Facts, "\n"))
	}
	if len(c.why) > 0 {
		b.WriteString("\nWhere it bends:\n\n")
		for _, w := range c.why {
			fmt.Fprintf(b, "- %s\n", w)
		}
	}
	m := r.Machine
	fmt.Fprintf(b, "\n%s, %s, %d processors, OpenSSL %s, %s, commit %s", r.Started.Format("2006-01-02"), m.CPU, m.CPUs, m.OpenSSL, m.Go, short(r.Commit))
	if r.Disturbed > 0 {
		fmt.Fprintf(b, "; %d of %d rounds were disturbed", r.Disturbed, r.Rounds)
	}
	b.WriteString(".\n")
}

// short is the beginning of a commit, and whether files were changed since.
func short(commit string) string {
	head, _, changed := strings.Cut(commit, "+")
	head = head[:min(len(head), 12)]
	if changed {
		head += " with changes"
	}
	return head
}

// table has a row for each place and a column for each line.
func table(b *bytes.Buffer, c *curve, ch chart, r *result) {
	lines := r.lines(ch.name)
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n![%s](scale-%s-%s.svg)\n\n| %s |", ch.title, c.name, ch.name, c.x)
	var xs []float64
	for _, s := range lines {
		fmt.Fprintf(b, " %s |", s.Name)
		for _, p := range s.Points {
			if !slices.Contains(xs, p.X) {
				xs = append(xs, p.X)
			}
		}
	}
	slices.Sort(xs)
	fmt.Fprintf(b, "\n|---:|%s\n", strings.Repeat("---:|", len(lines)))
	for _, x := range xs {
		fmt.Fprintf(b, "| %s |", number(x, 0))
		for _, s := range lines {
			i := slices.IndexFunc(s.Points, func(p *point) bool { return p.X == x })
			if i < 0 {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(b, " %s |", cell(s.Points[i].quartiles(), ch.digs))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "\nIn cells: %s.\n", ch.y)
}

// lines are the series of a chart.
func (r *result) lines(chart string) []*series {
	var lines []*series
	for _, s := range r.Series {
		if s.Chart == chart {
			lines = append(lines, s)
		}
	}
	return lines
}

func cell(q stats.Quartiles, digs int) string {
	m, q1, q3 := number(q.Median, digs), number(q.Q1, digs), number(q.Q3, digs)
	if q1 == m && q3 == m {
		return m
	}
	return fmt.Sprintf("%s [%s, %s]", m, q1, q3)
}

// number has separators between thousands.
func number(v float64, digs int) string {
	s := strconv.FormatFloat(v, 'f', digs, 64)
	whole, frac, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if frac != "" {
		whole += "." + frac
	}
	return sign + whole
}

// draw makes the plot of a chart.
func draw(results string, c *curve, ch chart, r *result) error {
	var lines []plot.Line
	colors := 0
	for _, s := range r.lines(ch.name) {
		l := plot.Line{Name: s.Name}
		switch s.Name {
		case "C":
			l.Color = plot.Greys[0]
		case "C, RELEASE_BUFFERS":
			l.Color = plot.Greys[2]
		default:
			l.Color = plot.Palette[colors%len(plot.Palette)]
			colors++
		}
		for _, p := range s.Points {
			l.Points = append(l.Points, plot.Point{X: p.X, Y: p.quartiles()})
		}
		lines = append(lines, l)
	}
	if lines == nil {
		return nil
	}
	o := plot.CurveOptions{Title: ch.title, X: c.x, Y: ch.y, LogX: ch.logX, LogY: ch.logY}
	return plot.Curve(filepath.Join(results, "scale-"+c.name+"-"+ch.name+".svg"), o, lines...)
}
