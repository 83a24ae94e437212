package ssl

import (
	"errors"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// A poller tells the sockets that this package owns when they have something.
// Go's own poller forgets what it knew before each wait, so that who waits must
// have found nothing first, with a system call; this one has an epoll of its own,
// which Go's poller watches as a whole, and remembers.
type poller struct {
	mu      sync.Mutex
	epoll   int
	file    *os.File     // of the epoll; nil: it was not started
	watched []*readiness // by descriptor
	n       int          // of them
	added   int32        // that ever were
	running bool         // poll is
	idle    bool         // and is to end, unless something is watched by then
}

// polls is the poller of this process.
var polls poller

// lingers is how long the poller's goroutine outlives the last socket.
const lingers = 50 * time.Millisecond

// Go's package syscall has it as a negative number.
const epollET = 1 << 31

// start makes the epoll, unless it is there.
func (p *poller) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		return nil
	}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	syscall.SetNonblock(epoll, true) // that os.NewFile gives it to Go's poller
	file := os.NewFile(uintptr(epoll), "epoll")
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		return err // Go's poller cannot watch it
	}
	p.epoll, p.file = epoll, file
	return nil
}

// add watches fd. What is there already is told as well.
func (p *poller) add(fd int, r *readiness) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd >= len(p.watched) {
		p.watched = append(p.watched, make([]*readiness, max(fd+1, 2*len(p.watched))-len(p.watched))...)
	}
	// An event of a socket that had the descriptor before is not one of r.
	p.added++
	r.added = p.added
	event := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | epollET, Fd: int32(fd), Pad: r.added,
	}
	if err := syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	p.watched[fd] = r
	p.n++
	if !p.running {
		p.running = true
		go p.poll()
	}
	return nil
}

// remove is called before fd is closed.
func (p *poller) remove(fd int) {
	// A child that is being started may keep the descriptor open for a moment.
	syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, fd, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched[fd] = nil
	p.n--
	if p.n == 0 && !p.idle {
		p.idle = true
		p.file.SetReadDeadline(time.Now().Add(lingers))
	}
}

// poll waits, as long as there are sockets and a moment more.
func (p *poller) poll() {
	raw, _ := p.file.SyscallConn()
	var events [128]syscall.EpollEvent
	for {
		err := raw.Read(func(fd uintptr) bool {
			for p.take(fd, events[:]) == len(events) {
			}
			return false
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(time.Millisecond) // somebody closed a descriptor not his own
		}
		p.mu.Lock()
		p.idle = false
		p.file.SetReadDeadline(time.Time{})
		if p.n == 0 {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// take tells of what there is now, and returns how many events that were.
func (p *poller) take(fd uintptr, events []syscall.EpollEvent) int {
	n := cshim.EpollEvents(fd, events)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events[:n] {
		if r := p.watched[e.Fd]; r != nil && r.added == e.Pad {
			r.tell(e.Events)
		}
	}
	return n
}

// readiness is what is known of a socket.
type readiness struct {
	in, out half
	added   int32
}

func (r *readiness) tell(events uint32) {
	// EPOLLERR alone may be news of a socket that lives on.
	if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		r.in.tell(events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP) != 0)
	}
	if events&(syscall.EPOLLOUT|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		r.out.tell(events&syscall.EPOLLHUP != 0)
	}
}

// A half is one direction.
type half struct {
	using    sync.Mutex // of who tries and waits; the others below are for anybody
	ready    atomic.Bool
	ended    atomic.Bool   // for good: no more is told
	turn     chan struct{} // has a token when there is something to look at
	deadline atomic.Int64  // of sinceStart; 0: none
	mu       sync.Mutex    // of timer
	timer    *time.Timer
}

func (h *half) tell(ended bool) {
	if ended {
		h.ended.Store(true)
	}
	if !h.ready.Swap(true) || ended {
		h.wake()
	}
}

func (h *half) wake() {
	select {
	case h.turn <- struct{}{}:
	default:
	}
}

var processStart = time.Now()

// sinceStart is the monotonic clock.
func sinceStart() int64 { return int64(time.Since(processStart)) }

func (h *half) setDeadline(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.IsZero() {
		h.deadline.Store(0)
		if h.timer != nil {
			h.timer.Stop()
		}
		return
	}
	left := time.Until(t)
	at := max(sinceStart()+int64(left), 1)
	if left > 0 && at == 1 {
		at = math.MaxInt64 // centuries
	}
	h.deadline.Store(at)
	switch {
	case left <= 0:
		h.wake()
	case h.timer == nil:
		h.timer = time.AfterFunc(left, h.wake)
	default:
		h.timer.Reset(left)
	}
}

func (h *half) late() bool {
	d := h.deadline.Load()
	return d != 0 && sinceStart() >= d
}

func (h *half) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	h.wake()
}
