// Fleetsim tells what a fleet of servers asks of its session store. Clients
// visit, pause and come again; a load balancer sends each connection to a node;
// each node is a real sessioncb.Cache, with the sealing, the near cache and the
// options of a real one, over a store in memory that counts. There is no TLS
// and no network, and the clock is the simulation's own.
//
//	go run ./internal/fleetsim -nodes 1,10,100 -near 67108864
//
// It prints a table in Markdown with a column for each number of nodes. Each
// argument behind -- is more flags, and makes columns of its own:
//
//	go run ./internal/fleetsim -brief -- "-ttl 10m" "-ttl 24h"
//
// What is simulated is a sample of the fleet's clients; the rates are scaled to
// -rate connections a second on each node. The same flags and seed give the
// same table.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "fleetsim:", err)
		os.Exit(1)
	}
}

func run(args []string, out, usage io.Writer) error {
	began := time.Now()
	fleets, brief, err := parse(args, usage)
	if err != nil {
		return err
	}
	var results []result
	for i := range fleets {
		r, err := simulate(fleets[i])
		if err != nil {
			return fmt.Errorf("%s: %w", fleets[i].title, err)
		}
		results = append(results, r)
	}
	if err := write(out, fleets, results, brief); err != nil {
		return err
	}
	fmt.Fprintf(usage, "this took %v\n", time.Since(began).Round(time.Second))
	return nil
}

// parse makes the fleets: one for each argument behind -- and each
// number of nodes.
func parse(args []string, usage io.Writer) (fleets []options, brief bool, err error) {
	flags := func(o *options) (*flag.FlagSet, *string, *bool) {
		set := flag.NewFlagSet("fleetsim", flag.ContinueOnError)
		set.SetOutput(usage)
		nodes := o.flags(set)
		return set, nodes, set.Bool("brief", false, "fewer rows")
	}
	common, variants := args, []string{""}
	if i := slices.Index(args, "--"); i >= 0 {
		common, variants = args[:i], args[i+1:]
	}
	for _, variant := range variants {
		var o options
		set, nodes, short := flags(&o)
		if err := set.Parse(append(common[:len(common):len(common)], strings.Fields(variant)...)); err != nil {
			return nil, false, err
		}
		if set.NArg() > 0 {
			return nil, false, fmt.Errorf("unexpected argument %q", set.Arg(0))
		}
		brief = *short
		list, err := parseNodes(*nodes)
		if err != nil {
			return nil, false, err
		}
		for _, o.nodes = range list {
			switch {
			case variant == "":
				o.title = fmt.Sprint(o.nodes)
			case len(list) == 1:
				o.title = "`" + variant + "`"
			default:
				o.title = fmt.Sprintf("%d `%s`", o.nodes, variant)
			}
			if err := o.check(); err != nil {
				return nil, false, err
			}
			fleets = append(fleets, o)
		}
	}
	return fleets, brief, nil
}

func simulate(o options) (result, error) {
	f, err := newFleet(o)
	if err != nil {
		return result{}, err
	}
	return f.run()
}
