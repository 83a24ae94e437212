// Package rounds takes rounds: every peer once, beside each other in time, and
// again when somebody disturbed.
package rounds

import (
	"time"

	"github.com/sessioncb/openssl/bench/internal/record"
)

// Order is the order of round n of some peers, of which 0 is the base. The
// base is first and last, so that what drifts during a round falls out of its
// mean. The others begin with another one each round, and every second time
// they go backwards. With once the base comes once, each other round last.
func Order(peers, n int, once bool) []int {
	var others []int
	for i := range peers - 1 {
		others = append(others, 1+(i+n/2)%(peers-1))
	}
	if n%2 == 1 {
		for i, j := 0, len(others)-1; i < j; i, j = i+1, j-1 {
			others[i], others[j] = others[j], others[i]
		}
	}
	switch {
	case len(others) == 0:
		return []int{0}
	case once && n%2 == 1:
		return append(others, 0)
	case once:
		return append([]int{0}, others...)
	}
	return append(append([]int{0}, others...), 0)
}

// A Taker takes rounds. Its times are fields for the tests.
type Taker struct {
	Calm     func(record.Run) bool
	Patience time.Duration                   // for calm, in a round; then it is kept as it is
	Deadline time.Time                       // no patience after it
	Now      func() time.Time                // time.Now
	Wait     func(limit time.Duration) error // returns when it is calm, or after limit
}

// Take takes a round in an order. run measures a peer and says what was not as
// the row says; then the round ends there. What a disturbed run says counts
// only if the round would have been kept: a server that gets no time may fail in
// ways that have no meaning, and one that is wrong is so again.
func (t *Taker) Take(order []int, run func(peer int) (record.Run, []string, error)) (record.Round, []string, error) {
	start := t.Now()
	for attempt := 1; ; attempt++ {
		round := record.Round{Attempts: attempt, Waited: t.Now().Sub(start).Seconds()}
		patient := t.left(start) > 0
		for _, peer := range order {
			r, failures, err := run(peer)
			if err != nil {
				return round, nil, err
			}
			if !t.Calm(r) {
				round.Disturbed = true
				if patient {
					break // it will be repeated, so the rest need not run
				}
			}
			if failures != nil {
				return round, failures, nil
			}
			round.Runs = append(round.Runs, r)
		}
		if !round.Disturbed || !patient {
			return round, nil, nil
		}
		if left := t.left(start); left > 0 {
			if err := t.Wait(left); err != nil {
				return round, nil, err
			}
		}
	}
}

// left is the patience that is left to a round.
func (t *Taker) left(start time.Time) time.Duration {
	now := t.Now()
	return min(start.Add(t.Patience).Sub(now), t.Deadline.Sub(now))
}
