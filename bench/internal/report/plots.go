package report

import (
	"path/filepath"

	"github.com/sessioncb/openssl/bench/internal/plot"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// series are the columns, in the order and the colours of every chart.
var series = []plot.Series{
	{Name: label("c"), Color: plot.Greys[0]},
	{Name: label("c-ref"), Color: plot.Greys[1]},
	{Name: label("c-internal"), Color: plot.Greys[2]},
	{Name: label("c-release"), Color: plot.Greys[1]},
	{Name: label("c-tuned"), Color: plot.Greys[2]},
	{Name: label(rows.Ours), Color: plot.Palette[0]},
	{Name: label(rows.Prototype), Color: plot.Palette[5]},
	{Name: label("cryptotls"), Color: plot.Palette[1]},
	{Name: label("goopenssl"), Color: plot.Palette[2]},
	{Name: label("node"), Color: plot.Palette[3]},
}

// A chart is rows that are drawn together, with a short label for each.
type chart struct {
	file, title, y string
	line           float64
	rows           [][2]string
}

const perCPU = "operations per server-CPU-second, C = 1"

var charts = []chart{
	{"resume.svg", "Resumed handshakes (more is better)", perCPU, 1, [][2]string{
		{"resume-1.2-der", "1.2, bytes"}, {"resume-1.2-ref", "1.2, references"}, {"resume-1.3-der", "1.3, bytes"}, {"resume-1.3-ref", "1.3, references"},
		{"resume-1.2-cache", "1.2, sealed"}}},
	{"mutual.svg", "Resumed with a client certificate", perCPU, 1, [][2]string{
		{"resume-1.2-mtls-der", "1.2, bytes"}, {"resume-1.2-mtls-ref", "1.2, references"}, {"resume-1.3-mtls-ref", "1.3, references"}}},
	{"full.svg", "Full handshakes (more is better)", perCPU, 1, [][2]string{
		{"full-ecdsa-1.2", "ECDSA, 1.2"}, {"full-ecdsa-1.3", "ECDSA, 1.3"}, {"full-rsa-1.2", "RSA, 1.2"}, {"full-rsa-1.3", "RSA, 1.3"}}},
	{"data.svg", "Data on established connections (more is better)", perCPU, 1, [][2]string{
		{"echo-32", "64 bytes, 32 conns"}, {"echo-1", "64 bytes, 1 conn"}, {"down-8", "16 KiB down"}, {"up-8", "16 KiB up"}}},
	{"p99.svg", "p99 of full handshakes (less is better)", "99th percentile, C = 1", 1, [][2]string{{"p99-full-1.3", "ECDSA, 1.3, 32 connections"}}},
	{"idle.svg", "Memory of an idle connection (less is better)", "KiB", 0, [][2]string{{"idle", "2,000 connections, 1.3"}}},
}

// Plots draws the charts of the rows that are there into a directory.
func (rep *Report) Plots(dir string) error {
	for _, c := range charts {
		var groups []plot.Group
		for _, want := range c.rows {
			for _, r := range rep.Rows {
				if r.Name == want[0] && len(r.Peers) > 0 {
					groups = append(groups, r.group(want[1]))
				}
			}
		}
		if groups == nil {
			continue
		}
		o := plot.BarOptions{Title: c.title, Y: c.y, Line: c.line, Series: series}
		if err := plot.Bars(filepath.Join(dir, c.file), o, groups...); err != nil {
			return err
		}
	}
	return nil
}

func (r *Row) group(name string) plot.Group {
	g := plot.Group{Label: name}
	for _, p := range r.Peers {
		b := plot.Bar{Series: label(p.Name), Value: r.score(p)}
		if p.Name == rows.Ours {
			b.Goal = r.Goal
		}
		g.Bars = append(g.Bars, b)
	}
	return g
}
