package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rounds"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// leastRounds are kept of a row though its time is over.
const leastRounds = 5

// row measures one row: all its servers are there from its first round to its
// last, and idle but for one. The record is never nil.
func (d *driver) row(ctx context.Context, row *rows.Row, deadline time.Time) (*record.Row, error) {
	rec := &record.Row{Name: row.Name, Commit: d.commit, Started: time.Now().UTC(), Machine: d.machine, Settings: d.o.settings}
	defer func() { rec.Seconds = time.Since(rec.Started).Seconds() }()
	servers := map[string]*measure.Server{}
	err := d.rounds(ctx, row, rec, servers, deadline)
	for _, s := range servers {
		if stop := s.Stop(); err == nil && stop != nil {
			err = stop
		}
	}
	fmt.Fprintln(d.out)
	if err == nil && rec.Failures == nil {
		rec.Failures = measure.CheckWaiting(row, rec.Rounds)
	}
	return rec, err
}

func (d *driver) rounds(ctx context.Context, row *rows.Row, rec *record.Row, servers map[string]*measure.Server, deadline time.Time) error {
	memory := row.Metric == rows.Memory // then each run has a server of its own
	if !memory {
		for _, p := range row.Peers {
			s, err := d.bench.Start(row, p)
			if err != nil {
				return err
			}
			servers[p.Name] = s
		}
	}
	taker := &rounds.Taker{
		Limits: d.o.settings.Limits, Patience: d.o.patience, Deadline: deadline,
		Now: time.Now, Wait: d.o.settings.Limits.WaitCalm,
	}
	run := func(peer int) (record.Run, []string, error) {
		if err := ctx.Err(); err != nil {
			return record.Run{}, nil, err
		}
		p := row.Peers[peer]
		r, err := d.bench.Run(row, p, servers[p.Name])
		if err != nil {
			return r, nil, err
		}
		return r, measure.Check(row, p, r), nil
	}
	for want := row.Want(d.o.settings.Rounds); more(rec, want, time.Now(), deadline); {
		round, failures, err := taker.Take(rounds.Order(len(row.Peers), len(rec.Rounds), memory), run)
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		if failures != nil {
			rec.Failures = failures
			return nil
		}
		rec.Rounds = append(rec.Rounds, round)
		mark := "."
		if round.Disturbed {
			mark = "x"
		}
		fmt.Fprint(d.out, mark)
	}
	return nil
}

// more reports whether a row needs another round: until it has the calm ones
// that are wanted, or twice as many of any kind, or its time is over.
func more(rec *record.Row, want int, now, deadline time.Time) bool {
	if len(rec.Calm()) >= want || len(rec.Rounds) >= 2*want {
		return false
	}
	return now.Before(deadline) || len(rec.Rounds) < min(want, leastRounds)
}
