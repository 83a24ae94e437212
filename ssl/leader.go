package ssl

import (
	"runtime"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// A leader is a goroutine that is about to wait, and does so inside epoll_wait, in
// the place of the poller's goroutine. On a server with little to do it is the
// one that runs next: it goes on without a change of goroutines, and Go's
// scheduler, which costs more than all the rest when it has nothing to do, never
// finds that out.
//
// Meanwhile the thread keeps its processor of Go's from other goroutines, and
// with GOMAXPROCS 1 from Go's poller. So there is a limit: a term, after which
// those have their turn; and there is no term when other goroutines want to run,
// nor after terms in which little came. The end of a leader's wait that is not an
// event (Close, a deadline) is seen at the end of the term.
type leader struct {
	timer  int   // a timerfd, which ends the term
	term   bool  // outer does not tell of inner
	ends   int64 // of the term, sinceStart
	next   *half // who leads in the next term, as soon as Go's poller has had its turn
	came   int   // in this term, for who led
	row    int   // of terms, how many began without a pause before them
	pause  int   // as many waits without a term are left
	pauses int   // as many there were last time
	terms  int   // that ever were, for tests
}

const (
	termLength = 500 * time.Microsecond
	worthIt    = 3                      // events in a term
	mostInARow = 64                     // terms
	mostPauses = 512                    // waits
	isBusy     = 100 * time.Microsecond // that other goroutines run, when they are let
)

// lead waits in the poller's place, for h among others. It says whether h is to
// be looked at again; if not, it is told.
func (p *poller) lead(h *half) bool {
	if !p.mayLead() {
		return false
	}
	began := sinceStart()
	runtime.Gosched()
	busy := sinceStart()-began > int64(isBusy)
	if !p.looking.TryLock() {
		return false
	}
	defer p.looking.Unlock()
	switch {
	case h.news.Load() != 0:
		return true
	case p.next != nil || !p.term && p.pause > 0: // another one led meanwhile
		return false
	case busy:
		p.came = 0 // others are the better for it
		p.endTerm()
		return false
	case !p.term && !p.beginTerm():
		return false
	}
	n := cshim.EpollWait(p.inner, p.events[:])
	over := p.tell(p.events[:n])
	if h.news.Load() != 0 {
		p.came++
	}
	if !over {
		return true
	}
	if p.came >= worthIt && p.row+1 < mostInARow {
		p.next = h
	} else {
		p.endTerm()
	}
	return false
}

// mayLead counts the pauses.
func (p *poller) mayLead() bool {
	if !p.looking.TryLock() {
		return false
	}
	defer p.looking.Unlock()
	switch {
	case p.next != nil:
		return false
	case p.term || p.pause == 0:
		return true
	}
	p.pause--
	return false
}

// beginTerm leaves it to the timer to wake the poller's goroutine.
func (p *poller) beginTerm() bool {
	if watchFD(p.outer, syscall.EPOLL_CTL_MOD, p.inner, 0, 0) != nil {
		return false
	}
	p.term, p.row = true, 0
	p.startTerm()
	return true
}

func (p *poller) startTerm() {
	p.came = 0
	p.terms++
	p.ends = sinceStart() + int64(termLength)
	cshim.SetTimer(p.timer, int64(termLength))
}

// nextTerm is called by the poller's goroutine, which the timer has woken. Go's
// poller, and who waits for that, had its turn, and Go's scheduler found
// something to do: were there nothing, that would cost what the term spares, since
// the runtime's monitor sleeps, and is woken.
func (p *poller) nextTerm() {
	p.takeAll()
	p.row++
	p.startTerm()
	p.next.wake()
	p.next = nil
}

// endTerm lets the poller's goroutine be told of what comes, and tells of what is
// there already: outer does not.
func (p *poller) endTerm() {
	if p.term {
		p.term, p.next = false, nil
		watchFD(p.outer, syscall.EPOLL_CTL_MOD, p.inner, innerEvents, 0)
		p.takeAll()
	}
	if p.came >= worthIt {
		p.pauses = 0
	} else {
		p.pauses = min(2*p.pauses+1, mostPauses)
	}
	p.pause = max(p.pauses, 1)
}
