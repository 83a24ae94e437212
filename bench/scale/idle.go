package main

import (
	"context"

	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

var idle = &curve{
	name: "idle", title: "Idle connections", x: "connections",
	how: "Connections that echoed 64 bytes once and wait, in TLS 1.3. KiB of the server for each: its memory (Pss) less " +
		"what the same process had with 200 connections before them. Sockets are the kernel's and are not in it. 1 and 10 " +
		"connections take less than what differs from one moment to the next, so the curve begins at 100.",
	charts: []chart{{name: "memory", title: "Memory of an idle connection", y: "KiB per connection", digs: 1, logX: true}},
	measure: func(ctx context.Context, b *bench, r *result) error {
		t := b.taker()
		for _, want := range connections[2:] {
			// With those 200 it is as many as are wanted.
			n, rounds := want, 3
			if want > 10*measure.First {
				n = b.conns(want) - measure.First
			}
			if want >= 20000 {
				rounds = 2 // each makes 20,000 connections to each of four servers
			}
			row := echo("idle", n, 64, peerC("none"),
				rows.Peer{Name: "C, RELEASE_BUFFERS", Program: "cserver", Store: "none", Flags: []string{"-release-buffers"}},
				peerOurs("none"), peerCryptoTLS())
			row.Metric = rows.Memory
			err := t.take(ctx, b.Bench, row, rounds, func(run record.Run) {
				r.add("memory", run.Peer, float64(n), run.KiBPerConn)
			})
			if err != nil {
				return err
			}
			b.say("%6d connections: C %.1f, ours %.1f KiB each", n, r.at("memory", "C", float64(n)), r.at("memory", "ours", float64(n)))
		}
		return nil
	},
}
