package ssl

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// door is the net.Listener of a socket whose connections are accepted, and their
// handshakes made, by threads of C.
type door struct {
	ctx    *Context
	c      *cshim.Listener
	addr   net.Addr
	events *os.File

	mu     sync.Mutex // of who accepts, also while it waits
	queue  []*cshim.Conn
	closed chan struct{}
	once   sync.Once
	gone   chan struct{} // closed when all of C's side is
}

// openDoor takes the socket of l, and closes l. It returns nil, and leaves l
// alone, if that cannot be.
func openDoor(l *net.TCPListener, ctx *Context) *door {
	ctx.mu.RLock()
	defer ctx.mu.RUnlock()
	if ctx.closed || !ctx.handshakesInC() {
		return nil
	}
	fd := takeSocket(l)
	if fd < 0 {
		return nil
	}
	ctx.born.Store(true)
	c, event, ok := cshim.Listen(ctx.side.c, fd, runtime.GOMAXPROCS(0), int64(max(ctx.timeout, 0)))
	if !ok {
		syscall.Close(fd)
		return nil
	}
	l.Close()
	d := &door{
		ctx: ctx, c: c, addr: l.Addr(), events: os.NewFile(uintptr(event), "eventfd"),
		closed: make(chan struct{}), gone: make(chan struct{}),
	}
	doors.Lock()
	defer doors.Unlock()
	if doors.open == nil {
		doors.open = map[*door]struct{}{}
	}
	doors.open[d] = struct{}{}
	return d
}

// doors are those that are open: C has their sockets, also of a Listener that
// the program forgot.
var doors struct {
	sync.Mutex
	open map[*door]struct{}
}

// closeDoors ends the doors of c, which is closed.
func (c *Context) closeDoors() {
	doors.Lock()
	var mine []*door
	for d := range doors.open {
		if d.ctx == c {
			mine = append(mine, d)
		}
	}
	doors.Unlock()
	for _, d := range mine {
		d.stop()
	}
}

// handshakesInC says whether nothing in the handshakes of a server with c is
// for Go: no lookup, no choice of a Context, no early data. c.mu is held.
func (c *Context) handshakesInC() bool {
	return c.gated && c.getHost == nil && c.maxEarlyData == 0 && c.bits&cshim.Get == 0
}

// Addr is that of the net.TCPListener.
func (d *door) Addr() net.Addr { return d.addr }

// Accept returns a *Conn whose handshake has ended, well or not.
func (d *door) Accept() (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for count := make([]byte, 8); len(d.queue) == 0; {
		select {
		case <-d.closed:
			return nil, d.ended()
		default:
		}
		if _, err := d.events.Read(count); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(time.Millisecond) // somebody closed a descriptor not his own: look without it
		}
		d.queue = d.c.Take(d.queue)
		if errno := d.c.Fault(); errno != 0 && len(d.queue) == 0 {
			return nil, d.fault(os.NewSyscallError("accept4", errno))
		}
	}
	s := d.queue[0]
	d.queue = d.queue[1:]
	d.c.Taken()
	c := d.conn(s)
	return c, nil
}

// ended is why Accept returns nothing.
func (d *door) ended() error {
	d.ctx.mu.RLock()
	defer d.ctx.mu.RUnlock()
	if d.ctx.closed {
		return ErrContextClosed
	}
	return d.fault(net.ErrClosed)
}

func (d *door) fault(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: d.addr, Err: err}
}

// Close ends accepting, and the connections that Accept did not return. It
// returns when the address is free again, or after a second, if a thread of C is
// that long in a step.
func (d *door) Close() error {
	if !d.stop() {
		return d.fault(net.ErrClosed)
	}
	select {
	case <-d.gone:
	case <-time.After(time.Second):
	}
	return nil
}

// stop says whether it was this call that stopped it.
func (d *door) stop() (now bool) {
	d.once.Do(func() {
		now = true
		close(d.closed)
		d.events.SetReadDeadline(time.Unix(1, 0)) // Accept wakes
		d.c.Close()
		go d.drain()
	})
	return now
}

// drain ends what nobody will accept, until C has left the listener.
func (d *door) drain() {
	d.mu.Lock() // no Accept is left
	defer d.mu.Unlock()
	d.events.SetReadDeadline(time.Time{})
	for count := make([]byte, 8); ; {
		gone := d.c.Gone()
		d.queue = d.c.Take(d.queue)
		for _, s := range d.queue {
			d.conn(s).Close()
		}
		d.queue = nil
		if gone {
			break
		}
		if _, err := d.events.Read(count); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
	d.ctx.side.after(d.c.Free())
	d.events.Close()
	doors.Lock()
	delete(doors.open, d)
	doors.Unlock()
	close(d.gone)
}

// conn makes the Conn of s.
func (d *door) conn(s *cshim.Conn) *Conn {
	fd, peer, ended := s.Accepted()
	nc := newSocket(fd, peer, ended, d.addr)
	c := makeConn(nc, nc, d.ctx, true)
	c.ssl = s
	c.hs.given = true
	c.keep()
	d.ctx.side.after(s.StepResult().Events) // it may be closed before it looks at them
	return c
}
