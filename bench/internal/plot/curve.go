package plot

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A Point is what was measured at one place of a curve.
type Point struct {
	X float64
	Y stats.Quartiles
}

// A Line is one curve. Its points are in the order of X.
type Line struct {
	Name   string
	Color  color.Color // nil: the next of Palette
	Points []Point
}

// CurveOptions are the texts and scales of a chart of curves.
type CurveOptions struct {
	Title, X, Y string
	LogX, LogY  bool // scales of powers; then no value may be 0 or less
	YMax        float64
}

// Curve draws lines through medians, with a band from quartile to quartile,
// into an SVG file. The y axis begins at 0 unless it is of powers.
func Curve(file string, o CurveOptions, lines ...Line) error {
	p := newPlot(o.Title, o.X, o.Y)
	legend := plot.NewLegend()
	xs, ys := bounds{}, bounds{}
	p.Add(gridY{})
	for i, l := range lines {
		if l.Color == nil {
			l.Color = Palette[i%len(Palette)]
		}
		for _, q := range l.Points {
			if o.LogX && q.X <= 0 || o.LogY && q.Y.Q1 <= 0 {
				return fmt.Errorf("plot: %s: %v, %v has no place on a scale of powers", l.Name, q.X, q.Y.Q1)
			}
			xs.add(q.X)
			ys.add(q.Y.Q1)
			ys.add(q.Y.Q3)
			ys.add(q.Y.Median)
		}
		p.Add(curve{l})
		legend.Add(l.Name, curve{l})
	}
	if !xs.set {
		return errors.New("plot: no points for " + file)
	}
	p.X.Min, p.X.Max = xs.min, xs.max
	p.Y.Min, p.Y.Max = 0, ys.max*1.05
	if o.YMax > 0 {
		p.Y.Max = o.YMax
	}
	if o.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, powers{}
		p.X.Min, p.X.Max = p.X.Min/1.05, p.X.Max*1.05
	}
	if o.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, powers{}
		p.Y.Min, p.Y.Max = ys.min/1.3, ys.max*1.3
	}
	if p.X.Min == p.X.Max {
		p.X.Min, p.X.Max = p.X.Min-1, p.X.Max+1
	}
	if p.Y.Min >= p.Y.Max {
		p.Y.Max = p.Y.Min + 1
	}
	return saveBeside(p, legend, vg.Points(560), vg.Points(340), file)
}

type bounds struct {
	min, max float64
	set      bool
}

func (b *bounds) add(v float64) {
	if !b.set {
		b.min, b.max, b.set = v, v, true
	}
	b.min, b.max = min(b.min, v), max(b.max, v)
}

type curve struct{ line Line }

func (l curve) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	var upper, lower, middle []vg.Point
	for _, q := range l.line.Points {
		upper = append(upper, vg.Point{X: x(q.X), Y: y(q.Y.Q3)})
		lower = append([]vg.Point{{X: x(q.X), Y: y(q.Y.Q1)}}, lower...)
		middle = append(middle, vg.Point{X: x(q.X), Y: y(q.Y.Median)})
	}
	if len(middle) > 1 {
		c.FillPolygon(faint(l.line.Color), c.ClipPolygonXY(append(upper, lower...)))
		c.StrokeLines(l.style(), c.ClipLinesXY(middle)...)
	}
	for _, at := range middle {
		if c.Contains(at) {
			c.DrawGlyph(draw.GlyphStyle{Color: l.line.Color, Radius: vg.Points(2.6), Shape: draw.CircleGlyph{}}, at)
		}
	}
}

func (l curve) style() draw.LineStyle {
	return draw.LineStyle{Color: l.line.Color, Width: vg.Points(1.8)}
}

func (l curve) Thumbnail(c *draw.Canvas) {
	mid := (c.Min.Y + c.Max.Y) / 2
	c.StrokeLine2(l.style(), c.Min.X, mid, c.Max.X, mid)
}

// faint is a colour through which a grid is still seen.
func faint(c color.Color) color.Color {
	r, g, b, _ := c.RGBA()
	return color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0x38}
}

// powers are the ticks of a scale of powers: of ten, labelled as people write
// them; 2 and 5 between them when there are few.
type powers struct{}

func (powers) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	few := math.Log10(most/least) < 2.5
	for e := math.Floor(math.Log10(least)); e <= math.Ceil(math.Log10(most)); e++ {
		for m := 1.0; m < 10; m++ {
			v := m * math.Pow(10, e)
			if v < least || v > most {
				continue
			}
			t := plot.Tick{Value: v}
			if m == 1 || few && (m == 2 || m == 5) {
				t.Label = short(v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// short writes 1,000 and 10M: with separators up to a million.
func short(v float64) string {
	switch {
	case v >= 1e9:
		return strconv.FormatFloat(v/1e9, 'g', 4, 64) + "G"
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case v >= 1000:
		s := strconv.FormatFloat(v, 'f', 0, 64)
		return s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'g', 4, 64), ".")
}
