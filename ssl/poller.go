package ssl

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// A poller tells the sockets that this package owns when they have something.
// Go's own poller forgets what it knew before each wait, so that who waits must
// have found nothing first, with a system call; this one has an epoll of its own,
// which Go's poller watches as a whole, and remembers.
//
// All that is watched is in the epoll inner. A goroutine of the poller takes what
// comes, whenever Go's poller says that there is something; while a goroutine
// leads (see leader) it does that instead.
type poller struct {
	mu      sync.Mutex
	inner   int
	outer   int       // an epoll of inner and of the leader's timer
	file    *os.File  // of outer, which Go's poller watches; nil: it was not started
	watched []watch   // by descriptor
	added   int32     // that ever were
	users   int       // as long as there are any, the goroutine is there
	running bool      // it is
	unused  time.Time // since when there are none
	limited bool      // its wait ends soon: it may be without users for long enough

	looking sync.Mutex // of who takes from inner; it comes before mu
	events  [128]syscall.EpollEvent
	leader
}

// A source is told of what came to its descriptor, with the poller's lock held.
type source interface{ told(events uint32) }

type watch struct {
	source source
	added  int32 // an event of what had the descriptor before is not one of source
}

// polls is the poller of this process.
var polls poller

// linger is how long the poller's goroutine outlives its last user.
const linger = 50 * time.Millisecond

// Go's package syscall has it as a negative number.
const epollET = 1 << 31

// start makes the epolls, unless they are there.
func (p *poller) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		return nil
	}
	return p.make()
}

// make needs more stack than who waits has; mu is held.
//
//go:noinline
func (p *poller) make() (err error) {
	var fds []int
	defer func() {
		if err != nil {
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}()
	for _, made := range []struct {
		call string
		make func() (int, error)
	}{
		{"epoll_create1", newEpoll}, {"timerfd_create", cshim.Timer}, {"epoll_create1", newEpoll},
	} {
		fd, err := made.make()
		if err != nil {
			return os.NewSyscallError(made.call, err)
		}
		fds = append(fds, fd)
	}
	inner, timer, outer := fds[0], fds[1], fds[2]
	for _, w := range []struct {
		epoll, fd int
		events    uint32
	}{
		{inner, timer, syscall.EPOLLIN | epollET}, {outer, timer, syscall.EPOLLIN | epollET}, {outer, inner, innerEvents},
	} {
		if err := watchFD(w.epoll, syscall.EPOLL_CTL_ADD, w.fd, w.events, 0); err != nil {
			return err
		}
	}
	syscall.SetNonblock(outer, true) // that os.NewFile gives it to Go's poller
	file := os.NewFile(uintptr(outer), "epoll")
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		fds = fds[:2]
		return err // Go's poller cannot watch it
	}
	p.inner, p.outer, p.timer, p.file = inner, outer, timer, file
	return nil
}

// innerEvents are what outer tells of inner, unless somebody leads.
const innerEvents = syscall.EPOLLIN | epollET

func newEpoll() (int, error) { return syscall.EpollCreate1(syscall.EPOLL_CLOEXEC) }

func watchFD(epoll, op, fd int, events uint32, added int32) error {
	event := syscall.EpollEvent{Events: events, Fd: int32(fd), Pad: added}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(epoll, op, fd, &event))
}

// add watches fd. What is there already is told as well.
func (p *poller) add(fd int, s source) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd >= len(p.watched) {
		p.watched = append(p.watched, make([]watch, max(fd+1, 2*len(p.watched))-len(p.watched))...)
	}
	p.added++
	const events = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | epollET
	if err := watchFD(p.inner, syscall.EPOLL_CTL_ADD, fd, events, p.added); err != nil {
		return err
	}
	p.watched[fd] = watch{s, p.added}
	return nil
}

// remove is called before fd is closed, which takes it out of the epoll unless
// the file is shared: others have a descriptor of it too. It says whether s was
// watched.
func (p *poller) remove(fd int, s source, shared bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd >= len(p.watched) || p.watched[fd].source != s {
		return false
	}
	if shared {
		watchFD(p.inner, syscall.EPOLL_CTL_DEL, fd, 0, 0)
	}
	p.watched[fd] = watch{}
	return true
}

// use keeps the goroutine, until leave.
func (p *poller) use() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	if !p.running {
		p.running = true
		go p.poll()
	}
}

func (p *poller) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	if p.users == 0 {
		p.unused = time.Now()
		p.limit()
	}
}

// limit has poll look again when it may end; mu is held.
func (p *poller) limit() {
	if !p.limited {
		p.limited = true
		p.file.SetReadDeadline(p.unused.Add(linger))
	}
}

// poll waits, as long as there are users and a moment more.
func (p *poller) poll() {
	raw, _ := p.file.SyscallConn()
	for {
		err := raw.Read(func(uintptr) bool {
			p.look()
			return false
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(time.Millisecond) // somebody closed a descriptor not his own
		}
		p.mu.Lock()
		p.limited = false
		p.file.SetReadDeadline(time.Time{})
		if p.users == 0 {
			if time.Since(p.unused) >= linger {
				p.running = false
				p.mu.Unlock()
				return
			}
			p.limit()
		}
		p.mu.Unlock()
	}
}

// look tells of what there is now. It ends the term of a leader who is away, and
// begins that of one who waits for it.
func (p *poller) look() {
	p.looking.Lock()
	defer p.looking.Unlock()
	switch {
	case p.next != nil:
		p.nextTerm()
	case !p.term:
		p.takeAll()
	case sinceStart() >= p.ends: // else the timer says so
		p.endTerm()
	}
}

// takeAll tells of what there is now; looking is held.
func (p *poller) takeAll() {
	for n := len(p.events); n == len(p.events); {
		n = cshim.EpollEvents(p.inner, p.events[:])
		p.tell(p.events[:n])
	}
}

// tell says whether the leader's time is over.
func (p *poller) tell(events []syscall.EpollEvent) (over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		if int(e.Fd) == p.timer {
			over = true
		} else if w := p.watched[e.Fd]; w.source != nil && w.added == e.Pad {
			w.source.told(e.Events)
		}
	}
	return over
}
