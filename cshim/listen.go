package cshim

/*
#include "shim.h"
*/
import "C"

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Listener accepts connections and makes their handshakes on threads of C.
type Listener struct{ p *C.sc_listener }

// PeerSize is how long a socket address of an accepted Conn is.
const PeerSize = C.SC_PEER

// Listen takes fd, a socket that listens and does not block. A handshake ends
// after timeout nanoseconds, unless that is 0. event, an Event, is borrowed until
// Free, and written to when Take, Fault or Gone has something new. Without memory,
// threads or descriptors ok is false, and fd the caller's.
func Listen(ctx *Context, fd, event, threads int, timeout int64) (l *Listener, ok bool) {
	p := C.sc_listen(ctx.p, C.int(fd), C.int(event), C.int(threads), C.int64_t(timeout))
	return &Listener{p}, p != nil
}

// Take appends the connections that were given since the last call, in order.
// They are the caller's, with their descriptors. It does not cross.
func (l *Listener) Take(list []*Conn) []*Conn {
	atomic.StoreInt32((*int32)(unsafe.Pointer(&l.p.told)), 0)
	p := (*C.sc_conn)(atomic.SwapPointer((*unsafe.Pointer)(unsafe.Pointer(&l.p.given)), nil))
	from := len(list)
	for ; p != nil; p = p.step.next {
		list = append(list, &Conn{p})
	}
	for i, j := from, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// Taken says that the program has one more of them: while it has too few, no
// more are accepted.
func (l *Listener) Taken() {
	left := atomic.AddInt32((*int32)(unsafe.Pointer(&l.p.untaken)), -1)
	paused := (*int32)(unsafe.Pointer(&l.p.paused))
	if left < C.SC_FEW_UNTAKEN && atomic.LoadInt32(paused) != 0 && atomic.CompareAndSwapInt32(paused, 1, 0) {
		C.sc_listener_kick(l.p)
	}
}

// Untaken says, without a crossing, how many were given and not taken.
func (l *Listener) Untaken() int {
	return int(atomic.LoadInt32((*int32)(unsafe.Pointer(&l.p.untaken))))
}

// Fault returns why accept failed since the last call, or 0. It does not cross.
func (l *Listener) Fault() syscall.Errno {
	return syscall.Errno(atomic.SwapInt32((*int32)(unsafe.Pointer(&l.p.fault)), 0))
}

// Close ends accepting. All connections that are not given yet are given.
func (l *Listener) Close() { C.sc_listener_close(l.p) }

// Gone says, without a crossing, whether that is done.
func (l *Listener) Gone() bool { return atomic.LoadInt32((*int32)(unsafe.Pointer(&l.p.threads))) == 0 }

// Free takes the listener, which must be gone. Nothing may be called after it.
func (l *Listener) Free() Events { return Events(C.sc_listener_free(l.p)) }

// Accepted returns the descriptor, the address (struct sockaddr) of the peer, and whether its end
// came or an error. It does not cross.
func (c *Conn) Accepted() (fd int, peer [PeerSize]byte, ended bool) {
	d := c.p.door
	return int(d.fd), *(*[PeerSize]byte)(unsafe.Pointer(&d.peer)), d.ended != 0
}
