package cshim

import (
	"syscall"
	"unsafe"
)

// System calls that package syscall does not have, or of which it tells Go's
// scheduler although they never wait. They do not cross.

// EpollEvents fills events with what there is on an epoll (epoll_pwait), and
// returns how many that are.
func EpollEvents(epoll int, events []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// EpollWait is EpollEvents, but waits for the first. With a signal it returns 0.
func EpollWait(epoll int, events []syscall.EpollEvent) int {
	n, _, errno := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Timer makes a timer that is a descriptor (timerfd_create).
func Timer() (fd int, err error) {
	const monotonic = 1 // CLOCK_MONOTONIC
	n, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// SetTimer makes it readable once, in so many ns (timerfd_settime).
func SetTimer(timer int, in int64) {
	spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(in)}
	syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// Event makes a descriptor that another thread makes readable (eventfd2).
func Event() (fd int, err error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// Accept takes a connection from a listening socket that does not block
// (accept4), with the address of its peer.
func Accept(listener int) (fd int, peer [PeerSize]byte, errno syscall.Errno) {
	size := uint32(len(peer))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&peer)),
		uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int(n), peer, errno
}
