package cshim

/*
#include "shim.h"

// With each crossing cgo looks whether a pointer that it is given is one of Go's, and
// leads to others. It does not look at a number.
static void step_handshake(uintptr_t c, int fd, const unsigned char *in, size_t in_len, int eof,
                           unsigned char *out, size_t out_cap, const unsigned char *answers, size_t answers_len,
                           int until, unsigned char *early, size_t early_len)
{
    sc_conn_handshake((sc_conn *)c, fd, in, in_len, eof, out, out_cap, answers, answers_len, until, early, early_len);
}

static void step_read(uintptr_t c, int fd, const unsigned char *in, size_t in_len, int eof,
                      unsigned char *buf, size_t len)
{
    sc_conn_read((sc_conn *)c, fd, in, in_len, eof, buf, len);
}

static void step_write(uintptr_t c, int fd, unsigned char *out, size_t out_cap, const unsigned char *buf, size_t len)
{
    sc_conn_write((sc_conn *)c, fd, out, out_cap, buf, len);
}
*/
import "C"

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// Conn is an SSL on our BIO. One goroutine at a time may call its methods.
type Conn struct{ p *C.sc_conn }

// number is the SSL's address for a crossing.
func (c *Conn) number() C.uintptr_t { return C.uintptr_t(uintptr(unsafe.Pointer(c.p))) }

// Status says how a step ended.
type Status uint8

// The ends of a step.
const (
	Done       Status = C.SC_DONE
	WantRead   Status = C.SC_WANT_READ
	WantWrite  Status = C.SC_WANT_WRITE  // encrypted bytes wait for the transport
	WantLookup Status = C.SC_WANT_LOOKUP // the ClientHello names sessions
	WantPool   Status = C.SC_WANT_POOL   // see NoHeavySteps
	Closed     Status = C.SC_CLOSED      // the peer's close_notify
	Truncated  Status = C.SC_TRUNCATED   // the transport ended without one
	Failed     Status = C.SC_FAILED
	Late       Status = C.SC_LATE // the time for the handshake is over
)

// Result is the outcome of a step.
type Result struct {
	N        int // application bytes
	In, Out  int // borrowed memory consumed and filled; of a descriptor, In is 1 if it was left empty
	Pending  int // encrypted bytes kept
	WriteErr syscall.Errno
	Status   Status
	Events   Events
	Sessions bool // AppendAnnounced has some
	Held     bool // nothing leaves before Flush with release
}

// IO is the transport of one step: a descriptor or, unless Memory is nil, memory.
type IO struct {
	FD     int
	Quiet  bool // of a Conn that a Listener accepted: the descriptor has nothing to read
	Memory *Memory
}

// Memory is what a step borrows in place of a descriptor.
type Memory struct {
	In  []byte
	EOF bool // no input will follow
	Out []byte
}

var noMemory Memory

func (io IO) memory() *Memory {
	if io.Memory == nil {
		return &noMemory
	}
	return io.Memory
}

func (io IO) fd() C.int {
	if io.Memory != nil {
		return -1
	}
	return C.int(io.FD)
}

func (c *Conn) result(to *Result) {
	r := &c.p.result
	to.N, to.In, to.Out, to.Pending = int(r.n), int(r.in), int(r.out), int(r.pending)
	to.WriteErr, to.Status, to.Events = syscall.Errno(r.write_sys), Status(r.status), Events(r.events)
	to.Sessions, to.Held = c.p.announced != nil, c.p.hold != 0
}

// Idle says that Read would find nothing if the descriptor is quiet, and have nothing
// else to do. It does not cross.
func (c *Conn) Idle() bool { return c.p.idle != 0 && c.p.dropped == nil && c.p.kept_len == 0 }

// NewConn makes an SSL (SSL_new) of ctx, which must not be closed.
func NewConn(ctx *Context, server bool) (*Conn, Queue, bool) {
	p := C.sc_conn_new(ctx.p, cBool(server))
	if p == nil || p.ssl == nil {
		var q Queue
		if p != nil {
			q = goQueue(p.errors)
		}
		C.sc_conn_discard(p)
		return nil, q, false
	}
	return &Conn{p}, Queue{}, true
}

// SetPolled says that IO.Quiet will be told.
func (c *Conn) SetPolled() { c.p.polled = 1 }

// SetClient sets SNI, the host name or IP address to verify, whether to
// verify, and the session to offer (borrowed; the zero Session for none).
func (c *Conn) SetClient(sni, host, ip string, verify bool, offer Session) (Queue, bool) {
	var e C.sc_errors
	s, h, i := cString(sni), cString(host), cString(ip)
	defer func() { freeString(s); freeString(h); freeString(i) }()
	return done(C.sc_conn_client(c.p, s, h, i, cBool(verify), offer.p, &e), &e)
}

// Handshake is SSL_do_handshake, with SSL_read_early_data before it on a server
// that accepts early data. answers, if any, are those of AppendLookups; early is
// filled with UntilData.
func (c *Conn) Handshake(io IO, answers []byte, until Until, early []byte, r *Result) {
	m := io.memory()
	c.p.quiet = cFlag(io.Quiet)
	C.step_handshake(c.number(), io.fd(), bytesPtr(m.In), C.size_t(len(m.In)), cBool(m.EOF),
		bytesPtr(m.Out), C.size_t(len(m.Out)), bytesPtr(answers), C.size_t(len(answers)),
		C.int(until), bytesPtr(early), C.size_t(len(early)))
	c.result(r)
}

// Read is SSL_read_ex.
func (c *Conn) Read(io IO, buf []byte, r *Result) {
	m := io.memory()
	c.p.quiet = cFlag(io.Quiet)
	C.step_read(c.number(), io.fd(), bytesPtr(m.In), C.size_t(len(m.In)), cBool(m.EOF),
		bytesPtr(buf), C.size_t(len(buf)))
	c.result(r)
}

// Peek is SSL_peek_ex of a byte: it handles all that is not application data.
func (c *Conn) Peek(io IO, r *Result) {
	m := io.memory()
	c.p.quiet = cFlag(io.Quiet)
	C.sc_conn_peek(c.p, io.fd(), bytesPtr(m.In), C.size_t(len(m.In)), cBool(m.EOF))
	c.result(r)
}

// Write is SSL_write_ex, until all is written, the transport is full, or it is done
// with 1 MiB.
func (c *Conn) Write(io IO, buf []byte, r *Result) {
	m := io.memory()
	C.step_write(c.number(), io.fd(), bytesPtr(m.Out), C.size_t(len(m.Out)),
		bytesPtr(buf), C.size_t(len(buf)))
	c.result(r)
}

// Flush sends what is kept; release ends a hold first.
func (c *Conn) Flush(io IO, release bool, r *Result) {
	m := io.memory()
	C.sc_conn_flush(c.p, io.fd(), bytesPtr(m.Out), C.size_t(len(m.Out)), cBool(release))
	c.result(r)
}

// Shutdown is SSL_shutdown, where the state allows it.
func (c *Conn) Shutdown(io IO, r *Result) {
	m := io.memory()
	C.sc_conn_shutdown(c.p, io.fd(), bytesPtr(m.Out), C.size_t(len(m.Out)))
	c.result(r)
}

// Free takes the SSL (SSL_free). With mark, the session stays resumable
// unless a fatal alert was seen.
func (c *Conn) Free(mark bool) Events { return Events(C.sc_conn_free(c.p, cBool(mark))) }

// Failure returns why the last step failed. It does not cross.
func (c *Conn) Failure() (code int, errno syscall.Errno, verify int64, q Queue) {
	r := &c.p.result
	return int(r.ssl_error), syscall.Errno(r.sys), int64(r.verify), goQueue(c.p.errors)
}

// Fatal says whether a fatal alert was sent or received.
func (c *Conn) Fatal() bool { return c.p.fatal != 0 }

// ServerName returns the SNI name of the ClientHello, or "". It does not cross.
func (c *Conn) ServerName() string { return C.GoString(c.p.server_name) }

// Version returns the protocol version, or 0 while it is not decided. It does
// not cross.
func (c *Conn) Version() uint16 { return uint16(c.p.version) }

// Resumes says, without a crossing, whether the handshake is a resumption as far as
// it is made (SSL_session_reused).
func (c *Conn) Resumes() bool { return c.p.resumes != 0 }

// AsksHost says, without a crossing, whether the handshake waits for Adopt or Stay.
func (c *Conn) AsksHost() bool { return c.p.birth.asks_host != 0 && c.p.host_chosen == 0 }

// HelloText returns a copy of what the ClientHello says: items of two bytes of
// type, two of length, and data; 0xffff are the cipher suites, other types
// those of extensions. It does not cross.
func (c *Conn) HelloText() []byte {
	return C.GoBytes(unsafe.Pointer(c.p.hello_text), C.int(c.p.hello_text_len))
}

// Stay chooses the context that the connection was made with. It does not cross.
func (c *Conn) Stay() { c.p.host_chosen = 1 }

// Refuse ends the handshake in the next step, with an alert. It does not cross.
func (c *Conn) Refuse() { c.p.host_chosen = -1 }

// Adopt chooses host, which must not be closed: its configuration is in force
// from now on. After a failure the handshake must not go on.
func (c *Conn) Adopt(host *Context) (Queue, bool) {
	var e C.sc_errors
	c.p.host_chosen = 1
	return done(C.sc_conn_adopt(c.p, host.p, &e), &e)
}

// AddIDs gives ids for the next sessions, the last one first.
func (c *Conn) AddIDs(ids [][32]byte) bool {
	return len(ids) == 0 || C.sc_conn_ids(c.p, (*C.uchar)(&ids[0][0]), C.size_t(len(ids))) == 1
}

// Judge says whether the answer would be given to libssl: an encoding, or
// unless it is zero a session, both borrowed.
func (c *Conn) Judge(id, der []byte, live Session) bool {
	return C.sc_conn_judge(c.p, bytesPtr(id), C.int(len(id)), bytesPtr(der), C.size_t(len(der)), live.p) == 0
}

// AppendLookups appends copies of the ids that wait for an answer.
func (c *Conn) AppendLookups(ids [][]byte) [][]byte {
	list := unsafe.Slice(c.p.lookup, c.p.lookups)
	for i := range list {
		if l := &list[i]; l.answered == 0 {
			ids = append(ids, C.GoBytes(unsafe.Pointer(&l.id[0]), C.int(l.id_len)))
		}
	}
	return ids
}

// AppendMiss, AppendDER and AppendLive build the answers to AppendLookups, in order.
func AppendMiss(b []byte) []byte { return append(b, 0) }

// AppendDER answers with an encoding.
func AppendDER(b, der []byte) []byte {
	n := len(der)
	return append(append(b, 1, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), der...)
}

// AppendLive answers with a session that the Handshake which is given the
// answers takes.
func AppendLive(b []byte, s Session) []byte {
	p := s.p
	return append(append(b, 2), unsafe.Slice((*byte)(unsafe.Pointer(&p)), unsafe.Sizeof(p))...)
}

// AppendAnnounced appends new: the sessions that libssl announced, which it
// gives up. It does not cross.
func (c *Conn) AppendAnnounced(list []Session) []Session {
	from := len(list)
	for p := c.p.announced; p != nil; p = p.next {
		list = append(list, Session{p})
	}
	for _, s := range list[from:] {
		s.p.next = nil
	}
	c.p.announced = nil
	c.p.announced_end = &c.p.announced
	return list
}

// Drop takes s; it is freed by the next step, so it costs no crossing.
func (c *Conn) Drop(s Session) {
	s.p.next = c.p.dropped
	c.p.dropped = s.p
}

// State is the part of crypto/tls.ConnectionState that libssl knows.
type State struct {
	Version, Cipher int
	Resumed         bool
	ALPN            string
	ServerName      string
	Peer, Verified  [][]byte // DER, leaf first
	OCSP            []byte
	VerifyResult    int64
}

// State reads all in one crossing, and a second one to free the copies.
func (c *Conn) State() State {
	var s C.sc_state
	C.sc_conn_state(c.p, &s)
	st := State{
		Version: int(s.version), Cipher: int(s.cipher), Resumed: s.resumed != 0,
		ALPN:       string(C.GoBytes(unsafe.Pointer(s.alpn), C.int(s.alpn_len))),
		ServerName: C.GoString(s.server_name),
		Peer:       split(s.certs, s.certs_len), Verified: split(s.verified, s.verified_len),
		VerifyResult: int64(s.verify),
	}
	if s.ocsp_len > 0 {
		st.OCSP = C.GoBytes(unsafe.Pointer(s.ocsp), C.int(s.ocsp_len))
	}
	if s.certs != nil || s.verified != nil {
		C.sc_state_free(&s)
	}
	return st
}

func split(p *C.uchar, n C.size_t) [][]byte {
	var list [][]byte
	for b := C.GoBytes(unsafe.Pointer(p), C.int(n)); len(b) > 4; {
		m := 4 + int(binary.BigEndian.Uint32(b))
		list = append(list, b[4:m:m])
		b = b[m:]
	}
	return list
}

// Export is SSL_export_keying_material; a nil context is none.
func (c *Conn) Export(out []byte, label string, context []byte) bool {
	l := cString(label)
	defer freeString(l)
	return C.sc_conn_export(c.p, bytesPtr(out), C.size_t(len(out)), l, C.size_t(len(label)),
		bytesPtr(context), C.size_t(len(context)), cBool(context != nil)) == 1
}

// Session returns new: a private copy of the connection's session.
func (c *Conn) Session() Session { return Session{C.sc_conn_session(c.p)} }

// SSL_new_session_ticket queues a ticket for the next write.
func (c *Conn) SSL_new_session_ticket() bool { return C.sc_conn_new_ticket(c.p) == 1 }

// SSL_key_update queues a KeyUpdate for the next write.
func (c *Conn) SSL_key_update(request bool) bool {
	return C.sc_conn_key_update(c.p, cBool(request)) == 1
}
