package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rounds"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// patience is how long a round is repeated when somebody disturbed it.
const patience = 10 * time.Second

// A taker takes the rounds of the points of one curve, as the table's are
// taken: the peers beside each other in time, in turn.
type taker struct {
	deadline time.Time
	result   *result
}

// take measures a row in so many rounds, of which it tells each run. After the
// deadline there is one.
func (t *taker) take(ctx context.Context, b *measure.Bench, row *rows.Row, want int, tell func(record.Run)) error {
	servers := map[string]*measure.Server{}
	err := t.start(b, row, servers)
	if err == nil {
		err = t.rounds(ctx, b, row, servers, want, tell)
	}
	for _, s := range servers {
		err = errors.Join(err, s.Stop())
	}
	return err
}

func (t *taker) start(b *measure.Bench, row *rows.Row, servers map[string]*measure.Server) error {
	if row.Metric == rows.Memory {
		return nil // each run has a server of its own
	}
	for _, p := range row.Peers {
		s, err := b.Start(row, p)
		if err != nil {
			return err
		}
		servers[p.Name] = s
	}
	return nil
}

func (t *taker) rounds(ctx context.Context, b *measure.Bench, row *rows.Row, servers map[string]*measure.Server, want int, tell func(record.Run)) error {
	limits := host.DefaultLimits
	taker := &rounds.Taker{
		Calm:     func(r record.Run) bool { return limits.Calm(r.Others, r.Stolen) },
		Patience: patience, Deadline: t.deadline, Now: time.Now, Wait: limits.WaitCalm,
	}
	run := func(peer int) (record.Run, []string, error) {
		if err := ctx.Err(); err != nil {
			return record.Run{}, nil, err
		}
		p := row.Peers[peer]
		r, err := b.Run(row, p, servers[p.Name])
		if err != nil {
			return r, nil, err
		}
		return r, measure.Check(row, p, r), nil
	}
	for n := 0; n < want && (n == 0 || time.Now().Before(t.deadline)); n++ {
		round, failures, err := taker.Take(rounds.Order(len(row.Peers), n, true), run)
		if err != nil {
			return err
		}
		if failures != nil {
			return errors.New(strings.Join(failures, "; "))
		}
		if row.Metric != rows.Memory {
			t.result.Rounds++
			if round.Disturbed {
				t.result.Disturbed++
			}
		}
		for _, r := range round.Runs {
			tell(r)
		}
	}
	return nil
}

// perCPU are operations per second of the server's processor time.
func perCPU(r record.Run) float64 { return float64(r.Load.Ops) / r.Load.ServerCPU }

// The peers of curves.
func peerC(store string, flags ...string) rows.Peer {
	return rows.Peer{Name: "C", Program: "cserver", Store: store, Flags: flags}
}

func peerOurs(store string, flags ...string) rows.Peer {
	return rows.Peer{Name: rows.Ours, Program: "ours", Store: store, Flags: flags}
}

func peerCryptoTLS() rows.Peer {
	return rows.Peer{Name: "crypto/tls", Program: "cryptotls", Store: "none"}
}

// echo is the row of connections that echo, or did so once and wait.
func echo(load string, conns, size int, peers ...rows.Peer) *rows.Row {
	return &rows.Row{
		Name: load, Metric: rows.Rate, Work: "echo", Load: load, Version: "1.3", Cert: rows.ECDSA,
		Conns: conns, Size: size, Base: peers[0].Name, Peers: peers,
	}
}
