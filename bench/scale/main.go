// Command scale measures how this binding grows: with connections, sessions,
// processors, slow stores, records and virtual hosts, beside C and crypto/tls
// where they do the same. It writes results/scale.md and its plots. It is
// started by scripts/scale, which builds what it runs.
//
// Its exit code is 1 when a curve failed: when something was not as it was to be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
)

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	bench  string // the directory bench
	curves []*curve
	fresh  bool
	tables bool
	budget time.Duration // of a curve; after it, points get one round each
	cpus   [2]int        // of the server, of the load
}

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("scale", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.bench, "bench", ".", "the `directory` bench of the source tree")
	names := fs.String("curves", "", "the curves to measure, with commas, of "+strings.Join(curveNames(), ", ")+"; all by default")
	fs.BoolVar(&o.fresh, "fresh", false, "measure curves again that this commit has already")
	fs.BoolVar(&o.tables, "tables", false, "measure nothing, make tables and plots again")
	fs.DurationVar(&o.budget, "budget", 150*time.Second, "how long a curve may take until its points get one round each")
	fs.IntVar(&o.cpus[0], "server-cpu", 0, "the processor of the servers")
	fs.IntVar(&o.cpus[1], "load-cpu", 1, "the processor of the load")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	o.curves = curves
	if *names != "" {
		o.curves = nil
		for name := range strings.SplitSeq(*names, ",") {
			i := slices.IndexFunc(curves, func(c *curve) bool { return c.name == name })
			if i < 0 {
				return nil, fmt.Errorf("no such curve: %s", name)
			}
			o.curves = append(o.curves, curves[i])
		}
	}
	return o, nil
}

// programs says where the programs are, as bench/build leaves them.
func programs(o *options) (*measure.Bench, error) {
	if err := host.CheckCPUs(o.cpus[0], o.cpus[1]); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.bench)
	if err != nil {
		return nil, err
	}
	return &measure.Bench{
		Load: filepath.Join(dir, "bin/load"),
		Server: func(program string) ([]string, error) {
			file := filepath.Join(dir, "bin", program)
			if _, err := os.Stat(file); err != nil {
				return nil, fmt.Errorf("%w (scripts/scale builds it)", err)
			}
			return []string{file}, nil
		},
		Certs:     filepath.Join(dir, "../testdata/certs"),
		ServerCPU: o.cpus[0], LoadCPU: o.cpus[1],
		Warmup: 300 * time.Millisecond, Window: time.Second,
	}, nil
}
