package plot

import (
	"errors"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A Series is a colour with a name in the legend.
type Series struct {
	Name  string
	Color color.Color
}

// A Bar is one value of a series.
type Bar struct {
	Series string
	Value  stats.Quartiles
	Goal   float64 // marked over the bar; 0: none
}

// A Group is bars that stand together, with one label.
type Group struct {
	Label string
	Bars  []Bar
}

// BarOptions are the texts of a chart of bars.
type BarOptions struct {
	Title  string
	Y      string
	Line   float64 // a line across, by which bars are read; 0: none
	Series []Series
}

// Bars draws groups of bars with whiskers from quartile to quartile into an
// SVG file. The bars of a group stand in its own order; series that no bar has
// are not in the legend.
func Bars(file string, o BarOptions, groups ...Group) error {
	b := &bars{options: o, groups: groups, colors: map[string]color.Color{}}
	for _, s := range o.Series {
		b.colors[s.Name] = s.Color
	}
	p := newPlot(o.Title, "", o.Y)
	legend := plot.NewLegend()
	used := map[string]bool{}
	most, count, goals := o.Line, 0, false
	labels := make([]plot.Tick, len(groups))
	for i, g := range groups {
		labels[i] = plot.Tick{Value: float64(i), Label: g.Label}
		count += len(g.Bars)
		for _, bar := range g.Bars {
			if b.colors[bar.Series] == nil {
				return errors.New("plot: no such series: " + bar.Series)
			}
			used[bar.Series] = true
			goals = goals || bar.Goal > 0
			most = max(most, bar.Value.Q3, bar.Value.Median, bar.Goal)
		}
	}
	if count == 0 {
		return errors.New("plot: no bars for " + file)
	}
	p.X.Min, p.X.Max = -0.5, float64(len(groups))-0.5
	p.Y.Min, p.Y.Max = 0, most*1.08
	p.X.Tick.Marker = plot.ConstantTicks(labels)
	p.X.Tick.Length = 0
	p.X.LineStyle.Width = 0
	p.Add(gridY{}, b)
	for _, s := range o.Series {
		if used[s.Name] {
			legend.Add(s.Name, swatch{s.Color})
		}
	}
	if goals {
		legend.Add("goal", goalMark{})
	}
	return saveBeside(p, legend, vg.Points(max(360, float64(24*count+26*len(groups)+60))), vg.Points(340), file)
}

// bars draws itself in the plot's own units: a group is 1 wide.
type bars struct {
	options BarOptions
	groups  []Group
	colors  map[string]color.Color
}

// groupWidth is what the bars of a group take of it.
const groupWidth = 0.82

func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	whisker := draw.LineStyle{Color: ink, Width: vg.Points(1)}
	if b.options.Line > 0 {
		at := y(b.options.Line)
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: vg.Points(0.8), Dashes: []vg.Length{4, 3}}, c.Min.X, at, c.Max.X, at)
	}
	most := 0
	for _, g := range b.groups {
		most = max(most, len(g.Bars))
	}
	for i, g := range b.groups {
		// Bars are as wide in every group, and a small group stands in its middle.
		width := groupWidth / float64(most)
		left := float64(i) - width*float64(len(g.Bars))/2
		for j, bar := range g.Bars {
			x0, x1 := x(left+width*(float64(j)+0.06)), x(left+width*(float64(j)+0.94))
			fillRect(c, b.colors[bar.Series], x0, y(0), x1, y(bar.Value.Median))
			mid, half := (x0+x1)/2, (x1-x0)/5
			c.StrokeLine2(whisker, mid, y(bar.Value.Q1), mid, y(bar.Value.Q3))
			c.StrokeLine2(whisker, mid-half, y(bar.Value.Q1), mid+half, y(bar.Value.Q1))
			c.StrokeLine2(whisker, mid-half, y(bar.Value.Q3), mid+half, y(bar.Value.Q3))
			if bar.Goal > 0 {
				c.StrokeLine2(goalStyle, x0-2, y(bar.Goal), x1+2, y(bar.Goal))
			}
		}
	}
}

var goalStyle = draw.LineStyle{Color: color.RGBA{0xc0, 0x10, 0x10, 0xff}, Width: vg.Points(2)}

func fillRect(c draw.Canvas, fill color.Color, x0, y0, x1, y1 vg.Length) {
	c.FillPolygon(fill, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// swatch is a series in the legend.
type swatch struct{ color color.Color }

func (s swatch) Thumbnail(c *draw.Canvas) {
	fillRect(*c, s.color, c.Min.X, c.Min.Y, c.Max.X, c.Max.Y)
}

// goalMark is the goal in the legend.
type goalMark struct{}

func (goalMark) Thumbnail(c *draw.Canvas) {
	mid := (c.Min.Y + c.Max.Y) / 2
	c.StrokeLine2(goalStyle, c.Min.X, mid, c.Max.X, mid)
}
