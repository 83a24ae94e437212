// Package cshim is the crossing between Go and libssl: all C and all cgo of
// this module. It knows no policy. A name with underscores is the C function
// itself; a CamelCase name is ours. The package makes no promise of
// compatibility; programs use package ssl.
//
// Ownership is that of shim.h: takes, borrows, returns new. Values of type
// Context, Conn and Session are pointers into C; the zero value is none.
package cshim

/*
#cgo pkg-config: libssl libcrypto
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -DOPENSSL_API_COMPAT=30000 -DOPENSSL_NO_DEPRECATED
#include "shim.h"
*/
import "C"

import (
	"errors"
	"sync/atomic"
	"unsafe"
)

// ErrStart is the failure of OPENSSL_init_ssl, or nil.
var ErrStart error

func init() {
	if C.sc_init() == 0 {
		ErrStart = errors.New("openssl: OPENSSL_init_ssl failed")
	} else if v := C.OpenSSL_version_num(); v < 0x30000070 {
		ErrStart = errors.New("openssl: the libssl in use is older than 3.0.7: " + Version())
	}
}

// Version returns OpenSSL_version(OPENSSL_VERSION): the library in use, not
// the one that the program was built with.
func Version() string { return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION)) }

// VersionNum returns OpenSSL_version_num, 0xMNN00PP0.
func VersionNum() uint64 { return uint64(C.OpenSSL_version_num()) }

// Gauges counts live objects.
type Gauges struct {
	Contexts, Conns, BIOs, Sessions int64 // of this shim
	Handles                         int64 // runtime/cgo handles given to C
	SSLCTX, SSL, SSLSession         int64 // all in the process since CountAll
}

// ReadGauges returns what is alive now.
func ReadGauges() Gauges {
	var g C.sc_gauges
	C.sc_gauges_read(&g)
	return Gauges{int64(g.contexts), int64(g.conns), int64(g.bios), int64(g.sessions),
		handles.Load(), int64(g.ssl_ctx), int64(g.ssl), int64(g.ssl_session)}
}

// Trim gives back to the system what C code freed and malloc keeps, with glibc.
// It reports whether there was any.
func Trim() bool { return C.sc_trim() != 0 }

// RemovalsQueued counts all calls of remove_session_cb that were queued for
// delivery since the start. It does not cross.
func RemovalsQueued() uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&C.sc_removals_queued)))
}

// CountAll begins to count every SSL_CTX, SSL and SSL_SESSION in the process,
// through ex_data; call it before the first is made. It costs each object
// some 50 ns, so it is for tests.
func CountAll() error {
	if C.sc_gauges_count_all() == 0 {
		return errors.New("openssl: no ex_data index for the gauges")
	}
	return nil
}
