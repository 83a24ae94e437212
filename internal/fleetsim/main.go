// Fleetsim tells what a fleet of servers asks of its session store. Clients
// visit, pause and come again; a load balancer sends each connection to a node;
// each node is a real sessioncb.Cache, with the sealing, the near cache and the
// options of a real one, over a store in memory that counts. There is no TLS
// and no network, and the clock is the simulation's own.
//
//	go run ./internal/fleetsim -nodes 1,10,100 -near 67108864
//
// It prints a table in Markdown with a column for each number of nodes. What
// is simulated is a sample of the fleet's clients; the rates are scaled to
// -rate connections a second on each node. The same flags and seed give the
// same table.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
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
	var o options
	set := flag.NewFlagSet("fleetsim", flag.ContinueOnError)
	set.SetOutput(usage)
	nodes := o.flags(set)
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	list, err := parseNodes(*nodes)
	if err != nil {
		return err
	}
	began := time.Now()
	var fleets []options
	var results []result
	for _, n := range list {
		each := o
		each.nodes = n
		r, err := simulate(each)
		if err != nil {
			return err
		}
		fleets, results = append(fleets, each), append(results, r)
	}
	if err := write(out, fleets, results); err != nil {
		return err
	}
	fmt.Fprintln(usage, about(&o, time.Since(began)))
	return nil
}

func simulate(o options) (result, error) {
	if err := o.check(); err != nil {
		return result{}, err
	}
	f, err := newFleet(o)
	if err != nil {
		return result{}, err
	}
	return f.run()
}
