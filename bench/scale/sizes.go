package main

import (
	"context"

	"github.com/sessioncb/openssl/bench/internal/record"
)

var sizes = &curve{
	name: "sizes", title: "Record size", x: "bytes in a record",
	how: "32 connections send a record and wait for it to come back, in TLS 1.3. MB of data per second of the server's " +
		"processor time; each byte goes both ways and counts once.",
	charts: []chart{{name: "bytes", title: "Echo by record size", y: "MB per server-CPU-second", digs: 1, logX: true, logY: true}},
	measure: func(ctx context.Context, b *bench, r *result) error {
		t := b.taker()
		for _, size := range []int{64, 256, 1024, 4096, 8192, 16384} {
			row := echo("echo", 32, size, peerC("none"), peerOurs("none"), peerCryptoTLS())
			err := t.take(ctx, b.Bench, row, 7, func(run record.Run) {
				r.add("bytes", run.Peer, float64(size), float64(run.Load.Bytes)/1e6/run.Load.ServerCPU)
			})
			if err != nil {
				return err
			}
			b.say("%5d bytes: C %.1f, ours %.1f, crypto/tls %.1f MB per CPU-second", size, r.at("bytes", "C", float64(size)),
				r.at("bytes", "ours", float64(size)), r.at("bytes", "crypto/tls", float64(size)))
		}
		return nil
	},
}
