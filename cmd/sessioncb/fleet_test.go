package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fleetRun runs the command, whose servers are this test binary, and returns
// its table: the step and version of each line, with its verdict.
func fleetRun(t *testing.T, args ...string) (r result, verdicts map[string]string) {
	t.Helper()
	t.Setenv(asCommand, "1")
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, append([]string{"fleet"}, args...), strings.NewReader(""), &stdout, &stderr)
	r = result{code, stdout.String(), stderr.String()}
	verdicts = make(map[string]string)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	column := strings.Index(lines[0], "EXPECTED")
	if column < 0 {
		t.Fatalf("no table: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, line := range lines[1:] {
		step := strings.Join(strings.Fields(line[:column]), " ")
		f := strings.Fields(line)
		verdicts[step] = f[len(f)-1]
	}
	return r, verdicts
}

// A small fleet over a Redis of its own: every line is there, and as expected.
func TestFleet(t *testing.T) {
	r, got := fleetRun(t, "--nodes", "2", "--visits", "40", "--clients", "2", "--without-store")
	want := map[string]string{
		"servers on a Redis -":                     "yes",
		"shared store, 40 visits TLS 1.2":          "yes",
		"shared store, 40 visits TLS 1.3":          "yes",
		"shared store, failures -":                 "yes",
		"shared store, witnesses differ -":         "yes",
		"no shared store, 40 visits TLS 1.2":       "yes",
		"no shared store, 40 visits TLS 1.3":       "yes",
		"no shared store, failures -":              "yes",
		"no shared store, witnesses differ -":      "yes",
		"servers on memory of their own stopped -": "yes",
		"servers on a Redis stopped -":             "yes",
	}
	if diff := cmp.Diff(want, got); diff != "" || r.code != exitOK {
		t.Errorf("exit code %d, lines (-want +got):\n%s\n%s%s", r.code, diff, r.stdout, r.stderr)
	}
	if n := strings.Count(r.stdout, "100.0 % resumed"); n != 2 {
		t.Errorf("with a shared store %d versions were resumed always, want 2:\n%s", n, r.stdout)
	}
}

// With a master and a server killed the fleet recovers.
func TestFleetKill(t *testing.T) {
	r, got := fleetRun(t, "--visits", "60", "--clients", "2", "--redis-cluster", "--kill", "--recovery", "25s")
	for _, line := range []string{"a Redis master killed -", "a replica takes over -", "above 95 % again, 60 visits TLS 1.2", "above 95 % again, 60 visits TLS 1.3",
		"around the kill, failures -"} {
		if got[line] != "yes" {
			t.Errorf("%s: %q", line, got[line])
		}
	}
	if r.code != exitOK || t.Failed() {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// A store that is not there is a line that is not as expected, exit code 1,
// and no failed handshake.
func TestFleetWithoutItsStore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, got := fleetRun(t, "--nodes", "2", "--visits", "10", "--clients", "2", "--store", fmt.Sprintf("redis://u:%s@%s", password, l.Addr()))
	if r.code != exitFailed || got["shared store, 10 visits TLS 1.2"] != "NO" || got["shared store, 10 visits TLS 1.3"] != "NO" ||
		got["shared store, failures -"] != "yes" || got["shared store, witnesses differ -"] != "yes" || !strings.Contains(r.stderr, "2 lines are not as expected") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	// The reason is in the logs that are shown, and the password is not.
	if !strings.Contains(r.stderr, "connection refused") || strings.Contains(r.stdout+r.stderr, password) {
		t.Errorf("stderr:\n%s", r.stderr)
	}
}

// The expected share without a shared store, and that it judges.
func TestByChance(t *testing.T) {
	if got := byChance(3, 1000).String(); got != "25 to 42 % resumed" {
		t.Errorf("three servers, a thousand visits: %s", got)
	}
	for _, c := range []struct {
		want  band
		share float64
		holds bool
	}{
		{above(99), 1, true}, {above(99), 0.99, false}, {above(99), 0.5, false},
		{band{25, 42}, 0.33, true}, {band{25, 42}, 0.24, false}, {band{25, 42}, 0.43, false}, {band{25, 42}, 1, false},
	} {
		if got := c.want.holds(c.share); got != c.holds {
			t.Errorf("%v of %.2f: %v", c.want, c.share, got)
		}
	}
}

// A window counts visits after the kill only, and is good only after a replica
// took over.
func TestRecovery(t *testing.T) {
	r := newRecovery(20)
	visits := func(n int, resumed bool) {
		for range n {
			for _, version := range fleetVersions {
				r.add(visit{version: version, began: time.Now(), followed: true, resumed: resumed})
			}
		}
	}
	recovered := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.recovered()
	}
	visits(30, true)
	if recovered() {
		t.Error("recovered before the kill")
	}
	r.begin()
	visits(30, true)
	if recovered() {
		t.Error("recovered before a replica took over")
	}
	visits(20, false)
	r.takeover()
	visits(19, true) // the last 20 have one that was not: 95 %, not more
	if recovered() {
		t.Error("recovered at 95 %")
	}
	visits(1, true)
	if !recovered() {
		t.Error("not recovered at 100 %")
	}
	for _, w := range r.windows {
		if w.lowest != 0 || w.visits != 100 || w.resumed != 80 {
			t.Errorf("lowest %v, visits %d, resumed %d", w.lowest, w.visits, w.resumed)
		}
	}
}
