package ssl

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// socket is a TCP connection that a door accepted: a net.Conn, and the
// transport of its Conn. Its descriptor is not in Go's poller.
type socket struct {
	fd      int
	state   atomic.Int64 // users of fd, and whether it is closed
	watch   sync.Mutex   // of who gives it to the poller
	watched atomic.Bool
	peer    [cshim.PeerSize]byte // a struct sockaddr_in or sockaddr_in6
	*readiness
	listens net.Addr // the listener's address
	local   atomic.Pointer[net.TCPAddr]
	owner   *Conn // that closes the descriptor if it is forgotten, so the socket keeps it; or nil
}

// The bits of state above all users: no more of them are let in, and the
// descriptor was closed.
const (
	ending = 1 << 32
	ended  = 1 << 33
)

var (
	_ net.Conn     = (*socket)(nil)
	_ transport    = (*socket)(nil)
	_ syscall.Conn = (*socket)(nil)
)

// newSocket takes fd. What becomes of a socket that is forgotten is for who owns it.
func newSocket(fd int, peer [cshim.PeerSize]byte, over bool, listens net.Addr) *socket {
	s := &socket{fd: fd, readiness: &readiness{}, peer: peer, listens: listens}
	s.in.tell(over)
	s.out.tell(false)
	return s
}

// close closes the descriptor, once.
func (r *readiness) close(fd int) {
	if r.closed.Swap(true) {
		return
	}
	if polls.remove(fd, r, r.shared.Load()) {
		polls.leave()
	}
	syscall.Close(fd)
}

// use keeps the descriptor from being closed until leave.
func (s *socket) use() bool {
	if s.state.Add(1)&ending != 0 {
		s.leave()
		return false
	}
	return true
}

func (s *socket) leave() {
	if s.state.Add(-1) == ending && s.state.CompareAndSwap(ending, ending|ended) {
		s.close(s.fd)
	}
}

// Close closes the descriptor, as soon as no call is using it. Calls that wait
// return net.ErrClosed.
func (s *socket) Close() error {
	for {
		old := s.state.Load()
		if old&ending != 0 {
			return s.fault("close", net.ErrClosed)
		}
		if s.state.CompareAndSwap(old, (old|ending)+1) {
			break
		}
	}
	s.in.stop()
	s.out.stop()
	s.leave()
	return nil
}

func (s *socket) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// input runs f as long as it waits for bytes of the peer.
func (s *socket) input(f step) error { return s.run(&s.in, f) }

// output runs f as long as it waits for room.
func (s *socket) output(f step) error { return s.run(&s.out, f) }

func (s *socket) conn() net.Conn { return s }

func (s *socket) established() {}

// op names what waits for h in errors.
func (s *socket) op(h *half) string {
	if h == &s.in {
		return "read"
	}
	return "write"
}

func (s *socket) run(h *half, f step) error {
	h.using.Lock()
	defer h.using.Unlock()
	for {
		if h.late() {
			return s.fault(s.op(h), os.ErrDeadlineExceeded)
		}
		if !s.use() {
			return s.fault(s.op(h), net.ErrClosed)
		}
		// What comes after this is told again. There is room nearly always, and what
		// does not wait leaves it at that.
		quiet := h == &s.in && !h.take()
		wait, left, _ := f.try(cshim.IO{FD: s.fd, Quiet: quiet})
		if h == &s.in && left == 0 {
			h.news.Or(isReady)
		}
		s.leave()
		if !wait {
			return nil
		}
		if h == &s.out && h.take() {
			continue
		}
		if err := s.wait(h); err != nil {
			return err
		}
	}
}

// wait returns when there is something to try.
func (s *socket) wait(h *half) error {
	if !s.watched.Load() {
		if err := s.giveToPoller(); err != nil {
			return s.fault(s.op(h), err)
		}
	}
	return h.wait(func() error {
		switch {
		case s.state.Load()&ending != 0:
			return s.fault(s.op(h), net.ErrClosed)
		case h.late():
			return s.fault(s.op(h), os.ErrDeadlineExceeded)
		}
		return nil
	})
}

// giveToPoller is for the first wait: not all connections come to one.
func (s *socket) giveToPoller() error {
	s.watch.Lock()
	defer s.watch.Unlock()
	if s.watched.Load() {
		return nil
	}
	if !s.use() {
		return net.ErrClosed
	}
	defer s.leave()
	if err := polls.start(); err != nil {
		return err
	}
	if err := polls.add(s.fd, s.readiness); err != nil {
		return err
	}
	polls.use()
	s.watched.Store(true)
	return nil
}

// Read reads from the descriptor, beneath TLS.
func (s *socket) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var fault error
	err = s.input(stepFunc(func(cshim.IO) (wait bool, left, _ int) {
		n, fault = ignoringEINTR(func() (int, error) { return syscall.Read(s.fd, b) })
		if fault == syscall.EAGAIN {
			return true, 1, 0
		}
		return false, 0, 0
	}))
	switch {
	case err != nil:
		return 0, err
	case fault != nil:
		return 0, s.fault("read", os.NewSyscallError("read", fault))
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes to the descriptor, beneath TLS.
func (s *socket) Write(b []byte) (n int, err error) {
	var fault error
	err = s.output(stepFunc(func(cshim.IO) (wait bool, _, _ int) {
		for n < len(b) {
			m, err := ignoringEINTR(func() (int, error) {
				return syscall.SendmsgN(s.fd, b[n:], nil, nil, syscall.MSG_NOSIGNAL)
			})
			if err == syscall.EAGAIN {
				return true, 0, 0
			} else if err != nil {
				fault = err
				break
			}
			n += m
		}
		return false, 0, 0
	}))
	if err == nil && fault != nil {
		err = s.fault("write", os.NewSyscallError("write", fault))
	}
	return n, err
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func (s *socket) SetDeadline(t time.Time) error { return s.setDeadline(t, &s.in, &s.out) }

func (s *socket) SetReadDeadline(t time.Time) error { return s.setDeadline(t, &s.in) }

func (s *socket) SetWriteDeadline(t time.Time) error { return s.setDeadline(t, &s.out) }

func (s *socket) setDeadline(t time.Time, halves ...*half) error {
	if !s.use() {
		return s.fault("set", net.ErrClosed)
	}
	defer s.leave()
	for _, h := range halves {
		h.setDeadline(t)
	}
	return nil
}

// SyscallConn is for the options of the socket. Who has the descriptor may make
// another one of it.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	s.shared.Store(true)
	return rawSocket{s}, nil
}

type rawSocket struct{ s *socket }

func (r rawSocket) Control(f func(fd uintptr)) error {
	if !r.s.use() {
		return r.s.fault("raw-control", net.ErrClosed)
	}
	defer r.s.leave()
	f(uintptr(r.s.fd))
	return nil
}

// try gives the descriptor back if f panics, or ends its goroutine.
func (r rawSocket) try(f func(fd uintptr) (done bool), fd int) (done bool) {
	returned := false
	defer func() {
		if !returned {
			r.s.leave()
		}
	}()
	done = f(uintptr(fd))
	returned = true
	return done
}

func (r rawSocket) Read(f func(fd uintptr) (done bool)) error {
	return r.s.input(stepFunc(func(io cshim.IO) (wait bool, left, _ int) {
		if r.try(f, io.FD) {
			return false, 0, 0
		}
		return true, 1, 0
	}))
}

func (r rawSocket) Write(f func(fd uintptr) (done bool)) error {
	return r.s.output(stepFunc(func(io cshim.IO) (wait bool, _, _ int) { return !r.try(f, io.FD), 0, 0 }))
}

func (s *socket) LocalAddr() net.Addr {
	if a := s.local.Load(); a != nil {
		return a
	}
	if !s.use() {
		return s.listens
	}
	defer s.leave()
	sa, err := syscall.Getsockname(s.fd)
	if err != nil {
		return s.listens
	}
	a := &net.TCPAddr{}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		a.IP, a.Port = sa.Addr[:], sa.Port
	case *syscall.SockaddrInet6:
		a.IP, a.Port, a.Zone = sa.Addr[:], sa.Port, zone(sa.ZoneId)
	}
	s.local.Store(a)
	return a
}

func (s *socket) RemoteAddr() net.Addr {
	p := slices.Clone(s.peer[:])
	a := &net.TCPAddr{Port: int(binary.BigEndian.Uint16(p[2:]))}
	if binary.NativeEndian.Uint16(p) == syscall.AF_INET {
		a.IP = net.IP(p[4:8])
	} else {
		a.IP, a.Zone = net.IP(p[8:24]), zone(binary.NativeEndian.Uint32(p[24:]))
	}
	return a
}

// zone names a scope of IPv6, as package net does.
func zone(id uint32) string {
	if id == 0 {
		return ""
	}
	if i, err := net.InterfaceByIndex(int(id)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(id), 10)
}
