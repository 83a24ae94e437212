package ssl

import (
	"os"
	"syscall"
	"time"
)

// The other methods of a *net.TCPConn that programs look for with an interface.

// CloseRead shuts the reading side down (shutdown(2)).
func (s *socket) CloseRead() error { return s.shutdown(syscall.SHUT_RD) }

// CloseWrite shuts the writing side down (shutdown(2)), beneath TLS.
func (s *socket) CloseWrite() error { return s.shutdown(syscall.SHUT_WR) }

func (s *socket) shutdown(how int) error {
	return s.control("shutdown", func(fd int) error { return syscall.Shutdown(fd, how) })
}

// SetLinger is that of *net.TCPConn (SO_LINGER).
func (s *socket) SetLinger(sec int) error {
	l := syscall.Linger{}
	if sec >= 0 {
		l = syscall.Linger{Onoff: 1, Linger: int32(sec)}
	}
	return s.control("setsockopt", func(fd int) error {
		return syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &l)
	})
}

// SetNoDelay is TCP_NODELAY, which is on.
func (s *socket) SetNoDelay(on bool) error {
	return s.option(syscall.IPPROTO_TCP, syscall.TCP_NODELAY, number(on))
}

// SetKeepAlive is SO_KEEPALIVE, which is on.
func (s *socket) SetKeepAlive(on bool) error {
	return s.option(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, number(on))
}

// SetKeepAlivePeriod is TCP_KEEPIDLE and TCP_KEEPINTVL, in seconds rounded up.
func (s *socket) SetKeepAlivePeriod(d time.Duration) error {
	seconds := int((d + time.Second - 1) / time.Second)
	if err := s.option(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, seconds); err != nil {
		return err
	}
	return s.option(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, seconds)
}

// SetReadBuffer is SO_RCVBUF.
func (s *socket) SetReadBuffer(bytes int) error {
	return s.option(syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
}

// SetWriteBuffer is SO_SNDBUF.
func (s *socket) SetWriteBuffer(bytes int) error {
	return s.option(syscall.SOL_SOCKET, syscall.SO_SNDBUF, bytes)
}

func (s *socket) option(level, name, value int) error {
	return s.control("setsockopt", func(fd int) error { return syscall.SetsockoptInt(fd, level, name, value) })
}

func (s *socket) control(call string, f func(fd int) error) error {
	var failure error
	if err := (rawSocket{s}).Control(func(fd uintptr) { failure = f(int(fd)) }); err != nil {
		return err
	}
	if failure != nil {
		return s.fault("set", os.NewSyscallError(call, failure))
	}
	return nil
}

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}
