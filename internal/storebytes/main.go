// Storebytes measures what a session takes in each kind of store: it fills
// them through this module's own adapters and asks them. The servers are those
// in PATH, started here and ended here.
//
//	go run ./internal/storebytes
//
// It prints the table of docs/fleet.md.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// lifetime is long enough that nothing expires while it is counted.
const lifetime = 2 * time.Hour

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "storebytes:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	set := flag.NewFlagSet("storebytes", flag.ContinueOnError)
	n := set.Int("n", 100_000, "sessions in each store")
	sizes := set.String("sizes", "316,761,963", "lengths of the values, in bytes")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *n < 1 || set.NArg() > 0 {
		return fmt.Errorf("-n is at least 1, and there are no arguments")
	}
	var lengths []int
	for s := range strings.SplitSeq(*sizes, ",") {
		length, err := strconv.Atoi(s)
		if err != nil || length < 1 {
			return fmt.Errorf("-sizes: %q is no length", s)
		}
		lengths = append(lengths, length)
	}

	fmt.Fprintf(out, "| bytes for a session, of %d | %s |\n", *n, strings.Join(strings.Split(*sizes, ","), " | "))
	fmt.Fprintf(out, "|---|%s\n", strings.Repeat("---|", len(lengths)))
	for _, m := range measures {
		columns := make([][]string, len(lengths)) // by length, then by name
		for i, length := range lengths {
			cells, err := m.measure(*n, length)
			if err != nil {
				return fmt.Errorf("%s: %w", m.names[0], err)
			}
			for _, bytes := range cells {
				columns[i] = append(columns[i], fmt.Sprintf("%.0f", bytes))
			}
		}
		for j, name := range m.names {
			fmt.Fprintf(out, "| %s |", name)
			for i := range lengths {
				fmt.Fprintf(out, " %s |", columns[i][j])
			}
			fmt.Fprintln(out)
		}
	}
	return nil
}

// A measure fills a store with n values of a length and returns bytes for a
// session, one number for each name.
type measure struct {
	names   []string
	measure func(n, length int) ([]float64, error)
}

var measures = []measure{
	{[]string{"memstore: of `MaxBytes`", "memstore: of the heap"}, measureMem},
	{[]string{"boltstore: of the file, just filled", "boltstore: of the file, after three lifetimes"}, measureBolt},
	{[]string{"Redis: `MEMORY USAGE` of a key", "Redis: growth of `used_memory`"}, measureRedis},
	{[]string{"memcached: chunk that holds an item", "memcached: bytes of an item in it"}, measureMemcached},
}

// idOf is the i-th id: 32 bytes.
func idOf(i int) sessioncb.Key {
	id := make([]byte, 32)
	binary.BigEndian.PutUint64(id, uint64(i)*0x9e3779b97f4a7c15) // spread
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	return sessioncb.Key{ID: id}
}

// each calls f for from to to-1, on so many goroutines.
func each(goroutines, from, to int, f func(i int) error) error {
	var next atomic.Int64
	next.Store(int64(from))
	errs := make(chan error, goroutines)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs // nil when none was sent
}

// fill puts the values from to to-1. They are random: nothing compresses.
func fill(store sessioncb.Store, goroutines, from, to, length int) error {
	return each(goroutines, from, to, func(i int) error {
		value := make([]byte, length)
		rand.Read(value)
		return store.Put(context.Background(), idOf(i), value, lifetime)
	})
}

func empty(store sessioncb.Store, goroutines, from, to int) error {
	return each(goroutines, from, to, func(i int) error { return store.Delete(context.Background(), idOf(i)) })
}
