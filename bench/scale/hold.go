package main

import (
	"context"

	benchhold "github.com/sessioncb/openssl/bench/internal/hold"
)

const held = 20000

var hold = &curve{
	name: "hold", title: "20,000 idle connections, and after", x: "connections",
	how: "One server process holds idle connections; then all are closed, Go gives back what it has to spare " +
		"(debug.FreeOSMemory), and the C library what OpenSSL freed (malloc_trim, by ssl.FreeOSMemory). Memory is Pss. It fails unless each " +
		"connection was one SSL, none and no session is left, four fifths of the memory came back, and a second time leaves no " +
		"more than a twentieth more.",
	charts: []chart{{name: "memory", title: "Memory of the server", y: "MiB", digs: 1}},
	measure: func(_ context.Context, b *bench, r *result) error {
		n := b.conns(held)
		h, err := benchhold.Run(b.Bench, n)
		if err != nil {
			return err
		}
		if n < held {
			r.fact("A process may open %d files on this machine, so it is %d connections.", b.files, n)
		}
		r.fact("%d connections were held by one process, %.1f KiB each.", n, h.PerConn())
		r.fact("Memory: %.1f MiB before, %.1f with them; %.1f after they were closed and debug.FreeOSMemory; %.1f after malloc_trim; "+
			"%.1f when as many more had come and gone.", mib(h.Before), mib(h.Held), mib(h.Freed), mib(h.After), mib(h.Again))
		r.fact("%.1f %% of it came back, of which the C library kept %.1f %% until it was told.", 100*h.Back(), 100*h.Kept())
		r.fact("Alive with them: %d SSL; %.1f s after the first close: %d SSL, %d references to sessions.", h.Live["conns"], h.Took.Seconds(),
			h.Left["conns"], h.Left["sessions"])
		for _, f := range r.Facts {
			b.say("%s", f)
		}
		return h.Check()
	},
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
