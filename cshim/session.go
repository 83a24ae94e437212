package cshim

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"unsafe"
)

// Session is one reference on an SSL_SESSION. Its owner frees it once.
type Session struct{ p *C.sc_session }

var errMemory = errors.New("openssl: out of memory")

// Snapshot is what can be read of a session without a crossing.
type Snapshot struct {
	ID, Context   []byte
	Time, Timeout int64 // seconds
	Version       int
	// Of a removal:
	Reason        int
	HandshakeDone bool
	Fault         string
}

// IsZero says whether there is no session.
func (s Session) IsZero() bool { return s.p == nil }

// Snapshot reads the event's copy; it does not cross.
func (s Session) Snapshot() Snapshot {
	b := s.p
	return Snapshot{
		ID:      C.GoBytes(unsafe.Pointer(&b.id[0]), C.int(b.id_len)),
		Context: C.GoBytes(unsafe.Pointer(&b.context[0]), C.int(b.context_len)),
		Time:    int64(b.time), Timeout: int64(b.timeout), Version: int(b.version),
		Reason: int(b.reason), HandshakeDone: b.handshake_done != 0,
		Fault: C.GoString(&b.fault[0]),
	}
}

// Free takes s.
func (s Session) Free() { C.sc_session_free(s.p) }

// FreeSessions takes each of list, in one crossing.
func FreeSessions(list []Session) {
	var head *C.sc_session
	for _, s := range list {
		s.p.next = head
		head = s.p
	}
	if head != nil {
		C.sc_session_free_list(head)
	}
}

// ParseSession borrows der and returns new (d2i_SSL_SESSION). The queue may be
// empty in a failure.
func ParseSession(der []byte) (Session, Queue, bool) {
	var e C.sc_errors
	p := C.sc_session_parse(bytesPtr(der), C.size_t(len(der)), &e)
	if p == nil {
		return Session{}, goQueue(&e), false
	}
	return Session{p}, Queue{}, true
}

// Encode returns new bytes (i2d_SSL_SESSION).
func (s Session) Encode() ([]byte, error) {
	// Two thirds of all sessions carry no certificate and need 140 bytes.
	for size := 512; ; {
		b := make([]byte, size)
		n := int(C.sc_session_encode(s.p, bytesPtr(b), C.int(size)))
		switch {
		case n == 0:
			return nil, errors.New("openssl: i2d_SSL_SESSION: the session has no encoding")
		case n <= size:
			return b[:n:n], nil
		}
		size = n
	}
}

// Retain returns new: another reference on the same SSL_SESSION.
func (s Session) Retain() (Session, error) { return newSession(C.sc_session_retain(s.p)) }

// Dup returns new: a private copy (SSL_SESSION_dup).
func (s Session) Dup() (Session, error) { return newSession(C.sc_session_dup(s.p)) }

// Unshare replaces the SSL_SESSION by a private copy.
func (s Session) Unshare() error {
	if C.sc_session_unshare(s.p) == 0 {
		return errMemory
	}
	return nil
}

func newSession(p *C.sc_session) (Session, error) {
	if p == nil {
		return Session{}, errMemory
	}
	return Session{p}, nil
}

// PeerDER returns the leaf certificate of the peer in DER, or nil (SSL_SESSION_get0_peer).
func (s Session) PeerDER() []byte {
	var der *C.uchar
	n := C.sc_session_peer_der(s.p, &der)
	if n == 0 {
		return nil
	}
	b := C.GoBytes(unsafe.Pointer(der), n)
	C.sc_free(unsafe.Pointer(der))
	return b
}

// SSL_SESSION_get0_cipher returns the suite's number, or 0.
func (s Session) SSL_SESSION_get0_cipher() uint16 {
	c := C.SSL_SESSION_get0_cipher(s.p.session)
	if c == nil {
		return 0
	}
	return uint16(C.SSL_CIPHER_get_protocol_id(c))
}

// SSL_SESSION_get0_hostname returns the SNI name, or "".
func (s Session) SSL_SESSION_get0_hostname() string {
	return C.GoString(C.SSL_SESSION_get0_hostname(s.p.session))
}

// SSL_SESSION_get0_alpn_selected returns the protocol, or "".
func (s Session) SSL_SESSION_get0_alpn_selected() string {
	var p *C.uchar
	var n C.size_t
	C.SSL_SESSION_get0_alpn_selected(s.p.session, &p, &n)
	return string(C.GoBytes(unsafe.Pointer(p), C.int(n)))
}

// SSL_SESSION_get0_ticket returns a copy of the ticket, or nil.
func (s Session) SSL_SESSION_get0_ticket() []byte {
	var p *C.uchar
	var n C.size_t
	C.SSL_SESSION_get0_ticket(s.p.session, &p, &n)
	if n == 0 {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(p), C.int(n))
}

// SSL_SESSION_get_ticket_lifetime_hint returns seconds.
func (s Session) SSL_SESSION_get_ticket_lifetime_hint() uint64 {
	return uint64(C.SSL_SESSION_get_ticket_lifetime_hint(s.p.session))
}

// SSL_SESSION_get_max_early_data returns bytes.
func (s Session) SSL_SESSION_get_max_early_data() uint32 {
	return uint32(C.SSL_SESSION_get_max_early_data(s.p.session))
}

// SSL_SESSION_get0_ticket_appdata returns a copy of what is not the shim's own, or nil.
func (s Session) SSL_SESSION_get0_ticket_appdata() []byte {
	var n C.size_t
	p := C.sc_appdata(s.p.session, &n)
	if n == 0 {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(p), C.int(n))
}

// SSL_SESSION_set1_ticket_appdata borrows data.
func (s Session) SSL_SESSION_set1_ticket_appdata(data []byte) bool {
	return C.sc_session_set_appdata(s.p, bytesPtr(data), C.size_t(len(data))) == 1
}

// SSL_SESSION_is_resumable says whether libssl would resume it.
func (s Session) SSL_SESSION_is_resumable() bool {
	return C.SSL_SESSION_is_resumable(s.p.session) == 1
}

// Origin returns when the full handshake was that the session goes back to, in
// Unix seconds.
func (s Session) Origin() int64 { return int64(C.sc_origin(s.p.session)) }

// SetOrigin notes another time of the full handshake; for tests.
func (s Session) SetOrigin(t int64) bool {
	return C.sc_set_origin(s.p.session, C.int64_t(t)) == 1
}

// SSL_SESSION_set_time sets when the session was made, in seconds.
func (s Session) SSL_SESSION_set_time(t int64) {
	C.sc_session_set_time(s.p, C.int64_t(t))
}

// SSL_SESSION_set_timeout sets the lifetime, in seconds.
func (s Session) SSL_SESSION_set_timeout(t int64) {
	C.sc_session_set_timeout(s.p, C.int64_t(t))
}

// SSL_SESSION_set1_id_context borrows id.
func (s Session) SSL_SESSION_set1_id_context(id []byte) bool {
	return C.sc_session_set_id_context(s.p, bytesPtr(id), C.uint(len(id))) == 1
}

// SSL_SESSION_set1_id borrows id.
func (s Session) SSL_SESSION_set1_id(id []byte) bool {
	return C.sc_session_set_id(s.p, bytesPtr(id), C.uint(len(id))) == 1
}
