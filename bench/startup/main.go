// Command startup measures what a program on this binding takes before it does
// anything: the time to its first handshake, beside C and crypto/tls, the cost
// of a context, the size of the binary, and the time to build it from clean. It
// writes results/startup.md, and is started by scripts/startup.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sessioncb/openssl/bench/internal/host"
)

func main() {
	bench := flag.String("bench", ".", "the `directory` bench of the source tree")
	starts := flag.Int("starts", 20, "starts of each server")
	builds := flag.Int("builds", 1, "builds from clean")
	cpu := flag.Int("server-cpu", 0, "the processor of the servers")
	flag.Parse()
	if flag.NArg() > 0 || *starts < 1 || *builds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*bench, *cpu, *starts, *builds); err != nil {
		fmt.Fprintln(os.Stderr, "startup:", err)
		os.Exit(1)
	}
}

func run(bench string, cpu, starts, builds int) error {
	root, err := filepath.Abs(filepath.Join(bench, ".."))
	if err != nil {
		return err
	}
	r := &report{machine: host.About()}
	if r.firsts, err = firsts(root, cpu, starts); err != nil {
		return err
	}
	if r.contexts, err = contexts(root, cpu); err != nil {
		return err
	}
	if r.build, err = build(root, builds); err != nil {
		return err
	}
	return r.write(filepath.Join(bench, "results", "startup.md"))
}
