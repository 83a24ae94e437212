package sessioncb

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/sessioncb/openssl/internal/sealed"
)

// Callbacks are the three session callbacks of an SSL_CTX. A nil field is a C
// callback that is not registered at all. Handlers are called concurrently.
//
// The C functions are SSL_CTX_sess_set_new_cb, SSL_CTX_sess_set_get_cb and
// SSL_CTX_sess_set_remove_cb.
type Callbacks struct {
	New    NewHandler
	Get    GetHandler
	Remove RemoveHandler
}

// A NewHandler is told of each new session, before its peer can use it: the
// bytes that announce the session to the peer leave when NewSession returned,
// or when ctx ended, whichever is first.
//
// The handler borrows s for the call. If it returns true it keeps s, and must
// Close it; if it returns false the binding frees s, and a later use of s
// reports ErrSessionClosed. ctx ends with the Conn's deadline, its Close, and
// ssl.Config.StoreTimeout.
//
// A panic or runtime.Goexit counts as false; it is recorded on the Conn.
type NewHandler interface {
	NewSession(ctx context.Context, c Conn, s Session) (keep bool)
}

// A GetHandler finds the session that a client asks to resume. id is the
// handler's own copy, 1 to 32 bytes. The zero Answer, an error, a panic and an
// answer after ctx ended are all misses: the client gets a full handshake. An
// error is kept on the Conn.
//
// No C frame and no lock waits for it on a Context of package ssl. ctx ends
// with the Conn's deadline, its Close, and ssl.Config.LookupTimeout.
type GetHandler interface {
	GetSession(ctx context.Context, c Conn, id []byte) (Answer, error)
}

// A RemoveHandler is told that OpenSSL holds a session for dead, and why. It
// runs on a goroutine of its own, one call after another for one Context,
// after OpenSSL's call returned; it may call anything. The handler borrows s;
// s.Retain keeps it. s.MarshalBinary reports ErrRemoved.
type RemoveHandler interface {
	RemoveSession(ctx context.Context, s Session, r Removal)
}

// A SingleUser is a GetHandler that says whether it takes a TLS 1.3 session out
// of the store as it answers with it (Claimer), so that no session is used
// twice in the whole fleet. Early data needs that: package ssl refuses
// ssl.Config.MaxEarlyData with any other GetHandler.
type SingleUser interface {
	GetHandler
	SingleUse() bool
}

// An IDMaker is a GetHandler that chooses the ids of new sessions, so that it
// can tell ids that it may find from ids that a stranger made up
// (SSL_CTX_set_generate_session_id). It is asked for one id before each
// handshake of a server and each ticket, and never inside OpenSSL; ok false,
// and a panic, leave the choice to OpenSSL. An id must be unpredictable.
type IDMaker interface {
	GetHandler
	NewSessionID() (id [32]byte, ok bool)
}

// Immediate is a NewHandler or GetHandler that says whether its calls never
// wait: for no network, no disk, and no lock that is held for longer than a
// moment. Such calls may be made on the handshake's own goroutine, and no limit
// of time ends them. A panic is contained there too, and runtime.Goexit ends that
// goroutine. A Cache is immediate with a LiveStore.
type Immediate interface{ Immediate() bool }

// NewHandlerFunc makes a function a NewHandler.
type NewHandlerFunc func(ctx context.Context, c Conn, s Session) (keep bool)

// NewSession calls f.
func (f NewHandlerFunc) NewSession(ctx context.Context, c Conn, s Session) bool { return f(ctx, c, s) }

// GetHandlerFunc makes a function a GetHandler.
type GetHandlerFunc func(ctx context.Context, c Conn, id []byte) (Answer, error)

// GetSession calls f.
func (f GetHandlerFunc) GetSession(ctx context.Context, c Conn, id []byte) (Answer, error) {
	return f(ctx, c, id)
}

// RemoveHandlerFunc makes a function a RemoveHandler.
type RemoveHandlerFunc func(ctx context.Context, s Session, r Removal)

// RemoveSession calls f.
func (f RemoveHandlerFunc) RemoveSession(ctx context.Context, s Session, r Removal) { f(ctx, s, r) }

// An Answer is what a GetHandler found. The zero Answer is a miss.
type Answer struct {
	der  []byte
	live Session
}

// DER answers with an encoded session (i2d_SSL_SESSION); the binding decodes
// it. The binding borrows b until the handshake ended: it must not change.
// DER(nil) is a miss.
func DER(b []byte) Answer { return Answer{der: b} }

// Live answers with a session that the handler goes on owning; the binding
// duplicates it (SSL_SESSION_dup), so that no object of the handler enters a
// connection. If it is closed before that, the answer is a miss. Live(nil) is a
// miss.
func Live(s Session) Answer { return Answer{live: s} }

// Encoded returns the bytes given to DER, or nil.
func (a Answer) Encoded() []byte { return a.der }

// Session returns the session given to Live, or nil.
func (a Answer) Session() Session { return a.live }

// Session is an SSL_SESSION as a handler sees it; *ssl.Session implements it
// and has more accessors. Its methods may be called concurrently. ID,
// IDContext, Version, Time and Timeout are a snapshot that costs no crossing
// and stays readable after Close.
type Session interface {
	// ID returns a copy of the session id, 1 to 32 bytes (SSL_SESSION_get_id).
	ID() []byte
	// IDContext returns a copy of the session id context, 0 to 32 bytes
	// (SSL_SESSION_get0_id_context).
	IDContext() []byte
	// Version returns the protocol, tls.VersionTLS12 or tls.VersionTLS13
	// (SSL_SESSION_get_protocol_version).
	Version() uint16
	// Time returns when the session was made, in seconds (SSL_SESSION_get_time).
	Time() time.Time
	// Timeout returns how long after Time it may be resumed (SSL_SESSION_get_timeout).
	Timeout() time.Duration
	// ServerName returns the SNI name it was made for (SSL_SESSION_get0_hostname), or "".
	ServerName() string
	// PeerCertificate returns the peer's leaf certificate (SSL_SESSION_get0_peer), or nil.
	PeerCertificate() (*x509.Certificate, error)
	// MarshalBinary encodes the session (i2d_SSL_SESSION). The bytes are keys:
	// whoever reads them can read the connection, whoever writes them can be anyone.
	MarshalBinary() ([]byte, error)
	// Retain returns a second owner of the session; both must be closed.
	Retain() (Session, error)
	// Close gives up ownership (SSL_SESSION_free). A second Close does nothing.
	Close() error

	sealed.Seal
}

// Conn is a connection as a handler sees it: *ssl.Conn, or a view of an SSL
// that C code drives, which is dead after the handler's call.
type Conn interface {
	// Context returns the birth context: the one whose callbacks run,
	// whatever SNI switched to later.
	Context() Context
	// IsServer says which side of the handshake this is (SSL_is_server).
	IsServer() bool
	// ServerName returns the SNI name, as soon as a ClientHello was seen, or "".
	ServerName() string
	// Version returns the protocol version, tls.VersionTLS12 or
	// tls.VersionTLS13, or 0 while it is not known (SSL_version). During a
	// lookup it is known: ids of TLS 1.3 are tickets, those of TLS 1.2 session ids.
	Version() uint16
	// SessionIDContext returns the session id context that a session must
	// have to be resumed here, or nil where only OpenSSL knows it (a view).
	SessionIDContext() []byte
	// RemoteAddr returns the peer's address, or nil where it is not known (a view).
	RemoteAddr() net.Addr

	sealed.Seal
}

// Context is an SSL_CTX as a handler sees it: *ssl.Context or *ssl.Attachment.
type Context interface {
	// Name returns ssl.Config.Name or ssl.AttachOptions.Name.
	Name() string
	// AddSession puts a duplicate of s into the internal cache, in place of one
	// of the same id (SSL_CTX_add_session); false if it was not added.
	AddSession(s Session) (bool, error)
	// RemoveSession takes the session with the id of s out of the internal
	// cache and tells the RemoveHandler (SSL_CTX_remove_session); false if
	// none was there.
	RemoveSession(s Session) (bool, error)
	// FlushSessions removes what has expired at t from the internal cache;
	// the zero Time means all (SSL_CTX_flush_sessions).
	FlushSessions(t time.Time) error

	sealed.Seal
}

// Removal says which context dropped a session, and why.
type Removal struct {
	Context Context
	Reason  Reason
	// Err is the cause of Faulty: the error that ended the connection.
	Err error
	// HandshakeDone says, for a session dropped by a connection, whether its
	// handshake had finished. Before that, anybody who saw the session id can
	// have caused the removal.
	HandshakeDone bool
}

// Reason says why a session was removed. OpenSSL does not say; the binding
// derives it from the call that was running.
type Reason int

// The reasons for a removal.
const (
	// Unknown: C code called OpenSSL itself, on an attached context.
	Unknown Reason = iota
	// Explicit: RemoveSession.
	Explicit
	// Expired: its lifetime was over, seen by a lookup or a flush.
	Expired
	// Evicted: the internal cache was full.
	Evicted
	// Flushed: FlushSessions of everything.
	Flushed
	// ContextFreed: the SSL_CTX went away with the session in its cache.
	ContextFreed
	// Faulty: a fatal alert was sent or received.
	Faulty
	// UncleanClose: the connection was freed without a close_notify of ours.
	UncleanClose
	// SingleUse: taken by a resumption with early data enabled.
	SingleUse
	// Used: a client resumed with it and must not use it again.
	Used
)

var reasons = [...]string{"unknown", "explicit", "expired", "evicted", "flushed",
	"context freed", "faulty", "unclean close", "single use", "used"}

// String returns the reason in words, "unknown" for a value out of range.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasons) {
		return reasons[Unknown]
	}
	return reasons[r]
}

// Errors of sessions.
var (
	// ErrRemoved: OpenSSL declared the session dead; encoding it would revive it.
	ErrRemoved = errors.New("sessioncb: session was removed")
	// ErrSessionClosed: the session was closed, or borrowed for a call that has returned.
	ErrSessionClosed = errors.New("sessioncb: session is closed")
)
