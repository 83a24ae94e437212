package cshim

/*
#include "shim.h"
*/
import "C"

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/cgo"
	"sync/atomic"
	"unsafe"
)

// Context is an SSL_CTX with a Go side, and one reference on the pair.
type Context struct{ p *C.sc_context }

// Callback bits.
const (
	New    = C.SC_NEW
	Get    = C.SC_GET
	Remove = C.SC_REMOVE
)

// Event bits: what a call that may remove sessions left behind.
type Events uint8

// The events.
const (
	Removed Events = C.SC_EVENT_REMOVED // TakeRemoved has something
	Dead    Events = C.SC_EVENT_DEAD    // the SSL_CTX is gone
)

// Cache modes: SSL_SESS_CACHE_*.
const (
	SSL_SESS_CACHE_OFF                = C.SSL_SESS_CACHE_OFF
	SSL_SESS_CACHE_CLIENT             = C.SSL_SESS_CACHE_CLIENT
	SSL_SESS_CACHE_SERVER             = C.SSL_SESS_CACHE_SERVER
	SSL_SESS_CACHE_NO_AUTO_CLEAR      = C.SSL_SESS_CACHE_NO_AUTO_CLEAR
	SSL_SESS_CACHE_NO_INTERNAL_LOOKUP = C.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
	SSL_SESS_CACHE_NO_INTERNAL_STORE  = C.SSL_SESS_CACHE_NO_INTERNAL_STORE
	SSL_SESS_CACHE_NO_INTERNAL        = C.SSL_SESS_CACHE_NO_INTERNAL

	SSL_VERIFY_NONE                 = C.SSL_VERIFY_NONE
	SSL_VERIFY_PEER                 = C.SSL_VERIFY_PEER
	SSL_VERIFY_FAIL_IF_NO_PEER_CERT = C.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
)

// Side is the Go side of an SSL_CTX: what its callbacks call.
type Side interface {
	// Event says that Removed or Dead happened outside a call of ours. It
	// must not block: a lock of libssl may be held.
	Event()
	// NewSession takes s if it returns true.
	NewSession(ssl Foreign, s Session) bool
	// GetSession returns an encoding, or new, or neither.
	GetSession(ssl Foreign, id []byte) (der []byte, live Session)
}

var handles atomic.Int64

// NewContext makes an SSL_CTX (SSL_CTX_new) whose callbacks reach side.
func NewContext(side Side) (*Context, Queue, bool) {
	var e C.sc_errors
	h := cgo.NewHandle(side)
	p := C.sc_context_new(C.uintptr_t(h), &e)
	if p == nil {
		h.Delete()
		return nil, goQueue(&e), false
	}
	handles.Add(1)
	return &Context{p}, Queue{}, true
}

// Close drops our reference on the SSL_CTX (SSL_CTX_free); c stays usable for
// TakeRemoved, IsDead and Unref.
func (c *Context) Close() Events { return Events(C.sc_context_close(c.p)) }

// Unref drops the Go side's reference. Nothing may be called after it.
func (c *Context) Unref() { C.sc_context_unref(c.p) }

// IsDead says, without a crossing, whether the SSL_CTX is gone.
func (c *Context) IsDead() bool {
	return atomic.LoadInt32((*int32)(unsafe.Pointer(&c.p.dead))) != 0
}

// HasRemoved says, without a crossing, whether TakeRemoved would return any.
func (c *Context) HasRemoved() bool {
	return atomic.LoadPointer((*unsafe.Pointer)(unsafe.Pointer(&c.p.removed))) != nil
}

// TakeRemoved returns new: the sessions removed since the last call, in
// order. It does not cross.
func (c *Context) TakeRemoved() []Session {
	p := (*C.sc_session)(atomic.SwapPointer((*unsafe.Pointer)(unsafe.Pointer(&c.p.removed)), nil))
	var list []Session
	for ; p != nil; p = p.next {
		list = append(list, Session{p})
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

func done(ok C.int, e *C.sc_errors) (Queue, bool) {
	if ok == 1 {
		return Queue{}, true
	}
	return goQueue(e), false
}

// UseChain sets the certificate and its chain from PEM.
func (c *Context) UseChain(pem []byte) (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_chain(c.p, bytesPtr(pem), C.size_t(len(pem)), &e), &e)
}

// UseKey sets the private key of the certificate set before, from PEM.
func (c *Context) UseKey(pem, passphrase []byte) (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_key(c.p, bytesPtr(pem), C.size_t(len(pem)),
		bytesPtr(passphrase), C.size_t(len(passphrase)), &e), &e)
}

// TrustPEM adds CA certificates; name says whether a server names them to clients.
func (c *Context) TrustPEM(pem []byte, name bool) (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_trust_pem(c.p, bytesPtr(pem), C.size_t(len(pem)), cBool(name), &e), &e)
}

// CertDigests returns the SHA-256 digest of each certificate that libssl reads
// in pem, which is more than encoding/pem accepts.
func CertDigests(pem []byte) [][32]byte {
	list := make([][C.SC_DIGEST]byte, bytes.Count(pem, []byte("-----BEGIN")))
	if len(list) == 0 {
		return nil
	}
	n := C.sc_cert_digests(bytesPtr(pem), C.size_t(len(pem)), (*C.uchar)(&list[0][0]), C.int(len(list)))
	return list[:n]
}

// TrustDir is SSL_CTX_load_verify_dir.
func (c *Context) TrustDir(dir string) (Queue, bool) {
	var e C.sc_errors
	p := cString(dir)
	defer freeString(p)
	return done(C.sc_context_trust_dir(c.p, p, &e), &e)
}

// TrustSystem is SSL_CTX_set_default_verify_paths.
func (c *Context) TrustSystem() (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_trust_system(c.p, &e), &e)
}

// DefaultCAPaths returns the system's file and directories of CA certificates,
// which the environment can change.
func DefaultCAPaths() (file string, dirs []string) {
	file = os.Getenv(C.GoString(C.X509_get_default_cert_file_env()))
	if file == "" {
		file = C.GoString(C.X509_get_default_cert_file())
	}
	dir := os.Getenv(C.GoString(C.X509_get_default_cert_dir_env()))
	if dir == "" {
		dir = C.GoString(C.X509_get_default_cert_dir())
	}
	return file, filepath.SplitList(dir)
}

// SetVerify is SSL_CTX_set_verify and, unless negative, SSL_CTX_set_verify_depth.
func (c *Context) SetVerify(mode, depth int) { C.sc_context_verify(c.p, C.int(mode), C.int(depth)) }

// SetVersions is SSL_CTX_set_min_proto_version and _max_; 0 is no bound.
func (c *Context) SetVersions(min, max uint16) (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_versions(c.p, C.int(min), C.int(max), &e), &e)
}

// SetCiphers is SSL_CTX_set_cipher_list, _ciphersuites, _groups_list; "" leaves the default.
func (c *Context) SetCiphers(list, suites, groups string) (Queue, bool) {
	var e C.sc_errors
	l, s, g := cString(list), cString(suites), cString(groups)
	defer func() { freeString(l); freeString(s); freeString(g) }()
	return done(C.sc_context_ciphers(c.p, l, s, g, &e), &e)
}

// SetALPN takes the wire format of the list.
func (c *Context) SetALPN(wire []byte) (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_alpn(c.p, bytesPtr(wire), C.uint(len(wire)), &e), &e)
}

// SetSessionIDContext is SSL_CTX_set_session_id_context.
func (c *Context) SetSessionIDContext(id []byte) (Queue, bool) {
	var e C.sc_errors
	return done(C.sc_context_sid_ctx(c.p, bytesPtr(id), C.uint(len(id)), &e), &e)
}

// SetCache sets mode, size, timeout in seconds and tickets; negative values
// leave the default.
func (c *Context) SetCache(mode int, size, timeout int64, noTicket bool, tickets int) {
	C.sc_context_cache(c.p, C.long(mode), C.long(size), C.long(timeout), cBool(noTicket), C.int(tickets))
}

// SetCallbacks registers the callbacks of the bits, and takes back the others.
// No SSL may have been made of the context.
func (c *Context) SetCallbacks(bits int) { C.sc_context_callbacks(c.p, C.int(bits)) }

// CallbackPointers returns SSL_CTX_sess_get_new_cb, _get_cb and _remove_cb of
// the SSL_CTX as they are now.
func (c *Context) CallbackPointers() (newCB, getCB, removeCB uintptr) {
	return uintptr(unsafe.Pointer(C.SSL_CTX_sess_get_new_cb(c.p.ctx))),
		uintptr(unsafe.Pointer(C.SSL_CTX_sess_get_get_cb(c.p.ctx))),
		uintptr(unsafe.Pointer(C.SSL_CTX_sess_get_remove_cb(c.p.ctx)))
}

// SetEarlyData is SSL_CTX_set_max_early_data and _recv_max_early_data.
func (c *Context) SetEarlyData(max uint32) { C.sc_context_early_data(c.p, C.uint32_t(max)) }

// SetMaxAge bounds how long resumptions go on after a full handshake, in
// seconds; 0 is no bound.
func (c *Context) SetMaxAge(seconds int64) { C.sc_context_max_age(c.p, C.int64_t(seconds)) }

// AskHost makes each handshake wait for the choice of its context.
func (c *Context) AskHost() { C.sc_context_ask_host(c.p) }

// Stats are the twelve SSL_CTX_sess_* counters.
type Stats struct {
	Number, Connect, ConnectGood, ConnectRenegotiate, Accept, AcceptGood, AcceptRenegotiate,
	Hits, CallbackHits, Misses, Timeouts, CacheFull int64
}

// Stats reads all in one crossing.
func (c *Context) Stats() Stats {
	var s C.sc_stats
	C.sc_context_stats(c.p, &s)
	return Stats{int64(s.number), int64(s.connect), int64(s.connect_good), int64(s.connect_renegotiate),
		int64(s.accept), int64(s.accept_good), int64(s.accept_renegotiate),
		int64(s.hits), int64(s.cb_hits), int64(s.misses), int64(s.timeouts), int64(s.cache_full)}
}

// Refused returns, by cause, how many answers of Get handlers were not given
// to libssl; see the enum SC_MALFORMED in shim.h. It does not cross.
func (c *Context) Refused() [C.SC_VERDICTS]uint64 {
	var r [C.SC_VERDICTS]uint64
	for i := range r {
		r[i] = atomic.LoadUint64((*uint64)(unsafe.Pointer(&c.p.refused[i])))
	}
	return r
}

// CacheSize is SSL_CTX_sess_get_cache_size.
func (c *Context) CacheSize() int64 { return int64(C.sc_context_number(c.p, C.SC_GET_SIZE, 0)) }

// SetCacheSize is SSL_CTX_sess_set_cache_size; it returns the former size.
func (c *Context) SetCacheSize(n int64) int64 {
	return int64(C.sc_context_number(c.p, C.SC_SET_SIZE, C.int64_t(n)))
}

// Timeout is SSL_CTX_get_timeout, in seconds.
func (c *Context) Timeout() int64 { return int64(C.sc_context_number(c.p, C.SC_GET_TIMEOUT, 0)) }

// SetTimeout is SSL_CTX_set_timeout; it returns the former timeout.
func (c *Context) SetTimeout(seconds int64) int64 {
	return int64(C.sc_context_number(c.p, C.SC_SET_TIMEOUT, C.int64_t(seconds)))
}

// Add is SSL_CTX_add_session of a duplicate of s.
func (c *Context) Add(s Session) (bool, Events) {
	var ev C.uint
	ok := C.sc_context_add(c.p, s.p, &ev)
	return ok == 1, Events(ev)
}

// Remove is SSL_CTX_remove_session.
func (c *Context) Remove(s Session) (bool, Events) {
	var ev C.uint
	ok := C.sc_context_remove(c.p, s.p, &ev)
	return ok == 1, Events(ev)
}

// Flush is SSL_CTX_flush_sessions; 0 removes all.
func (c *Context) Flush(when int64) Events {
	var ev C.uint
	C.sc_context_flush(c.p, C.int64_t(when), &ev)
	return Events(ev)
}

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func cFlag(b bool) C.sc_flag { return C.sc_flag(cBool(b)) }
