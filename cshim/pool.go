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
	c.p.quiet = cFlag(io.Quiet)
	C.sc_pool_submit(c.p, C.int(io.FD), C.int(until), C.uint32_t(tag), bytesPtr(answers), C.size_t(len(answers)))
}

// StepResult reads the result of the step that was submitted. It does not cross.
func (c *Conn) StepResult(r *Result) { c.result(r) }

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

// Pulses counts the signs of life that handshakes gave Go's scheduler (pulse.c), since
// the start. It does not cross.
func Pulses() uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&C.sc_pulses))) }

// SlowPulses counts those of the last step that took long, as another thread had got
// the caller's processor. It does not cross.
func (c *Conn) SlowPulses() int { return int(c.p.slow_pulses) }

// A Share is what the steps of Handshake make of a server's handshake.
type Share int

const (
	All             Share = C.SC_ALL
	QuickResumption Share = C.SC_QUICK_RESUMPTION // all, if it is a resumption with a quick key exchange or none
	Nothing         Share = C.SC_NOTHING          // what comes before the answer to the ClientHello
)

// SetShare has the steps of Handshake stop, with WantPool, once the ClientHello was
// read and all that it asks for was answered, if the rest is not theirs. It does
// not cross.
func (c *Conn) SetShare(s Share) {
	c.p.step.in_place = C.sc_flag(s)
	c.p.step.heavy = 0
}
