package main

import (
	"context"
	"time"

	"github.com/sessioncb/openssl/bench/internal/record"
)

var connections = []int{1, 10, 100, 1000, 5000, 20000}

var active = &curve{
	name: "active", title: "Active connections", x: "connections",
	how: "Each connection sends 64 bytes and waits for them to come back, over and over, in TLS 1.3. Operations per second " +
		"of the server's processor time.",
	charts: []chart{
		{name: "rate", title: "64-byte echoes by connections", y: "echoes per server-CPU-second", logX: true},
	},
	measure: measureActive,
}

func measureActive(ctx context.Context, b *bench, r *result) error {
	t := b.taker()
	for _, want := range connections {
		n, rounds, m := b.conns(want), 5, *b.Bench
		if n < want {
			r.fact("A process may open %d files on this machine: the last point is %d connections.", b.files, n)
		}
		if n >= 5000 {
			rounds, m.Window = 3, 2*time.Second
		}
		err := t.take(ctx, &m, echo("echo", n, 64, peerC("none"), peerOurs("none")), rounds, func(run record.Run) {
			r.add("rate", run.Peer, float64(n), perCPU(run))
		})
		if err != nil {
			return err
		}
		b.say("%6d connections: C %.0f, ours %.0f echoes per CPU-second", n, r.at("rate", "C", float64(n)), r.at("rate", "ours", float64(n)))
	}
	return nil
}
