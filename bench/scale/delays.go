package main

import (
	"context"
	"time"

	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// waiters are the connections whose lookups may wait at once. C has one at a
// time, so more connections than the table's 32 would only stand in line.
const waiters, standing = 500, 32

var delays = &curve{
	name: "delays", title: "Latency of a lookup", x: "latency of a lookup, ms",
	how: "TLS 1.3 resumption from a store of bytes whose lookups take that long, as one in a network does. Resumptions per " +
		"second on the clock, and the most OS threads that the server had. C's callback holds up its thread meanwhile; there " +
		"are 500 connections at ours and 32 at C, where more would only stand in line.",
	charts: []chart{
		{name: "rate", title: "Resumptions by latency of the store", y: "resumptions per second", logY: true},
		{name: "threads", title: "OS threads by latency of the store", y: "threads"},
	},
	measure: func(ctx context.Context, b *bench, r *result) error {
		t := b.taker()
		for _, ms := range []int{0, 1, 5, 20, 50, 100} {
			for _, p := range []rows.Peer{peerC("der"), peerOurs("der")} {
				conns := waiters
				m := *b.Bench
				m.Warmup, m.Window = time.Second, 2*time.Second
				if p.Program == "cserver" {
					conns = standing
					if ms >= 20 {
						// What stands in line when the window opens is little of it.
						m.Window = 6 * time.Second
					}
				}
				row := &rows.Row{
					Name: "delays", Metric: rows.Threads, Work: "handshake", Load: "resume", Version: "1.3", Cert: rows.ECDSA,
					Conns: conns, Delay: time.Duration(ms) * time.Millisecond, Base: p.Name, Peers: []rows.Peer{p},
				}
				err := t.take(ctx, &m, row, 3, func(run record.Run) {
					r.add("rate", p.Name, float64(ms), float64(run.Load.Resumed)/run.Load.Seconds)
					r.add("threads", p.Name, float64(ms), float64(run.Threads))
				})
				if err != nil {
					return err
				}
			}
			b.say("%3d ms: C %.0f, ours %.0f resumptions a second", ms, r.at("rate", "C", float64(ms)), r.at("rate", "ours", float64(ms)))
		}
		return nil
	},
}
