package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A built is what a build from an empty cache takes, in seconds, and makes, in
// bytes.
type built struct {
	clean, again        stats.Quartiles // on the clock; again: all packages are cached, and it is linked
	cpu                 stats.Quartiles // processor time of clean
	cgo, standard, rest stats.Quartiles // of it, the sum over packages: one after the other
	size, stripped      int64
}

// module is the path of this one.
const module = "github.com/sessioncb/openssl"

// build builds cmd/sessioncb, and this module's libraries without it.
func build(root string, n int) (*built, error) {
	b := &built{}
	var clean, cpu, again, cgo, standard, rest []float64
	for range n {
		dir, err := os.MkdirTemp("", "startup")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		graph := filepath.Join(dir, "graph.json")
		program := filepath.Join(dir, "sessioncb")
		took, used, err := compile(root, dir, "-o", program, "-debug-actiongraph="+graph)
		if err != nil {
			return nil, err
		}
		clean, cpu = append(clean, took), append(cpu, used)
		parts, err := parse(graph)
		if err != nil {
			return nil, err
		}
		cgo, standard, rest = append(cgo, parts[0]), append(standard, parts[1]), append(rest, parts[2])
		if b.size, err = size(program); err != nil {
			return nil, err
		}
		// Linked anew, from a cache that has all packages.
		if took, _, err = compile(root, dir, "-o", program, "-ldflags=-s -w"); err != nil {
			return nil, err
		}
		again = append(again, took)
		if b.stripped, err = size(program); err != nil {
			return nil, err
		}
	}
	b.clean, b.cpu, b.again = stats.Of(clean), stats.Of(cpu), stats.Of(again)
	b.cgo, b.standard, b.rest = stats.Of(cgo), stats.Of(standard), stats.Of(rest)
	return b, nil
}

// compile returns the seconds on the clock, and those of processor time, which
// who else runs on the machine changes little.
func compile(root, dir string, flags ...string) (clock, cpu float64, err error) {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "./cmd/sessioncb")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOCACHE="+filepath.Join(dir, "cache"))
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
	}
	return time.Since(begin).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), nil
}

func size(file string) (int64, error) {
	st, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// parse sums the time of the packages of a build: those of this module that
// have C in them, those of the standard library, and all others.
func parse(graph string) (parts [3]float64, err error) {
	text, err := os.ReadFile(graph)
	if err != nil {
		return parts, err
	}
	var actions []struct {
		Mode, Package       string
		TimeStart, TimeDone time.Time
	}
	if err := json.Unmarshal(text, &actions); err != nil {
		return parts, err
	}
	for _, a := range actions {
		if a.Mode != "build" {
			continue
		}
		took := a.TimeDone.Sub(a.TimeStart).Seconds()
		first, _, _ := strings.Cut(a.Package, "/")
		switch {
		case a.Package == module+"/cshim":
			parts[0] += took
		case !strings.Contains(first, "."):
			parts[1] += took
		default:
			parts[2] += took
		}
	}
	if parts[0] == 0 {
		return parts, fmt.Errorf("%s: no package %s/cshim in it", graph, module)
	}
	return parts, nil
}
