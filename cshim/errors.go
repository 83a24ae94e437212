package cshim

/*
#include "shim.h"
*/
import "C"

import (
	"syscall"
	"unsafe"
)

// Entry is one entry of OpenSSL's error queue.
type Entry struct {
	Code    uint64 // ERR_get_error
	Library string // ERR_lib_error_string
	Reason  string // ERR_reason_error_string
	File    string
	Line    int
	Data    string
}

// Queue is the error queue of a failed crossing, oldest entry first. It may
// be empty: libssl does not report everything.
type Queue struct {
	Entries []Entry
	Errno   syscall.Errno
}

func goQueue(e *C.sc_errors) Queue {
	if e == nil {
		return Queue{}
	}
	q := Queue{Errno: syscall.Errno(e.sys)}
	for i := range int(e.count) {
		x := &e.e[i]
		q.Entries = append(q.Entries, Entry{
			Code:    uint64(x.code),
			Library: C.GoString(x.library),
			Reason:  C.GoString(x.reason),
			File:    C.GoString(x.file),
			Line:    int(x.line),
			Data:    C.GoString(&x.data[0]),
		})
	}
	return q
}

// VerifyErrorString returns X509_verify_cert_error_string(code).
func VerifyErrorString(code int64) string {
	return C.GoString(C.X509_verify_cert_error_string(C.long(code)))
}

// cString makes a C string, or NULL for "": free it with freeString.
func cString(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}

func freeString(p *C.char) { C.free(unsafe.Pointer(p)) }

// bytesPtr returns the address of the first byte; nil for an empty slice. The
// C side takes an unsigned char *, never a void *: behind an unsafe.Pointer cgo
// searches the whole Go object for pointers, and panics over a buffer that is
// the field of a struct with some.
func bytesPtr(b []byte) *C.uchar {
	if len(b) == 0 {
		return nil
	}
	return (*C.uchar)(unsafe.SliceData(b))
}
