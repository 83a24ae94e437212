package ssl

import "sync"

// An inPlace says where steps are made that take some 200 us in all, with signs
// of life between (cshim/pulse.c): by the goroutine itself, as long as Go's
// monitor leaves it its processor; else on the pool, which costs two changes of
// threads, and not as many as a processor that is taken away.
type inPlace struct {
	mu    sync.Mutex
	left  int  // steps of this round
	pool  bool // where they are made
	slow  int  // signs in this round
	pause int  // steps of the last round that was on the pool; 0: the last in place was good
}

const (
	judged       = 256  // steps in place, in a round
	tooSlow      = 16   // signs in a round
	longestPause = 4096 // steps
)

// resumptions are those of TLS 1.3 that a store answered.
var resumptions = inPlace{left: judged}

// next says where the next step is made.
func (p *inPlace) next() (inPlace bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		p.nextRound()
	}
	p.left--
	return !p.pool
}

// note counts the slow signs of a step that was made in place. Too many end the round.
func (p *inPlace) note(slow int) {
	if slow == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slow += slow; p.slow > tooSlow && !p.pool {
		p.left = 0
	}
}

// nextRound judges the last one. A round on the pool is followed by a trial.
func (p *inPlace) nextRound() {
	switch {
	case p.pool:
		p.pool, p.left = false, judged
	case p.slow > tooSlow:
		p.pause = min(2*p.pause+judged, longestPause)
		p.pool, p.left = true, p.pause
	default:
		p.pause, p.left = 0, judged
	}
	p.slow = 0
}
