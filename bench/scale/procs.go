package main

import (
	"context"

	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

var procs = &curve{
	name: "procs", title: "GOMAXPROCS", x: "GOMAXPROCS",
	how: "The server of this binding may run on both processors, and the load is on the second of them as ever, so that " +
		"where the server wants both it shares one with the load. Operations per second on the clock say what a second " +
		"processor brings then; per second of the server's processor time, what it costs to work on two.",
	charts: []chart{
		{name: "clock", title: "Operations by GOMAXPROCS", y: "operations per second"},
		{name: "rate", title: "Cost by GOMAXPROCS", y: "operations per server-CPU-second"},
	},
	measure: func(ctx context.Context, b *bench, r *result) error {
		t := b.taker()
		m := *b.Bench
		m.Spread = []int{b.ServerCPU, b.LoadCPU}
		one, two := peerOurs("", "-gomaxprocs", "1"), peerOurs("", "-gomaxprocs", "2")
		one.Name, two.Name = "1", "2"
		for _, c := range []struct{ name, store, work, load string }{
			{"resume-1.3-der", "der", "handshake", "resume"},
			{"full-ecdsa-1.3", "none", "handshake", "full"},
			{"echo-32", "none", "echo", "echo"},
		} {
			one.Store, two.Store = c.store, c.store
			row := &rows.Row{
				Name: c.name, Metric: rows.Rate, Work: c.work, Load: c.load, Version: "1.3", Cert: rows.ECDSA,
				Conns: 32, Base: "1", Peers: []rows.Peer{one, two},
			}
			err := t.take(ctx, &m, row, 9, func(run record.Run) {
				x := 1.0
				if run.Peer == two.Name {
					x = 2
				}
				r.add("clock", c.name, x, float64(run.Load.Ops)/run.Load.Seconds)
				r.add("rate", c.name, x, perCPU(run))
			})
			if err != nil {
				return err
			}
			b.say("%s: %.0f and %.0f a second, %.0f and %.0f per CPU-second", c.name, r.at("clock", c.name, 1), r.at("clock", c.name, 2),
				r.at("rate", c.name, 1), r.at("rate", c.name, 2))
		}
		return nil
	},
}
