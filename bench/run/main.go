// Command run measures the peers of the benchmark beside each other and prints
// the table. It is started by scripts/bench, which builds what it runs.
//
// Its exit code is 1 when a row failed: when a server ended, or resumed was not
// resumed, or full not full. A goal that is not met is no failure.
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
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(2)
	}
	// A run ends between two windows; the servers end with it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := newDriver(o, os.Stdout)
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	bench    string // the directory bench
	quick    bool
	fresh    bool
	tables   bool
	rows     []*rows.Row // to measure
	settings record.Settings
	patience time.Duration
	budget   time.Duration
	cpus     [2]int // of the server, of the load
}

// quickPeers are the columns of make bench-quick.
var quickPeers = []string{"c", rows.Ours}

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.bench, "bench", ".", "the `directory` bench of the source tree")
	fs.BoolVar(&o.quick, "quick", false, "ours against C, 5 rows, 5 rounds; writes nothing")
	fs.BoolVar(&o.fresh, "fresh", false, "measure rows again that this commit has already")
	fs.BoolVar(&o.tables, "tables", false, "measure nothing, make table and plots again")
	names := fs.String("rows", "", "the rows to measure, with commas; all by default")
	peers := fs.String("peers", "", "the peers to measure, with commas; all by default. Other than all is not recorded")
	fs.IntVar(&o.settings.Rounds, "rounds", 20, "calm rounds a row")
	fs.DurationVar(&o.settings.Warmup, "warmup", 300*time.Millisecond, "how long the load runs before a window")
	fs.DurationVar(&o.settings.Window, "window", time.Second, "how long a window is")
	fs.Float64Var(&o.settings.Limits.Others, "others", host.DefaultLimits.Others, "processor time of others that is still calm, in `cores`")
	fs.Float64Var(&o.settings.Limits.Stolen, "stolen", host.DefaultLimits.Stolen, "processor time taken by the hypervisor that is still calm, in `cores`")
	fs.DurationVar(&o.patience, "patience", time.Minute, "how long a round is repeated when it is disturbed")
	fs.DurationVar(&o.budget, "budget", 58*time.Minute, "how long all rows may take; after it, a row gets few rounds")
	fs.IntVar(&o.cpus[0], "server-cpu", 0, "the processor of the servers")
	fs.IntVar(&o.cpus[1], "load-cpu", 1, "the processor of the load")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.settings.Rounds < 1 || o.settings.Window <= 0 || o.settings.Warmup < 0 {
		return nil, errors.New("-rounds and -window are above 0, -warmup is not negative")
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	want := rows.All()
	if o.quick {
		if !given["rounds"] {
			o.settings.Rounds = 5
		}
		if !given["budget"] {
			o.budget = 150 * time.Second
		}
		if !given["rows"] {
			*names = strings.Join(rows.Quick, ",")
		}
		if !given["peers"] {
			*peers = strings.Join(quickPeers, ",")
		}
	}
	if *names != "" {
		var err error
		if want, err = choose(want, strings.Split(*names, ",")); err != nil {
			return nil, err
		}
	}
	if *peers != "" {
		o.quick = true
		only(want, strings.Split(*peers, ","))
	}
	o.rows = want
	return o, nil
}

// choose picks rows by name, in the order of the table.
func choose(all []*rows.Row, names []string) ([]*rows.Row, error) {
	var chosen []*rows.Row
	for _, r := range all {
		if i := slices.Index(names, r.Name); i >= 0 {
			chosen = append(chosen, r)
			names = slices.Delete(slices.Clone(names), i, i+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("no such row: %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// only leaves the named peers in rows, and each row's base.
func only(all []*rows.Row, names []string) {
	for _, r := range all {
		r.Peers = slices.DeleteFunc(r.Peers, func(p rows.Peer) bool {
			return p.Name != r.Base && !slices.Contains(names, p.Name)
		})
	}
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
	certs, err := filepath.Abs(filepath.Join(o.bench, "../testdata/certs"))
	if err != nil {
		return nil, err
	}
	return &measure.Bench{
		Load: filepath.Join(dir, "bin/load"),
		Server: func(program string) ([]string, error) {
			file := filepath.Join(dir, "bin", program)
			if program == "node" {
				file = filepath.Join(dir, "node/server")
			}
			if _, err := os.Stat(file); err != nil {
				return nil, fmt.Errorf("%w (scripts/bench builds it)", err)
			}
			return []string{file}, nil
		},
		Certs: certs, ServerCPU: o.cpus[0], LoadCPU: o.cpus[1],
		Warmup: o.settings.Warmup, Window: o.settings.Window,
	}, nil
}
