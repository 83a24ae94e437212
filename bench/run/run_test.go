package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// tree is a source tree with one file, and its directory bench.
func tree(t *testing.T) (bench string) {
	t.Helper()
	root := t.TempDir()
	for _, args := range [][]string{
		{"init", "-q"}, {"-c", "user.name=t", "-c", "user.email=t@example.test", "commit", "-q", "--allow-empty", "-m", "one"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	bench = filepath.Join(root, "bench")
	if err := os.Mkdir(bench, 0o755); err != nil {
		t.Fatal(err)
	}
	return bench
}

// drive runs the driver with the fakes and returns what it printed.
func drive(t *testing.T, how, bench string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("FAKE", how)
	// No machine is too busy for this.
	args = append([]string{"-bench", bench, "-warmup", "5ms", "-window", "20ms", "-rounds", "1", "-others", "99", "-stolen", "99"}, args...)
	o, err := parse(args, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	d := newDriver(o, &out)
	d.bench = &measure.Bench{
		Load:   os.Args[0],
		Server: func(string) ([]string, error) { return []string{os.Args[0]}, nil },
		Certs:  "certs", ServerCPU: host.FirstCPU(), LoadCPU: host.FirstCPU(),
		Warmup: o.settings.Warmup, Window: o.settings.Window,
	}
	err = d.run(context.Background())
	return out.String(), err
}

func TestQuick(t *testing.T) {
	bench := tree(t)
	out, err := drive(t, "well", bench, "-quick")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range rows.Quick {
		if !strings.Contains(out, "\n"+name+": ") {
			t.Errorf("%s is not in\n%s", name, out)
		}
	}
	for _, want := range []string{"5 rows to measure", "ours, goal 0.95: met (1.000)", "1 calm rounds"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if _, err := os.Stat(filepath.Join(bench, "results")); err == nil {
		t.Error("it wrote results")
	}
}

func TestResumable(t *testing.T) {
	bench := tree(t)
	names := "resume-1.2-ref,full-rsa-1.3"
	out, err := drive(t, "well", bench, "-rows", names)
	if err != nil || !strings.Contains(out, "2 rows to measure, 0 there already") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, f := range []string{"results.md", "results.json", "resume.svg", "full.svg", "raw/full-rsa-1.3.json"} {
		if _, err := os.Stat(filepath.Join(bench, "results", f)); err != nil {
			t.Error(err)
		}
	}
	rec, err := record.Read(filepath.Join(bench, "results/raw"), "full-rsa-1.3")
	if err != nil {
		t.Fatal(err)
	}
	var order [][]string
	for _, round := range rec.Rounds {
		var peers []string
		for _, run := range round.Runs {
			peers = append(peers, run.Peer)
		}
		order = append(order, peers)
	}
	want := [][]string{
		{"c", "c-tuned", "ours", "prototype", "cryptotls", "goopenssl", "node", "c"},
	}
	if d := cmp.Diff(want, order); d != "" {
		t.Errorf("who ran (-want +got)\n%s", d)
	}

	out, err = drive(t, "load-dies", bench, "-rows", names)
	if err != nil || !strings.Contains(out, "0 rows to measure, 2 there already") {
		t.Errorf("again: %v\n%s", err, out)
	}
	out, err = drive(t, "well", bench, "-rows", names, "-fresh")
	if err != nil || !strings.Contains(out, "2 rows to measure, 0 there already") {
		t.Errorf("fresh: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(bench, "new.go"), []byte("package bench"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err = drive(t, "well", bench, "-rows", "full-rsa-1.3")
	if err != nil || !strings.Contains(out, "1 rows to measure, 0 there already") {
		t.Errorf("another tree: %v\n%s", err, out)
	}
	md, err := os.ReadFile(filepath.Join(bench, "results/results.md"))
	if err != nil || !strings.Contains(string(md), "**resume-1.2-ref** is of commit") {
		t.Errorf("%v\n%s", err, md)
	}
	if err := os.Remove(filepath.Join(bench, "results/results.md")); err != nil {
		t.Fatal(err)
	}
	if out, err := drive(t, "load-dies", bench, "-tables"); err != nil {
		t.Errorf("tables: %v\n%s", err, out)
	}
	if again, err := os.ReadFile(filepath.Join(bench, "results/results.md")); err != nil || string(again) != string(md) {
		t.Errorf("tables, again: %v\n%s", err, cmp.Diff(string(md), string(again)))
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		how, row, want string
	}{
		{"not-resumed", "resume-1.3-der", "FAILED: c: 10 handshakes of the window were full, and all were to be resumed"},
		{"load-dies", "echo-1", "FAILED: c: load: it printed no result: exit status 1: load: connection refused"},
		{"server-refuses", "full-rsa-1.2", "FAILED: c: it ended: exit status 2: this peer does not have that"},
	} {
		bench := tree(t)
		out, err := drive(t, c.how, bench, "-rows", c.row+",full-ecdsa-1.3")
		if err == nil || !strings.HasPrefix(err.Error(), "failed: ") || !strings.Contains(err.Error(), c.row) {
			t.Errorf("%s: %v", c.how, err)
		}
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: %q is not in\n%s", c.how, c.want, out)
		}
		if !strings.Contains(out, "\nfull-ecdsa-1.3: ") {
			t.Errorf("%s: it ended the others\n%s", c.how, out)
		}
		// What failed is measured again.
		out, _ = drive(t, "well", bench, "-rows", c.row)
		if !strings.Contains(out, "1 rows to measure, 0 there already") {
			t.Errorf("%s, again:\n%s", c.how, out)
		}
	}
}

func TestStopped(t *testing.T) {
	t.Setenv("FAKE", "well")
	o, err := parse([]string{"-bench", tree(t), "-quick"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := newDriver(o, &bytes.Buffer{})
	d.bench = &measure.Bench{Load: os.Args[0], Server: func(string) ([]string, error) { return []string{os.Args[0]}, nil }, ServerCPU: host.FirstCPU()}
	if err := d.run(ctx); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"-rows", "echo-2"}, {"-rounds", "0"}, {"more"}, {"-window", "0s"}} {
		if _, err := parse(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	o, err := parse(nil, os.Stderr)
	if err != nil || len(o.rows) != len(rows.All()) || o.quick || o.settings.Rounds != 20 {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"-peers", "node", "-rows", "echo-1"}, os.Stderr)
	if err != nil || !o.quick {
		t.Fatalf("some peers are recorded as if they were all: %+v, %v", o, err)
	}
	var names []string
	for _, p := range o.rows[0].Peers {
		names = append(names, p.Name)
	}
	if d := cmp.Diff([]string{"c", "node"}, names); d != "" {
		t.Errorf("peers (-want +got)\n%s", d)
	}
}

// The whole table has to be under 75 minutes, however busy the machine is, and
// the quick one under 5.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		args    []string
		planned time.Duration
		most    time.Duration
	}{
		{nil, 60 * time.Minute, 75 * time.Minute},
		{[]string{"-quick"}, 3 * time.Minute, 5 * time.Minute},
	} {
		o, err := parse(c.args, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		b := newBudget(time.Now(), o.budget, o.settings, o.rows)
		if b.planned() > c.planned || b.most() > c.most {
			t.Errorf("%v: %v when it is calm, %v at most; want %v and %v", c.args, b.planned(), b.most(), c.planned, c.most)
		}
	}
}

func TestDeadline(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := &budget{end: now.Add(60 * time.Minute), plans: []time.Duration{time.Minute, time.Minute, 2 * time.Minute}}
	for _, c := range []struct {
		why   string
		after time.Duration
		row   int
		want  time.Duration
	}{
		{"the first gets its part", 0, 0, 15 * time.Minute},
		{"what the first has left goes to the others", 6 * time.Minute, 1, 18 * time.Minute},
		{"the last gets all", 30 * time.Minute, 2, 30 * time.Minute},
		{"nothing is left", 61 * time.Minute, 2, 0},
	} {
		at := now.Add(c.after)
		if got := b.deadline(at, c.row).Sub(at); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

func TestMore(t *testing.T) {
	now := time.Unix(1e9, 0)
	rounds := func(calm, disturbed int) *record.Row {
		r := &record.Row{Rounds: make([]record.Round, calm+disturbed)}
		for i := range disturbed {
			r.Rounds[i].Disturbed = true
		}
		return r
	}
	for _, c := range []struct {
		why             string
		calm, disturbed int
		over            bool
		want            bool
	}{
		{"none yet", 0, 0, false, true},
		{"all calm", 20, 0, false, false},
		{"as many, but not all calm", 15, 5, false, true},
		{"twice as many", 3, 37, false, false},
		{"its time is over", 3, 2, true, false},
		{"its time is over, and it has hardly any", 1, 2, true, true},
	} {
		deadline := now.Add(time.Minute)
		if c.over {
			deadline = now
		}
		if got := more(rounds(c.calm, c.disturbed), 20, now, deadline); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}
