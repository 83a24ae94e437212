package sessioncb

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// ErrBreakerOpen: calls of this kind failed in a row, and the Store is given a
// pause (CacheOptions.BreakerFailures, BreakerPause).
var ErrBreakerOpen = errors.New("sessioncb: the circuit breaker is open: the store is not asked")

// A BreakerState says what a circuit breaker does.
type BreakerState int

// The states of a circuit breaker.
const (
	// BreakerClosed: all calls are made.
	BreakerClosed BreakerState = iota
	// BreakerHalfOpen: one call at a time is made, to see whether it works.
	BreakerHalfOpen
	// BreakerOpen: no call is made.
	BreakerOpen
)

// String returns "closed", "half-open" or "open".
func (s BreakerState) String() string {
	switch s {
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return "closed"
}

// A verdict is what a call says of the store.
type verdict int

const (
	worked verdict = iota
	broke
	saysNothing // the connection ended, or the call was not made
)

// errBroke and errNothing are verdicts in the breaker's language.
var (
	errBroke   = errors.New("broke")
	errNothing = errors.New("nothing")
)

// A breaker stops calls of one kind after some have failed in a row, and tries
// one now and then. It goes by time.Now, not by CacheOptions.Now. nil stops
// nothing.
type breaker struct {
	kind     string // "get", "claim", "put", "delete"
	log      func() *slog.Logger
	breaker  *gobreaker.TwoStepCircuitBreaker[struct{}]
	opened   atomic.Uint64 // how often it went from closed to open
	failures atomic.Uint64 // probes that failed

	news    atomic.Bool // there are changes
	mu      sync.Mutex
	changes []change
}

type change struct{ from, to gobreaker.State }

func newBreaker(kind string, failures int, pause time.Duration, log func() *slog.Logger) *breaker {
	b := &breaker{kind: kind, log: log}
	b.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1, // one probe, whose success closes it
		Timeout:     pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int64(c.ConsecutiveFailures) >= int64(failures) },
		IsExcluded:  func(err error) bool { return err == errNothing },
		// Under the breaker's lock, where no logger is called.
		OnStateChange: func(_ string, from, to gobreaker.State) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changes = append(b.changes, change{from, to})
			b.news.Store(true)
		},
	})
	return b
}

// allow says whether a call may be made. It was made when done was called.
func (b *breaker) allow() (done func(verdict), err error) {
	if b == nil {
		return func(verdict) {}, nil
	}
	report, err := b.breaker.Allow()
	if err != nil {
		b.tell()
		return nil, ErrBreakerOpen
	}
	return func(v verdict) {
		report([...]error{worked: nil, broke: errBroke, saysNothing: errNothing}[v])
		b.tell()
	}, nil
}

// tell counts and logs what has changed. A probe is no news while the store
// is down: it is logged for debugging only.
func (b *breaker) tell() {
	if !b.news.Load() {
		return
	}
	b.mu.Lock()
	changes := b.changes
	b.changes = nil
	b.news.Store(false)
	b.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.to == gobreaker.StateClosed:
			b.log().Info("sessioncb: circuit breaker closed: the session store is used again", "call", b.kind)
		case c.to == gobreaker.StateHalfOpen:
			b.log().Debug("sessioncb: circuit breaker half-open: the next call probes the session store", "call", b.kind)
		case c.from == gobreaker.StateHalfOpen:
			b.failures.Add(1)
			b.log().Debug("sessioncb: circuit breaker open again: the session store still fails", "call", b.kind)
		default:
			b.opened.Add(1)
			b.log().Warn("sessioncb: circuit breaker open: the session store is not used", "call", b.kind)
		}
	}
}

func (b *breaker) stats() BreakerStats {
	if b == nil {
		return BreakerStats{}
	}
	s := BreakerStats{}
	switch b.breaker.State() {
	case gobreaker.StateOpen:
		s.State = BreakerOpen
	case gobreaker.StateHalfOpen:
		s.State = BreakerHalfOpen
	}
	b.tell()
	s.Opened, s.FailedProbes = b.opened.Load(), b.failures.Load()
	return s
}
