package cshim

/*
#cgo noescape sc_pool_submit
#cgo nocallback sc_pool_submit
#include "shim.h"
*/
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// StartPool starts threads that run handshake steps, once in a process. event,
// an Event, is written to when TakeSteps has some. ok is false if no thread started.
func StartPool(threads, event int) (ok bool) {
	return C.sc_pool_start(C.int(threads), C.int(event)) == 1
}

// SubmitHandshake queues a step of Handshake on a descriptor, without early
// data of the caller's. No method of c but StepResult may be called until
// TakeSteps returned its tag.
func (c *Conn) SubmitHandshake(io IO, answers []byte, until Until, tag uint32) {
	c.p.quiet = cBool(io.Quiet)
	C.sc_pool_submit(c.p, C.int(io.FD), C.int(until), C.uint32_t(tag), bytesPtr(answers), C.size_t(len(answers)))
}

// StepResult is the result of the step that was submitted. It does not cross.
func (c *Conn) StepResult() Result { return c.result() }

// TakeSteps appends the tags of the steps that were done since the last call,
// in order. It does not cross.
func TakeSteps(tags []uint32) []uint32 {
	atomic.StoreInt32((*int32)(unsafe.Pointer(&C.sc_pool_told)), 0)
	p := (*C.sc_conn)(atomic.SwapPointer((*unsafe.Pointer)(unsafe.Pointer(&C.sc_pool_done)), nil))
	from := len(tags)
	for ; p != nil; p = p.step.next {
		tags = append(tags, uint32(p.step.tag))
	}
	for i, j := from, len(tags)-1; i < j; i, j = i+1, j-1 {
		tags[i], tags[j] = tags[j], tags[i]
	}
	return tags
}

// Pulses counts the signs of life that handshakes gave Go's scheduler (pulse.c), and
// those that took long, as another thread had got the caller's processor. It does
// not cross.
func Pulses() (all, slow uint64) {
	all = atomic.LoadUint64((*uint64)(unsafe.Pointer(&C.sc_pulses)))
	return all, atomic.LoadUint64((*uint64)(unsafe.Pointer(&C.sc_pulses_slow)))
}

// NoHeavySteps tells the steps of Handshake to stop once the ClientHello was
// read and all that it asks for was answered: with WantPool. It does not cross.
func (c *Conn) NoHeavySteps(stop bool) {
	c.p.step.no_heavy = cBool(stop)
	c.p.step.heavy = 0
}
