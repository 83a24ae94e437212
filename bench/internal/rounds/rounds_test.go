package rounds

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
)

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		peers, n int
		once     bool
		want     []int
	}{
		{1, 0, false, []int{0}},
		{1, 1, true, []int{0}},
		{2, 0, false, []int{0, 1, 0}},
		{2, 1, false, []int{0, 1, 0}},
		{4, 0, false, []int{0, 1, 2, 3, 0}},
		{4, 1, false, []int{0, 3, 2, 1, 0}},
		{4, 2, false, []int{0, 2, 3, 1, 0}},
		{4, 3, false, []int{0, 1, 3, 2, 0}},
		{3, 0, true, []int{0, 1, 2}},
		{3, 1, true, []int{2, 1, 0}},
	} {
		if d := cmp.Diff(c.want, Order(c.peers, c.n, c.once)); d != "" {
			t.Errorf("round %d of %d peers, once %v: (-want +got)\n%s", c.n, c.peers, c.once, d)
		}
	}
	// In as many rounds as twice the others, each was in each place equally often.
	const peers = 5
	count := map[[2]int]int{}
	for n := range 2 * (peers - 1) {
		for place, peer := range Order(peers, n, false) {
			count[[2]int{place, peer}]++
		}
	}
	for place := 1; place < peers; place++ {
		for peer := 1; peer < peers; peer++ {
			if got := count[[2]int{place, peer}]; got != 2 {
				t.Errorf("peer %d was %d times in place %d", peer, got, place)
			}
		}
	}
}

// world is a clock that runs and waits advance, and a script of how much
// others take in each run.
type world struct {
	now    time.Time
	others []float64
	ran    []int
	waits  []time.Duration
}

func (w *world) taker(patience, deadline time.Duration) *Taker {
	return &Taker{
		Calm:     func(r record.Run) bool { return host.DefaultLimits.Calm(r.Others, r.Stolen) },
		Patience: patience, Deadline: w.now.Add(deadline),
		Now: func() time.Time { return w.now },
		Wait: func(limit time.Duration) error {
			w.waits = append(w.waits, limit)
			w.now = w.now.Add(min(limit, 5*time.Second))
			return nil
		},
	}
}

func (w *world) run(peer int) (record.Run, []string, error) {
	others := 0.0
	if n := len(w.ran); n < len(w.others) {
		others = w.others[n]
	} else if len(w.others) > 0 {
		others = w.others[len(w.others)-1]
	}
	w.ran = append(w.ran, peer)
	w.now = w.now.Add(time.Second)
	return record.Run{Peer: string(rune('a' + peer)), Others: others}, nil, nil
}

func TestTake(t *testing.T) {
	const s = time.Second
	order := []int{0, 1, 0}
	for _, c := range []struct {
		why                string
		others             []float64
		patience, deadline time.Duration
		ran                []int
		waits              int
		disturbed          bool
		attempts           int
		waited             float64
	}{
		{"calm at once", []float64{0}, 60 * s, time.Hour, []int{0, 1, 0}, 0, false, 1, 0},
		{"the second run is disturbed: at once from the start", []float64{0, 0.5, 0}, 60 * s, time.Hour, []int{0, 1, 0, 1, 0}, 1, false, 2, 7},
		{"never calm: the last attempt is whole, and kept", []float64{0.5}, 10 * s, time.Hour, []int{0, 0, 0, 1, 0}, 2, true, 3, 10},
		{"after the deadline there is no patience", []float64{0.5}, 60 * s, 0, []int{0, 1, 0}, 0, true, 1, 0},
		{"no patience, but calm", []float64{0}, 0, 0, []int{0, 1, 0}, 0, false, 1, 0},
	} {
		w := &world{now: time.Unix(1e9, 0), others: c.others}
		round, failures, err := w.taker(c.patience, c.deadline).Take(order, w.run)
		if err != nil || failures != nil {
			t.Fatalf("%s: %q, %v", c.why, failures, err)
		}
		if d := cmp.Diff(c.ran, w.ran); d != "" {
			t.Errorf("%s: who ran (-want +got)\n%s", c.why, d)
		}
		if len(round.Runs) != len(order) || len(w.waits) != c.waits {
			t.Errorf("%s: %d runs, waits %v", c.why, len(round.Runs), w.waits)
		}
		if round.Disturbed != c.disturbed || round.Attempts != c.attempts || round.Waited != c.waited {
			t.Errorf("%s: disturbed %v, %d attempts, waited %v", c.why, round.Disturbed, round.Attempts, round.Waited)
		}
	}
}

func TestTakeFailure(t *testing.T) {
	w := &world{now: time.Unix(1e9, 0)}
	want := errors.New("gone")
	_, _, err := w.taker(time.Minute, time.Hour).Take([]int{0, 1, 0}, func(peer int) (record.Run, []string, error) {
		if peer == 1 {
			return record.Run{}, nil, want
		}
		return w.run(peer)
	})
	if !errors.Is(err, want) || len(w.ran) != 1 {
		t.Errorf("%v after %v", err, w.ran)
	}
	// Wrong and disturbed: first of all it is repeated.
	for _, c := range []struct {
		why      string
		others   []float64
		patience time.Duration
		wrong    int // runs, from the first on
		failures int
		runs     int
	}{
		{"wrong in a calm run", []float64{0}, time.Minute, 9, 1, 1},
		{"wrong while disturbed, right when calm", []float64{5, 0}, time.Minute, 1, 0, 2},
		{"wrong while disturbed, and when calm", []float64{5, 0}, time.Minute, 9, 1, 2},
		{"wrong and disturbed, and no patience is left", []float64{5}, 0, 9, 1, 1},
	} {
		w := &world{now: time.Unix(1e9, 0), others: c.others}
		_, failures, err := w.taker(c.patience, time.Hour).Take([]int{0}, func(peer int) (record.Run, []string, error) {
			r, _, err := w.run(peer)
			if len(w.ran) <= c.wrong {
				return r, []string{"not resumed"}, err
			}
			return r, nil, err
		})
		if len(failures) != c.failures || err != nil || len(w.ran) != c.runs {
			t.Errorf("%s: %q, %v, %d runs", c.why, failures, err, len(w.ran))
		}
	}
}
