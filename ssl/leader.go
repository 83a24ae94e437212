package ssl

import (
	"runtime"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// A leader is a goroutine that waits for bytes, and does so inside epoll_wait, in
// the place of the poller's goroutine. On a server with little to do that is the
// one that runs next: it goes on without a change of goroutines, and Go's
// scheduler, which costs more than all the rest when it has nothing to do, never
// finds that out.
//
// Meanwhile the thread keeps its processor of Go's from other goroutines, and
// with GOMAXPROCS 1 from Go's poller. So there is a limit: a term, after which
// those have their turn; and there is no term when other goroutines want to run,
// nor after terms in which little came.
type leader struct {
	timer  int  // a timerfd, which ends the term
	term   bool // outer does not tell of inner
	terms  int  // that ever were
	came   int  // in this term, for who led
	pause  int  // as many waits without a term are left
	pauses int  // as many there were last time
}

const (
	termLength = 500 * time.Microsecond
	worthIt    = 6                      // events in a term
	mostPauses = 512                    // waits
	isBusy     = 100 * time.Microsecond // that other goroutines run, when they are let
)

// lead waits in the poller's place, for h among others. It says whether h is to
// be looked at again; if not, it is told.
func (p *poller) lead(h *half) bool {
	if !p.looking.TryLock() {
		return false
	}
	defer p.looking.Unlock()
	if !p.term && p.pause > 0 {
		p.pause--
		return false
	}
	began := sinceStart()
	runtime.Gosched()
	switch {
	case h.ready.Load():
		return true
	case sinceStart()-began > int64(isBusy):
		p.came = 0 // others are the better for it
		p.endTerm()
		return false
	case !p.term && !p.beginTerm():
		return false
	}
	n := cshim.EpollWait(p.inner, p.events[:])
	over := p.tell(p.events[:n])
	again := h.ready.Load()
	if again {
		p.came++
	}
	if over {
		p.endTerm()
		return again
	}
	return true
}

func (p *poller) beginTerm() bool {
	if watchFD(p.outer, syscall.EPOLL_CTL_MOD, p.inner, 0, 0) != nil {
		return false
	}
	cshim.SetTimer(p.timer, int64(termLength))
	p.term, p.came = true, 0
	p.terms++
	return true
}

// endTerm lets the poller's goroutine be told again, also of what is there already.
func (p *poller) endTerm() {
	if p.term {
		p.term = false
		watchFD(p.outer, syscall.EPOLL_CTL_MOD, p.inner, innerEvents, 0)
	}
	if p.came >= worthIt {
		p.pauses = 0
	} else {
		p.pauses = min(2*p.pauses+1, mostPauses)
	}
	p.pause = p.pauses
}
