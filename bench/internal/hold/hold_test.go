package hold

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
)

// A tenth of what `make scale` holds, so that it is no test of patience.
func TestMemoryComesBack(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("bash", "../../build", "ours", "load")
	build.Env = append(os.Environ(), "BENCH_BIN="+bin)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	certs, err := filepath.Abs("../../../testdata/certs")
	if err != nil {
		t.Fatal(err)
	}
	if err := host.RaiseFiles(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(&measure.Bench{
		Load:   filepath.Join(bin, "load"),
		Server: func(program string) ([]string, error) { return []string{filepath.Join(bin, program)}, nil },
		Certs:  certs, ServerCPU: host.FirstCPU(), LoadCPU: host.FirstCPU(),
	}, 2000)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections, %.1f KiB each; %d KiB before, %d with them, %d after, %d of them trimmed: %.1f%% came back, %d after a second time", r.Conns, r.PerConn(),
		r.Before>>10, r.Held>>10, r.After>>10, (r.Freed-r.After)>>10, 100*r.Back(), r.Again>>10)
	if err := r.Check(); err != nil {
		t.Error(err)
	}
}

// Each case is a report that is right, and what spoils it.
func TestCheck(t *testing.T) {
	good := func() *Report {
		live := map[string]int64{"conns": 100, "sessions": 0, "contexts": 1}
		left := map[string]int64{"contexts": 1}
		return &Report{Conns: 100, Before: 1 << 20, Held: 3 << 20, After: 1<<20 + 1<<10, Again: 1<<20 + 2<<10, Live: live, Left: left}
	}
	if err := good().Check(); err != nil {
		t.Errorf("a report that is right: %v", err)
	}
	for _, c := range []struct {
		why   string
		spoil func(*Report)
		want  string
	}{
		{"one was not there", func(r *Report) { r.Live["conns"]-- }, "100 connections, and alive are"},
		{"one is left", func(r *Report) { r.Left["conns"] = 1 }, "no connection is left, and alive are"},
		{"a session is left", func(r *Report) { r.Left["sessions"] = 1 }, "no connection is left, and alive are"},
		{"the memory stays", func(r *Report) { r.After = r.Held }, "0% of the memory came back"},
		{"a second time leaves as much again", func(r *Report) { r.After = 1<<20 + 300<<10; r.Again = 1<<20 + 600<<10 }, "they leave something behind"},
		{"there was none", func(r *Report) { r.Held = r.Before }, "took no memory"},
	} {
		r := good()
		c.spoil(r)
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
	}
}
