package cshim

import (
	"syscall"
	"unsafe"
)

// System calls that never wait, so that Go's scheduler need not be told of them,
// which package syscall does. They do not cross.

// EpollEvents fills events with what there is on an epoll (epoll_pwait), and
// returns how many that are.
func EpollEvents(epoll uintptr, events []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll,
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Accept takes a connection from a listening socket that does not block
// (accept4), with the address of its peer.
func Accept(listener int) (fd int, peer [PeerSize]byte, errno syscall.Errno) {
	size := uint32(len(peer))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&peer)),
		uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int(n), peer, errno
}
