package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/bench/internal/stats"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		args   string
		curves string
		reason string // of the error, "": none
	}{
		{"", strings.Join(curveNames(), ","), ""},
		{"-curves idle,active", "idle,active", ""},
		{"-curves idle,nothing", "", "no such curve: nothing"},
		{"more", "", `unexpected argument "more"`},
	} {
		o, err := parse(strings.Fields(c.args), io.Discard)
		if c.reason != "" {
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%q: %v, want %q", c.args, err, c.reason)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		var names []string
		for _, curve := range o.curves {
			names = append(names, curve.name)
		}
		if got := strings.Join(names, ","); got != c.curves {
			t.Errorf("%q: %s, want %s", c.args, got, c.curves)
		}
	}
}

// What a curve says of its charts is what it measures, so each has a name of
// its own and all texts.
func TestCurves(t *testing.T) {
	var names []string
	for _, c := range curves {
		if c.title == "" || c.x == "" || c.how == "" || len(c.charts) == 0 || c.measure == nil {
			t.Errorf("%q is not complete", c.name)
		}
		for _, ch := range c.charts {
			names = append(names, c.name+"-"+ch.name)
		}
	}
	slices.Sort(names)
	if all := len(names); len(slices.Compact(names)) != all {
		t.Errorf("two charts have one name: %q", names)
	}
}

func TestResult(t *testing.T) {
	dir := t.TempDir()
	if r, err := read(dir, "active"); r != nil || err != nil {
		t.Errorf("none is there: %v, %v", r, err)
	}
	r := &result{Curve: "active"}
	for _, v := range []float64{3, 1, 2} {
		r.add("rate", "ours", 10, v)
	}
	r.add("rate", "C", 10, 7)
	r.fact("%d of them", 5)
	if got := r.at("rate", "ours", 10); got != 2 {
		t.Errorf("the median is %v", got)
	}
	if got := r.at("rate", "ours", 11); got != 0 {
		t.Errorf("where nothing was measured is %v", got)
	}
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := read(dir, "active")
	if d := cmp.Diff(r, got); err != nil || d != "" {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if err := os.WriteFile(filepath.Join(dir, "active.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(dir, "active"); err == nil {
		t.Error("half a file is no error")
	}
}

func TestWrite(t *testing.T) {
	results, raw := t.TempDir(), t.TempDir()
	r := &result{Curve: "active", Commit: "0123456789abcdef", Rounds: 4, Disturbed: 1, Facts: []string{"A fact."}}
	for i, x := range []float64{1, 1000} {
		r.add("rate", "ours", x, 41234+float64(i))
		r.add("rate", "C", 1000, 50000+1000*float64(i))
	}
	if err := r.save(raw); err != nil {
		t.Fatal(err)
	}
	if err := write(results, raw); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(results, "scale.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## Active connections", "| connections | ours | C |", "| 1 | 41,234 | |",
		"| 1,000 | 41,235 | 50,500 [50,250, 50,750] |", "A fact.", "commit 0123456789ab; 1 of 4 rounds were disturbed.",
	} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
	if bytes.Contains(b, []byte("Idle")) {
		t.Error("what was not measured is in it")
	}
	if _, err := os.Stat(filepath.Join(results, "scale-active-rate.svg")); err != nil {
		t.Error(err)
	}
}

func TestShort(t *testing.T) {
	for commit, want := range map[string]string{
		"0123456789abcdef": "0123456789ab", "0123456789abcdef+77": "0123456789ab with changes", "": "",
	} {
		if got := short(commit); got != want {
			t.Errorf("%q: %q, want %q", commit, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		v    float64
		digs int
		want string
	}{{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {1234567, 0, "1,234,567"}, {-1234.56, 1, "-1,234.6"}, {0.126, 2, "0.13"}} {
		if got := number(c.v, c.digs); got != c.want {
			t.Errorf("%v: %q, want %q", c.v, got, c.want)
		}
	}
	if got := cell(stats.Of([]float64{1, 1, 1}), 1); got != "1.0" {
		t.Errorf("all the same: %q", got)
	}
}
