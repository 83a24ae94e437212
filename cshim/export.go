package cshim

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// The Go functions that C calls, all of them. A lock of libssl may be held and
// a C frame is above, so each returns soon or waits with a bound (its Side
// does), holds no lock of ours, and lets no panic through.

//export sessioncbEvent
func sessioncbEvent(h C.uintptr_t) {
	defer contain()
	cgo.Handle(h).Value().(Side).Event()
}

//export sessioncbDelete
func sessioncbDelete(h C.uintptr_t) {
	defer contain()
	cgo.Handle(h).Delete()
	handles.Add(-1)
}

// sessioncbNew takes s if it returns 1.
//
//export sessioncbNew
func sessioncbNew(h C.uintptr_t, ssl *C.SSL, s *C.sc_session) (taken C.int) {
	defer contain()
	return cBool(cgo.Handle(h).Value().(Side).NewSession(Foreign{ssl}, Session{s}))
}

// sessioncbGet fills a and returns 1, or returns 0 for a miss.
//
//export sessioncbGet
func sessioncbGet(h C.uintptr_t, ssl *C.SSL, id *C.uchar, n C.int, a *C.sc_answer) (found C.int) {
	defer contain()
	der, live := cgo.Handle(h).Value().(Side).GetSession(Foreign{ssl}, C.GoBytes(unsafe.Pointer(id), n))
	switch {
	case !live.IsZero():
		a.live = live.p
	case len(der) > 0:
		a.der = (*C.uchar)(C.CBytes(der))
		a.len = C.size_t(len(der))
	default:
		return 0
	}
	return 1
}

// sessioncbPulse does nothing: see pulse.c.
//
//export sessioncbPulse
func sessioncbPulse() {}

// contain keeps a panic out of the C frames above. Handlers run on goroutines
// of their own, so this is for faults of the binding: the call did nothing.
func contain() {
	if v := recover(); v != nil {
		println("sessioncb: panic in a callback of libssl was contained")
	}
}
