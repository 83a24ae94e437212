package peer

import (
	"context"
	"net"
	"syscall"
)

// Listen takes a free port of 127.0.0.1, with the options of the C peer's
// listener. TCP_NODELAY is Go's default; keepalive would cost three system calls
// a connection; and with TCP_DEFER_ACCEPT, which is Linux's, a connection is
// accepted when its ClientHello can be read, so that no goroutine waits for it.
func Listen() (net.Listener, error) {
	config := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			set := func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, 1)
			}
			if err := raw.Control(set); err != nil {
				return err
			}
			return err
		},
	}
	return config.Listen(context.Background(), "tcp", "127.0.0.1:0")
}
