package main

import (
	"context"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

var contexts = &curve{
	name: "contexts", title: "Contexts", x: "contexts",
	how: "Virtual hosts, each a Context (C: an SSL_CTX) with its certificate and key from files. The load asks for one " +
		"after the other by name. Ours chooses in GetConfigForClient from a Go map, C in the server name callback by an index " +
		"in the name. Full handshakes of TLS 1.3 per second of the server's processor time; and what a context costs: " +
		"processor time and memory (Pss) of a server that has made them and one that made a single one, by their number.",
	charts: []chart{
		{name: "rate", title: "Full handshakes by virtual hosts", y: "handshakes per server-CPU-second", logX: true},
		{name: "memory", title: "Memory of a context", y: "KiB per context", digs: 1, logX: true},
		{name: "time", title: "Time to make a context", y: "µs of CPU per context", logX: true},
	},
	measure: func(ctx context.Context, b *bench, r *result) error {
		t := b.taker()
		peers := []rows.Peer{peerC("none"), peerOurs("none")}
		single := &rows.Row{
			Name: "single", Metric: rows.Rate, Work: "handshake", Load: "full", Version: "1.3", Cert: rows.ECDSA, Conns: 32, Base: "C", Peers: peers,
		}
		err := t.take(ctx, b.Bench, single, 5, func(run record.Run) { r.add("single", run.Peer, 1, perCPU(run)) })
		r.fact("Without virtual hosts, the one context that accepts: C %.0f, ours %.0f handshakes per CPU-second.",
			r.at("single", "C", 1), r.at("single", "ours", 1))
		if err != nil {
			return err
		}
		for _, n := range []int{1, 10, 100, 1000, 10000} {
			row := &rows.Row{
				Name: "contexts", Metric: rows.Rate, Work: "handshake", Load: "full", Version: "1.3", Cert: rows.ECDSA,
				Conns: 32, Hosts: n, Base: "C", Peers: peers,
			}
			m := *b.Bench
			m.Warmup = 500 * time.Millisecond
			if n == 10000 {
				m.Window = 3 * time.Second // so that each is used several times
			}
			err := t.take(ctx, &m, row, 5, func(run record.Run) { r.add("rate", run.Peer, float64(n), perCPU(run)) })
			if err != nil {
				return err
			}
			if n >= 10 {
				if err := costs(b, r, row); err != nil {
					return err
				}
			}
			b.say("%5d contexts: C %.0f, ours %.0f handshakes per CPU-second", n, r.at("rate", "C", float64(n)), r.at("rate", "ours", float64(n)))
		}
		return nil
	},
}

// costs notes what a context costs where there are as many as the row has, by
// the difference to a server that has one.
func costs(b *bench, r *result, row *rows.Row) error {
	one := *row
	one.Hosts = 1
	for range 3 {
		for _, p := range row.Peers {
			cpu1, memory1, err := made(b.Bench, &one, p)
			if err != nil {
				return err
			}
			cpu, memory, err := made(b.Bench, row, p)
			if err != nil {
				return err
			}
			more, x := float64(row.Hosts-1), float64(row.Hosts)
			r.add("memory", p.Name, x, float64(memory-memory1)/1024/more)
			r.add("time", p.Name, x, float64((cpu-cpu1).Microseconds())/more)
		}
	}
	return nil
}

// made is what a server took until it listens.
func made(b *measure.Bench, row *rows.Row, p rows.Peer) (time.Duration, int64, error) {
	s, err := b.Start(row, p)
	if err != nil {
		return 0, 0, err
	}
	cpu, err := host.CPUTime(s.PID)
	if err != nil {
		return 0, 0, err
	}
	memory, err := host.Memory(s.PID)
	if err != nil {
		return 0, 0, err
	}
	return cpu, memory, s.Stop()
}
