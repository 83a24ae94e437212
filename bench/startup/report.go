package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

type report struct {
	machine  host.Machine
	firsts   []first
	contexts []cost
	build    *built
}

func cell(q stats.Quartiles, digs int) string {
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', digs, 64) }
	if q.N < 2 {
		return f(q.Median)
	}
	return fmt.Sprintf("%s [%s, %s]", f(q.Median), f(q.Q1), f(q.Q3))
}

// write makes the text, whole or not at all.
func (r *report) write(file string) error {
	var b bytes.Buffer
	m := r.machine
	fmt.Fprintf(&b, "# Start-up and size\n\nMade by `make startup`, on %s with %d processors, OpenSSL %s, %s. "+
		"Cells are medians with their quartiles.\n", m.CPU, m.CPUs, m.OpenSSL, m.Go)
	fmt.Fprintf(&b, "\n| from exec, ms (%d starts) | it listens | its first handshake is done |\n|---|---:|---:|\n", r.firsts[0].listening.N)
	for _, f := range r.firsts {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.name, cell(f.listening, 1), cell(f.handshake, 1))
	}
	b.WriteString("\nThe servers of this benchmark on one processor; the handshake is of TLS 1.3 with a client on the other.\n")
	b.WriteString("\n| one more virtual host | KiB | µs of CPU |\n|---|---:|---:|\n")
	for _, c := range r.contexts {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.name, cell(c.kib, 1), cell(c.us, 0))
	}
	b.WriteString("\nAn SSL_CTX with a P-256 certificate and its key, from files: what 1,000 more cost a server, by their number.\n")
	x := r.build
	fmt.Fprintf(&b, "\n| `cmd/sessioncb` | |\n|---|---:|\n| binary | %.1f MB |\n| without symbols (`-ldflags='-s -w'`) | %.1f MB |\n",
		float64(x.size)/1e6, float64(x.stripped)/1e6)
	fmt.Fprintf(&b, "| build from an empty cache | %s s |\n| its processor time | %s s |\n"+
		"| linked again, all packages cached | %s s |\n", cell(x.clean, 1), cell(x.cpu, 1), cell(x.again, 1))
	fmt.Fprintf(&b, "\nOf the packages' own time in the build, which overlap on %d processors: cshim, the one with cgo, %s s; the standard "+
		"library %s s; all others, those of Redis and bolt too, %s s. libssl and libcrypto are the system's and are not in the binary. Calm is not waited for: the clock "+
		"has in it what others took of the machine, and the processor time has not.\n",
		m.CPUs, cell(x.cgo, 1), cell(x.standard, 1), cell(x.rest, 1))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b.Bytes(), 0o644); err != nil {
		return err
	}
	if _, err := os.Stdout.Write(b.Bytes()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
