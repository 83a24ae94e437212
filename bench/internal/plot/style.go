// Package plot draws what the README shows: bars of medians with their
// quartiles, and curves.
package plot

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Palette are colours that can be told apart, by a colour-blind reader too
// (Okabe and Ito), on a light background.
var Palette = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, // blue
	color.RGBA{0xe6, 0x9f, 0x00, 0xff}, // orange
	color.RGBA{0x00, 0x9e, 0x73, 0xff}, // green
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, // pink
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	color.RGBA{0x56, 0xb4, 0xe9, 0xff}, // sky
}

// Greys are for what others are measured by.
var Greys = []color.Color{color.Gray{0x8a}, color.Gray{0xb0}, color.Gray{0xcc}}

var (
	background = color.White
	ink        = color.Gray{0x30}
	grid       = color.Gray{0xe4}
)

const (
	titleSize = font.Length(15)
	labelSize = font.Length(12)
	tickSize  = font.Length(11)
)

// newPlot is an empty plot as all of ours look.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = background
	p.Title.Text = title
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Title.Padding = vg.Points(10)
	p.Title.TextStyle.Color = ink
	p.Title.TextStyle.Font = sans(titleSize)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Color, a.Tick.Label.Color = ink, ink, ink, ink
		a.Label.TextStyle.Font = sans(labelSize)
		a.Tick.Label.Font = sans(tickSize)
		a.Label.Padding = vg.Points(6)
		a.Padding = 0
	}
	p.Y.Tick.Marker = steps{}
	p.Y.Tick.Length = 0
	p.Y.LineStyle.Width = 0
	return p
}

func sans(size font.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// gridY draws a line across at each labelled tick of the y axis.
type gridY struct{}

func (gridY) Plot(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if t.Label != "" && t.Value >= p.Y.Min && t.Value <= p.Y.Max {
			c.StrokeLine2(draw.LineStyle{Color: grid, Width: vg.Points(0.8)}, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
}

// save has an SVG file drawn, whole or not at all.
func save(file string, width, height vg.Length, paint func(draw.Canvas)) error {
	c := vgsvg.New(width, height)
	dc := draw.New(c)
	dc.SetColor(background)
	dc.Fill(dc.Rectangle.Path())
	paint(dc)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	// A reader without that font gets one of the same widths.
	text := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

// saveBeside draws p, and its legend at its right, where it covers nothing. The
// width is that of the plot without it.
func saveBeside(p *plot.Plot, legend plot.Legend, width, height vg.Length, file string) error {
	legend.Top, legend.Left = true, true
	legend.TextStyle.Color = ink
	legend.TextStyle.Font = sans(labelSize)
	legend.Padding = vg.Points(4)
	legend.ThumbnailWidth = vg.Points(16)
	legend.YOffs = -vg.Points(30)
	return save(file, width+legendWidth, height, func(c draw.Canvas) {
		p.Draw(draw.Crop(c, vg.Points(6), -legendWidth, vg.Points(6), -vg.Points(6)))
		legend.Draw(draw.Crop(c, width+vg.Points(14), 0, 0, 0))
	})
}

const legendWidth = vg.Length(185)

// steps are about five ticks at round numbers from 0 on, all labelled.
type steps struct{}

func (steps) Ticks(least, most float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((most-least)/5)))
	for _, m := range []float64{2, 2.5, 2} { // to 2, 5 and 10 times the power
		if (most-least)/step <= 8 {
			break
		}
		step *= m
	}
	var ticks []plot.Tick
	for i := math.Ceil(least / step); i*step <= most*(1+1e-9); i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: short(i * step)})
	}
	return ticks
}
