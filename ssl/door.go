package ssl

import (
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
	ctx   *Context
	c     *cshim.Listener
	addr  net.Addr
	event int // a descriptor, of which ready knows
	ready *readiness

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
	d := &door{
		ctx: ctx, addr: l.Addr(), ready: &readiness{}, closed: make(chan struct{}), gone: make(chan struct{}),
	}
	var err error
	if d.event, err = cshim.Event(); err != nil {
		syscall.Close(fd)
		return nil
	}
	ctx.born.Store(true)
	ok := polls.add(d.event, d.ready) == nil
	if ok {
		d.c, ok = cshim.Listen(ctx.side.c, fd, d.event, runtime.GOMAXPROCS(0), int64(max(ctx.timeout, 0)))
	}
	if !ok {
		polls.remove(d.event, d.ready, false)
		syscall.Close(d.event)
		syscall.Close(fd)
		return nil
	}
	polls.use()
	l.Close()
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
	for len(d.queue) == 0 {
		// C's side is there as long as d is not closed, and this holds mu.
		if err := d.over(); err != nil {
			return nil, err
		}
		if err := d.ready.in.wait(d.over); err != nil {
			return nil, err
		}
		d.take()
		if errno := d.c.Fault(); errno != 0 && len(d.queue) == 0 {
			return nil, d.fault(os.NewSyscallError("accept4", errno))
		}
	}
	s := d.queue[0]
	d.queue = d.queue[1:]
	d.c.Taken()
	return d.conn(s), nil
}

// take takes what C has given.
func (d *door) take() {
	d.ready.in.take()
	d.queue = d.c.Take(d.queue)
}

// over is why Accept returns nothing more, or nil.
func (d *door) over() error {
	select {
	case <-d.closed:
	default:
		return nil
	}
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
		d.ready.in.wake() // Accept
		d.c.Close()
		go d.drain()
	})
	return now
}

// drain ends what nobody will accept, until C has left the listener.
func (d *door) drain() {
	d.mu.Lock() // no Accept is left
	defer d.mu.Unlock()
	for gone := false; ; {
		d.take()
		for _, s := range d.queue {
			d.conn(s).Close()
		}
		d.queue = nil
		if gone {
			break
		}
		// C tells of it unless it told of something that was not taken then.
		if gone = d.c.Gone(); !gone {
			d.ready.in.wait(func() error { return nil })
		}
	}
	d.ctx.side.after(d.c.Free())
	polls.remove(d.event, d.ready, false)
	polls.leave()
	syscall.Close(d.event)
	doors.Lock()
	delete(doors.open, d)
	doors.Unlock()
	close(d.gone)
}

// conn makes the Conn of s. Nearly always the handshake is over and nothing is left
// to do for it.
func (d *door) conn(s *cshim.Conn) *Conn {
	var r cshim.Result
	s.StepResult(&r)
	fd, peer, ended := s.Accepted()
	nc := newSocket(fd, peer, ended, d.addr)
	c := makeConn(nc, d.ctx, true)
	c.ssl = s
	if r.Status == cshim.Done && r.WriteErr == 0 && r.Pending == 0 && !r.Sessions && !r.Held {
		c.established.Store(true)
	} else {
		c.hs.Store(newHandshakeStep())
		c.hs.Load().given = true
	}
	c.keep()
	d.ctx.side.after(r.Events) // it may be closed before it looks at them
	return c
}
