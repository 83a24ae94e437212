package main

import (
	"time"

	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// A budget divides the time of a run between its rows, by how long each takes
// when it is calm. What a row leaves goes to those after it.
type budget struct {
	end   time.Time
	all   time.Duration
	plans []time.Duration
	least []time.Duration
}

// overhead is what a run takes beside its warm-up and its window.
const overhead = 150 * time.Millisecond

// idleRun is what a run of a row of memory takes, roughly.
const idleRun = 4 * time.Second

func newBudget(now time.Time, all time.Duration, s record.Settings, todo []*rows.Row) *budget {
	b := &budget{end: now.Add(all), all: all}
	for _, row := range todo {
		runs := len(row.Peers)
		run := max(s.Warmup, row.Warmup) + s.Window + overhead
		switch {
		case row.Metric == rows.Memory:
			run = idleRun
		case runs > 1:
			runs++ // the base comes twice
		}
		want := row.Want(s.Rounds)
		b.plans = append(b.plans, time.Duration(runs*want)*run)
		b.least = append(b.least, time.Duration(runs*min(want, leastRounds))*run)
	}
	return b
}

// planned is how long all rows take when it is calm.
func (b *budget) planned() time.Duration { return sum(b.plans) }

// most is how long they take at most: the budget, and the rounds that a row
// gets even then.
func (b *budget) most() time.Duration { return b.all + sum(b.least) }

// deadline is the moment from which on row i, which begins now, waits for calm
// no more and is content with few rounds.
func (b *budget) deadline(now time.Time, i int) time.Time {
	left := b.end.Sub(now)
	if left <= 0 {
		return now
	}
	return now.Add(time.Duration(float64(left) * float64(b.plans[i]) / float64(sum(b.plans[i:]))))
}

func sum(d []time.Duration) time.Duration {
	var all time.Duration
	for _, x := range d {
		all += x
	}
	return all
}
