package cshim

/*
#include "shim.h"
*/
import "C"

import (
	"runtime/cgo"
	"sync/atomic"
	"unsafe"
)

// What to do with callbacks that are there already.
const (
	Refuse  = C.SC_REFUSE
	Chain   = C.SC_CHAIN
	Replace = C.SC_REPLACE
)

// Why Attach failed.
const (
	AttachTaken  = C.SC_ATTACH_TAKEN
	AttachOurs   = C.SC_ATTACH_OURS
	AttachFailed = C.SC_ATTACH_FAILED
	AttachFull   = C.SC_ATTACH_FULL
	AttachCopied = C.SC_ATTACH_COPIED

	// MostAttached is how many contexts can be attached at once.
	MostAttached = C.SC_SLOTS
)

// Attach registers the callbacks of the bits on an SSL_CTX of C code, borrowed,
// and keeps a reference on it. side is called before the first callback can be.
// On failure code is negative, and which has the bits of the callbacks in the way.
func Attach(ctx unsafe.Pointer, bits, mode int, side func(*Context) Side) (code, which int) {
	var p *C.sc_context
	var w C.int
	if r := C.sc_attach((*C.SSL_CTX)(ctx), C.int(bits), C.int(mode), &p, &w); p == nil {
		return int(r), int(w)
	}
	h := cgo.NewHandle(side(&Context{p}))
	handles.Add(1)
	C.sc_attach_start(p, C.uintptr_t(h))
	return 1, 0
}

// Detach makes the callbacks pass to the earlier ones, or with restore sets
// those again, and drops our reference on the SSL_CTX.
func (c *Context) Detach(restore bool) Events { return Events(C.sc_detach(c.p, cBool(restore))) }

// Prior returns the C callbacks that were there before; 0 is none.
func (c *Context) Prior() (newCB, getCB, removeCB uintptr) {
	return uintptr(unsafe.Pointer(c.p.prior_new)), uintptr(unsafe.Pointer(c.p.prior_get)),
		uintptr(unsafe.Pointer(c.p.prior_remove))
}

// Foreign is an SSL that C code drives, borrowed while its callback waits.
type Foreign struct{ p *C.SSL }

// IsServer is SSL_is_server.
func (f Foreign) IsServer() bool { return C.SSL_is_server(f.p) == 1 }

// Version is SSL_version.
func (f Foreign) Version() uint16 { return uint16(C.SSL_version(f.p)) }

// ServerName is SSL_get_servername, or the ClientHello's name before that is known.
func (f Foreign) ServerName() string {
	var b [256]C.char
	C.sc_foreign_server_name(f.p, &b[0], C.int(len(b)))
	return C.GoString(&b[0])
}

// PriorNew calls the earlier new_session_cb; it borrows s.
func (c *Context) PriorNew(f Foreign, s Session) bool { return C.sc_prior_new(c.p, f.p, s.p) == 1 }

// PriorGet calls the earlier get_session_cb and returns new, or none.
func (c *Context) PriorGet(f Foreign, id []byte) Session {
	return Session{C.sc_prior_get(c.p, f.p, bytesPtr(id), C.int(len(id)))}
}

// PriorRemove calls the earlier remove_session_cb; it borrows s.
func (c *Context) PriorRemove(s Session) { C.sc_prior_remove(c.p, s.p) }

// Bits returns the callbacks that are registered.
func (c *Context) Bits() int { return int(c.p.callbacks) }

// Pass makes the callbacks pass to the earlier ones from now on. It does not cross.
func (c *Context) Pass() { atomic.StoreInt32((*int32)(unsafe.Pointer(&c.p.detached)), 1) }

// IsTrampoline says whether a C function pointer, as CallbackPointers returns
// it, is a callback of this shim.
func IsTrampoline(f uintptr) bool { return C.sc_is_trampoline(C.uintptr_t(f)) == 1 }
