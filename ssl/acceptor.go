package ssl

import (
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/sessioncb/openssl/cshim"
)

// acceptor is the net.Listener of a socket that this package owns, whose
// connections are sockets.
type acceptor struct {
	addr net.Addr
	s    *socket // that listens
}

// newAcceptor takes the socket of l, and closes l; or it returns nil.
func newAcceptor(l *net.TCPListener) *acceptor {
	fd := takeSocket(l)
	if fd < 0 {
		return nil
	}
	l.Close()
	s := newSocket(fd, [cshim.PeerSize]byte{}, false, l.Addr())
	s.shared.Store(true) // a child that takes over the service may have it
	runtime.AddCleanup(s, func(r *readiness) { r.close(fd) }, s.readiness)
	return &acceptor{l.Addr(), s}
}

// Addr is that of the net.TCPListener.
func (a *acceptor) Addr() net.Addr { return a.addr }

// Close ends Accept.
func (a *acceptor) Close() error { return a.s.Close() }

// Accept returns a *socket, which is for who calls a Listener's own Accept, or has put
// another Listener around it.
func (a *acceptor) Accept() (net.Conn, error) {
	s, err := a.next()
	if err != nil {
		return nil, err
	}
	fd := s.fd
	runtime.AddCleanup(s, func(r *readiness) { r.close(fd) }, s.readiness)
	return s, nil
}

// next is Accept for who owns the socket.
func (a *acceptor) next() (*socket, error) {
	for {
		fd, peer, err := a.accept()
		switch err {
		case nil:
			return newSocket(fd, peer, false, a.addr), nil
		case syscall.EINTR, syscall.ECONNABORTED: // of the connection, and not of the listener
			continue
		}
		if errno, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError("accept4", errno)
		} else if o, ok := err.(*net.OpError); ok {
			err = o.Err
		}
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: a.addr, Err: err}
	}
}

func (a *acceptor) accept() (fd int, peer [cshim.PeerSize]byte, err error) {
	var errno syscall.Errno
	err = a.s.input(stepFunc(func(io cshim.IO) (wait bool, left, _ int) {
		if io.Quiet {
			return true, 1, 0
		}
		fd, peer, errno = cshim.Accept(io.FD)
		if errno == syscall.EAGAIN {
			return true, 1, 0
		}
		return false, 0, 0
	}))
	if err == nil && errno != 0 {
		err = errno
	}
	return fd, peer, err
}

// keepAlive is what package net sets for the connections of a listener; those
// that are accepted have it from their listener.
var keepAlive = []struct{ level, name, value int }{
	{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
}

// takeSocket returns a descriptor of l's socket which Go's poller does not
// watch, else every client would wake it; or -1.
func takeSocket(l *net.TCPListener) int {
	raw, err := l.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	err = raw.Control(func(of uintptr) {
		n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, of, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			return
		}
		fd = int(n)
		for _, o := range keepAlive {
			syscall.SetsockoptInt(fd, o.level, o.name, o.value)
		}
	})
	if err != nil {
		return -1
	}
	return fd
}
