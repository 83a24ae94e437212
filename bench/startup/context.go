package main

import (
	"fmt"
	"io"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A cost is what one more context takes: KiB of memory, and µs of processor
// time to make it.
type cost struct {
	peer
	kib, us stats.Quartiles
}

const (
	hosts = 1000 // contexts of a server, less one
	times = 5
)

// contexts compares servers with many virtual hosts and with one.
func contexts(root string, cpu int) ([]cost, error) {
	var all []cost
	for _, p := range peers[:2] {
		var kib, us []float64
		for range times {
			memory1, cpu1, err := made(root, cpu, p, 1)
			if err != nil {
				return nil, err
			}
			memory, cpuN, err := made(root, cpu, p, 1+hosts)
			if err != nil {
				return nil, err
			}
			kib = append(kib, (memory-memory1)/hosts)
			us = append(us, (cpuN-cpu1)/hosts)
		}
		all = append(all, cost{p, stats.Of(kib), stats.Of(us)})
	}
	return all, nil
}

// made is the memory of a server in KiB, and its processor time in µs, when it
// listens.
func made(root string, cpu int, p peer, n int) (kib, us float64, err error) {
	cmd := server(root, p, "-hosts", fmt.Sprint(n))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := host.Start(cmd, cpu); err != nil {
		return 0, 0, err
	}
	defer func() {
		stdin.Close()
		if end := cmd.Wait(); err == nil {
			err = end
		}
	}()
	if _, err := io.ReadFull(stdout, make([]byte, len("listening "))); err != nil {
		return 0, 0, err
	}
	m, err := host.Memory(cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	t, err := host.CPUTime(cmd.Process.Pid)
	return float64(m) / 1024, float64(t.Microseconds()), err
}
