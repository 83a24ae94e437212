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
		if err := d.start(row, servers); err != nil {
			return err
		}
	}
	if row.Metric == rows.Threads {
		if err := d.park(ctx, row, servers); err != nil {
			return err
		}
		rec.Delay = row.Delay
	}
	taker := &rounds.Taker{
		Calm: func(r record.Run) bool {
			return d.o.settings.Limits.Calm(r.Others, r.Stolen) && measure.Enough(row, r)
		},
		Patience: d.o.patience, Deadline: deadline, Now: time.Now, Wait: d.o.settings.Limits.WaitCalm,
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

// start starts the servers of a row.
func (d *driver) start(row *rows.Row, servers map[string]*measure.Server) error {
	for _, p := range row.Peers {
		s, err := d.bench.Start(row, p)
		if err != nil {
			return err
		}
		servers[p.Name] = s
	}
	return nil
}

// park finds out how long lookups are to wait, so that enough of them wait at
// once: with each length it starts the server anew. The last it takes as it is.
func (d *driver) park(ctx context.Context, row *rows.Row, servers map[string]*measure.Server) error {
	p, _ := row.Peer(rows.Ours)
	for _, delay := range rows.Delays[1:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, err := d.bench.Run(row, p, servers[p.Name])
		if err != nil || measure.Enough(row, run) {
			return err
		}
		if err := servers[p.Name].Stop(); err != nil {
			return err
		}
		delete(servers, p.Name)
		row.Delay = delay
		if err := d.start(row, servers); err != nil {
			return err
		}
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
