// Package chost is a C program in a box: a TLS server on an SSL_CTX of its own,
// with its own threads, handshakes, session callbacks and session store, all in
// C and over libssl's public API. Tests attach Go handlers to it.
package chost

/*
#cgo pkg-config: libssl libcrypto
#cgo CFLAGS: -std=gnu11 -O1 -g -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Werror=implicit
#cgo CFLAGS: -DOPENSSL_API_COMPAT=30000 -DOPENSSL_NO_DEPRECATED
#cgo LDFLAGS: -lpthread
#include <time.h>
#include "chost.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"time"
	"unsafe"
)

func init() {
	if C.ch_start() == 0 {
		panic("chost: no ex_data index")
	}
}

// Callbacks are C callbacks, as bits.
type Callbacks int

// The C callbacks of the box.
const (
	New    Callbacks = C.CH_NEW
	Get    Callbacks = C.CH_GET
	Remove Callbacks = C.CH_REMOVE
	All              = New | Get | Remove
)

// Keep says what the C program's store keeps.
type Keep int

// What new_session_cb does: keep the reference and return 1, or encode and return 0.
const (
	References Keep = C.CH_KEEP_REFERENCES
	DER        Keep = C.CH_KEEP_DER
	// Blank keeps nothing; its get_session_cb answers with a session that has
	// the id and no cipher, which libssl crashes on if it gets it.
	Blank Keep = C.CH_KEEP_BLANK
)

// Copy says what get_session_cb writes to *copy.
type Copy int

// The three things that it can do.
const (
	Copy0         Copy = C.CH_COPY_0
	Copy1         Copy = C.CH_COPY_1
	CopyUnwritten Copy = C.CH_COPY_UNWRITTEN
)

// Birth says which SSL a connection is served with.
type Birth int

// How an SSL comes to be.
const (
	// Plain: SSL_new of the server's SSL_CTX.
	Plain Birth = C.CH_PLAIN
	// SwitchSNI: SSL_set_SSL_CTX to the second one in the servername callback.
	SwitchSNI Birth = C.CH_SWITCH_SNI
	// Dup: SSL_dup of an SSL that was not used yet.
	Dup Birth = C.CH_DUP
	// SwitchDup: SSL_set_SSL_CTX to the second one, and SSL_dup of that SSL.
	SwitchDup Birth = C.CH_SWITCH_DUP
)

// Fault is a mistake of the C program that is made once.
type Fault int

// The faults. A double free is safe to make where only the ledger's owner and
// the connection hold the session: without an internal cache.
const (
	NoFault               Fault = C.CH_NO_FAULT
	StoreLeaks            Fault = C.CH_STORE_LEAKS
	StoreDoubleFrees      Fault = C.CH_STORE_DOUBLE_FREES
	ConnectionLeaks       Fault = C.CH_CONNECTION_LEAKS
	ConnectionDoubleFrees Fault = C.CH_CONNECTION_DOUBLE_FREES
)

// Cache modes (SSL_CTX_set_session_cache_mode).
const (
	CacheOff        = C.SSL_SESS_CACHE_OFF
	CacheServer     = C.SSL_SESS_CACHE_SERVER
	NoInternal      = C.SSL_SESS_CACHE_SERVER | C.SSL_SESS_CACHE_NO_INTERNAL
	NoInternalStore = C.SSL_SESS_CACHE_SERVER | C.SSL_SESS_CACHE_NO_INTERNAL_STORE
	NoLookup        = C.SSL_SESS_CACHE_SERVER | C.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
)

// Options configure a Server. The zero value, with the files, serves both
// versions with stateful sessions in no cache.
type Options struct {
	ChainFile, KeyFile  string
	Version             uint16 // 0: both
	Stateless           bool   // without SSL_OP_NO_TICKET
	Tickets             int    // 0: libssl's, two
	CacheMode           int
	CacheSize           int           // 0: libssl's
	Timeout             time.Duration // 0: libssl's
	IgnoreUnexpectedEOF bool
	SessionIDContext    string
	Callbacks           Callbacks // that the C program sets itself
	Keep                Keep
	Copy                Copy
	Birth               Birth
	Second              *Server // for SwitchSNI and SwitchDup
	Threads             int     // of the pool; 0: a thread for each connection
	Fault               Fault
}

// A Server is the C program. Close it.
type Server struct {
	p    *C.ch_server
	port int
}

// NewServer makes the SSL_CTX. It does not listen yet, so that handlers can be
// attached before the first SSL_new.
func NewServer(o Options) (*Server, error) {
	var c C.ch_options
	c.chain_file, c.key_file = C.CString(o.ChainFile), C.CString(o.KeyFile)
	defer C.free(unsafe.Pointer(c.chain_file))
	defer C.free(unsafe.Pointer(c.key_file))
	c.version = C.int(o.Version)
	c.stateless = cBool(o.Stateless)
	c.num_tickets = -1
	if o.Tickets > 0 {
		c.num_tickets = C.int(o.Tickets)
	}
	c.cache_mode = C.long(o.CacheMode)
	c.cache_size = C.long(o.CacheSize)
	c.timeout = C.long(o.Timeout / time.Second)
	c.ignore_eof = cBool(o.IgnoreUnexpectedEOF)
	if len(o.SessionIDContext) > len(c.sid_ctx) {
		return nil, fmt.Errorf("chost: session id context of %d bytes", len(o.SessionIDContext))
	}
	for i := range len(o.SessionIDContext) {
		c.sid_ctx[i] = C.uchar(o.SessionIDContext[i])
	}
	c.sid_ctx_len = C.uint(len(o.SessionIDContext))
	c.callbacks = C.int(o.Callbacks)
	c.keep, c.copy = C.int(o.Keep), C.int(o.Copy)
	c.birth, c.threads, c.fault = C.int(o.Birth), C.int(o.Threads), C.int(o.Fault)
	var second *C.ch_server
	if o.Second != nil {
		second = o.Second.p
	}
	var why [256]C.char
	p := C.ch_server_new(&c, second, &why[0], C.size_t(len(why)))
	if p == nil {
		return nil, errors.New("chost: " + C.GoString(&why[0]))
	}
	return &Server{p: p}, nil
}

// Start listens on the loopback interface and starts the threads.
func (s *Server) Start() error {
	var why [256]C.char
	s.port = int(C.ch_server_start(s.p, &why[0], C.size_t(len(why))))
	if s.port == 0 {
		return errors.New("chost: " + C.GoString(&why[0]))
	}
	return nil
}

// Addr is where the Server listens.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Dial connects to the Server.
func (s *Server) Dial() (net.Conn, error) { return net.DialTimeout("tcp", s.Addr(), 30*time.Second) }

// Stop ends all connections and waits for the threads. The SSL_CTX stays.
func (s *Server) Stop() { C.ch_server_stop(s.p) }

// Close stops the Server and drops its reference on the SSL_CTX. No other
// method may be called after it; a second Close does nothing.
func (s *Server) Close() {
	if s.p != nil {
		C.ch_server_free(s.p)
		s.p = nil
	}
}

// Counts are what the Server did so far.
type Counts struct {
	New, Get, Remove                 uint64 // calls of the C program's own callbacks
	Accepted, Failed, Resumed, Ended uint64 // connections
	Dirty                            uint64 // steps that succeeded and left an error in the queue
	Stored                           int64  // sessions in the C program's store
}

// Counts reads the counters.
func (s *Server) Counts() Counts {
	var c C.ch_counts
	C.ch_server_counts(s.p, &c)
	return Counts{uint64(c.new_calls), uint64(c.get_calls), uint64(c.remove_calls),
		uint64(c.accepted), uint64(c.failed), uint64(c.resumed), uint64(c.ended),
		uint64(c.dirty), int64(c.stored)}
}

// LastError returns why a connection failed last, or "".
func (s *Server) LastError() string {
	var b [256]C.char
	C.ch_server_last_error(s.p, &b[0], C.size_t(len(b)))
	return C.GoString(&b[0])
}

// Flush calls SSL_CTX_flush_sessions; 0 removes all.
func (s *Server) Flush(when int64) { C.ch_server_flush(s.p, C.long(when)) }

// Crowd adds n made-up sessions to the internal cache and returns how many
// were added. They outlive all others, which are evicted first.
func (s *Server) Crowd(n int) int { return int(C.ch_server_crowd(s.p, C.int(n))) }

// Cached returns the number of sessions in the internal cache (SSL_CTX_sess_number).
func (s *Server) Cached() int { return int(C.ch_server_cached(s.p)) }

// Pointers are C functions, 0 where none is set.
type Pointers struct{ New, Get, Remove uintptr }

// Context is an SSL_CTX of anybody, borrowed.
type Context struct{ p *C.SSL_CTX }

// LastContext returns the SSL_CTX that the calling thread made last. The
// caller has locked the thread.
func LastContext() Context { return Context{C.ch_last_ctx()} }

// SSLCTX returns the SSL_CTX *.
func (c Context) SSLCTX() unsafe.Pointer { return unsafe.Pointer(c.p) }

// Pointers returns what SSL_CTX_sess_get_new_cb, _get_cb and _remove_cb say now.
func (c Context) Pointers() Pointers {
	var p C.ch_pointers
	C.ch_ctx_pointers(c.p, &p)
	return Pointers{uintptr(p.new_cb), uintptr(p.get_cb), uintptr(p.remove_cb)}
}

// Context returns the Server's SSL_CTX.
func (s *Server) Context() Context { return Context{C.ch_server_ctx(s.p)} }

// SSLCTX returns the SSL_CTX * of the Server, borrowed.
func (s *Server) SSLCTX() unsafe.Pointer { return s.Context().SSLCTX() }

// OwnPointers returns the C program's own three functions.
func OwnPointers() Pointers {
	var p C.ch_pointers
	C.ch_own_pointers(&p)
	return Pointers{uintptr(p.new_cb), uintptr(p.get_cb), uintptr(p.remove_cb)}
}

// SetCallbacks sets the Server's functions on an SSL_CTX of somebody else.
func (s *Server) SetCallbacks(c Context, which Callbacks) error {
	if C.ch_ctx_set_callbacks(c.p, s.p, C.int(which)) == 0 {
		return errors.New("chost: SSL_CTX_set_ex_data")
	}
	return nil
}

// Violations returns how many sessions libssl destroyed while a C program of
// this package still owned a reference: each is one free too many.
func Violations() uint64 { return uint64(C.ch_ledger_violations()) }

// PushError empties the calling thread's error queue and puts one entry into
// it; ErrorIsMine says whether the queue is still just that. The caller has
// locked the thread.
func PushError() { C.ch_push_error() }

// ErrorIsMine: see PushError.
func ErrorIsMine() bool { return C.ch_error_is_mine() == 1 }

// ClearErrors empties the calling thread's error queue.
func ClearErrors() { C.ch_clear_errors() }

// Time is time(2): what a C program takes for now, up to a tick behind time.Now.
func Time() time.Time { return time.Unix(int64(C.time(nil)), 0) }

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
