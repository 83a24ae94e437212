package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A result is all that was measured for one curve.
type result struct {
	Curve     string       `json:"curve"`
	Commit    string       `json:"commit"`
	Started   time.Time    `json:"started"`
	Seconds   float64      `json:"seconds"`
	Machine   host.Machine `json:"machine"`
	Series    []*series    `json:"series"`
	Facts     []string     `json:"facts,omitempty"` // sentences with numbers of this run
	Rounds    int          `json:"rounds"`          // windows with a measure of calm
	Disturbed int          `json:"disturbed"`       // of them
}

// A series is one line of a chart.
type series struct {
	Chart  string   `json:"chart"`
	Name   string   `json:"name"`
	Points []*point `json:"points"`
}

// A point is what was measured at one place, a value for each round.
type point struct {
	X      float64   `json:"x"`
	Values []float64 `json:"values"`
}

func (p *point) quartiles() stats.Quartiles { return stats.Of(p.Values) }

// add notes a value of a line at a place.
func (r *result) add(chart, line string, x, value float64) {
	i := slices.IndexFunc(r.Series, func(s *series) bool { return s.Chart == chart && s.Name == line })
	if i < 0 {
		i = len(r.Series)
		r.Series = append(r.Series, &series{Chart: chart, Name: line})
	}
	s := r.Series[i]
	j := slices.IndexFunc(s.Points, func(p *point) bool { return p.X == x })
	if j < 0 {
		j = len(s.Points)
		s.Points = append(s.Points, &point{X: x})
	}
	s.Points[j].Values = append(s.Points[j].Values, value)
}

// fact notes a sentence.
func (r *result) fact(format string, args ...any) {
	r.Facts = append(r.Facts, fmt.Sprintf(format, args...))
}

// at is the median of a line at a place, 0 if it is not there.
func (r *result) at(chart, line string, x float64) float64 {
	for _, s := range r.Series {
		for _, p := range s.Points {
			if s.Chart == chart && s.Name == line && p.X == x {
				return p.quartiles().Median
			}
		}
	}
	return 0
}

// save writes dir/CURVE.json, whole or not at all.
func (r *result) save(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("%s: %w", r.Curve, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, r.Curve+".json")
	if err := os.WriteFile(name+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// read reads dir/CURVE.json; nil and no error if there is none.
func read(dir, curve string) (*result, error) {
	b, err := os.ReadFile(filepath.Join(dir, curve+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &result{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s.json: %w", curve, err)
	}
	return r, nil
}
