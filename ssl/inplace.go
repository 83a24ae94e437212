package ssl

import (
	"sync"

	"github.com/sessioncb/openssl/cshim"
)

// An inPlace says where steps are made that take some 200 us in all, with signs
// of life between (cshim/pulse.c): by the goroutine itself, as long as Go's
// monitor leaves it its processor; else on the pool, which costs two changes of
// threads, and not as many as a processor that is taken away.
type inPlace struct {
	mu    sync.Mutex
	left  int    // steps of this round
	pool  bool   // where they are made
	slow  uint64 // signs that were slow when it began
	pause int    // steps of the last round that was on the pool; 0: the last in place was good
}

const (
	judged       = 256  // steps in place, in a round
	tooSlow      = 16   // signs in a round
	longestPause = 4096 // steps
)

// resumptions are those of TLS 1.3 that a store answered.
var resumptions = inPlace{left: judged}

func (p *inPlace) step() bool {
	_, slow := cshim.Pulses()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		p.nextRound(slow)
	}
	p.left--
	return !p.pool
}

// nextRound judges the last one. A round on the pool is followed by a trial.
func (p *inPlace) nextRound(slow uint64) {
	switch {
	case p.pool:
		p.pool, p.left = false, judged
	case slow-p.slow > tooSlow:
		p.pause = min(2*p.pause+judged, longestPause)
		p.pool, p.left = true, p.pause
	default:
		p.pause, p.left = 0, judged
	}
	p.slow = slow
}
