package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/bench/internal/stats"
)

func q(median float64) stats.Quartiles {
	return stats.Quartiles{Q1: median * 0.97, Median: median, Q3: median * 1.02, N: 20}
}

// read returns the text of an SVG that is well-formed.
func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return string(b)
}

// out is where to draw: a directory that is kept if PLOTS names one.
func out(t *testing.T) string {
	if dir := os.Getenv("PLOTS"); dir != "" {
		return dir
	}
	return t.TempDir()
}

func TestBars(t *testing.T) {
	file := filepath.Join(out(t), "bars.svg")
	series := []Series{{"C", Greys[0]}, {"ours", Palette[0]}, {"crypto/tls", Palette[1]}, {"Node 20", Palette[2]}, {"unused", Palette[3]}}
	err := Bars(file, BarOptions{Title: "Handshakes per CPU-second, C is 1", Y: "ratio to C", Line: 1, Series: series},
		Group{"TLS 1.2", []Bar{{"C", q(1), 0}, {"ours", q(0.93), 0.95}, {"crypto/tls", q(1.3), 0}, {"Node 20", q(0.5), 0}}},
		Group{"TLS 1.3", []Bar{{"C", q(1), 0}, {"ours", q(0.96), 0.95}}},
		Group{"TLS 1.3, mutual", []Bar{{"C", q(1), 0}, {"ours", q(0.96), 0.95}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, file)
	for _, want := range []string{"Handshakes per CPU-second, C is 1", "ratio to C", "TLS 1.3, mutual", "crypto/tls", "Node 20", ">goal<"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in it", want)
		}
	}
	if strings.Contains(text, "unused") {
		t.Error("a series without a bar is in the legend")
	}
	if Bars(file, BarOptions{Series: series}, Group{"x", []Bar{{"Ruby", q(1), 0}}}) == nil {
		t.Error("a bar of no series is no error")
	}
	if Bars(file, BarOptions{Series: series}) == nil {
		t.Error("no bars are no error")
	}
	if text != read(t, file) {
		t.Error("what failed has changed the file")
	}
}

func TestCurve(t *testing.T) {
	file := filepath.Join(out(t), "curve.svg")
	var a, b Line
	a.Name, b.Name = "ours", "C"
	for _, n := range []float64{1, 10, 100, 1000, 20000} {
		a.Points = append(a.Points, Point{n, q(90000 - n)})
		b.Points = append(b.Points, Point{n, stats.Quartiles{Q1: 80000, Median: 100000, Q3: 110000}})
	}
	err := Curve(file, CurveOptions{Title: "Echo by connections", X: "connections", Y: "ops per CPU-second", LogX: true}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, file)
	for _, want := range []string{"Echo by connections", ">connections<", "ops per CPU-second", "10,000", ">ours<", ">C<"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in it", want)
		}
	}
	if Curve(file, CurveOptions{LogX: true}, Line{Name: "zero", Points: []Point{{0, q(1)}}}) == nil {
		t.Error("0 on a scale of powers is no error")
	}
	if Curve(file, CurveOptions{}) == nil {
		t.Error("no points are no error")
	}
	one := Line{Name: "one", Points: []Point{{5, stats.Quartiles{}}}}
	if err := Curve(filepath.Join(t.TempDir(), "one.svg"), CurveOptions{}, one); err != nil {
		t.Errorf("one point: %v", err)
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0.1: "0.1", 1: "1", 500: "500", 1000: "1,000", 20000: "20,000", 1e6: "1M", 2.5e9: "2.5G"} {
		if got := short(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}
