package ssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/internal/sealed"
	"github.com/sessioncb/openssl/sessioncb"
)

type mark = sealed.Mark

// Session is one reference on an SSL_SESSION. Its owner closes it; what is
// forgotten is freed when it is collected. Methods may be called from any
// goroutine. ID, IDContext, Version, Time and Timeout are a snapshot: they do
// not cross into C and stay readable after Close; the other accessors report
// zero values then, and MarshalBinary reports [sessioncb.ErrSessionClosed].
//
// A Session of a handler is borrowed for the call, unless the handler keeps it.
type Session struct {
	//lint:ignore U1000 its method closes the interfaces of sessioncb
	mark
	snap    cshim.Snapshot
	removed bool // remove_session_cb gave it: dead for resumption

	family  *sync.RWMutex // of all owners of one SSL_SESSION; see lock
	p       cshim.Session // none after Close, or when the loan ended
	lent    bool          // shared with a connection: a second owner gets a copy
	cleanup runtime.Cleanup
	owned   bool // cleanup is set
	closed  bool // Close was called during the loan
}

var _ sessioncb.Session = (*Session)(nil)

// lend wraps b for a handler's call; takeBack ends the loan.
func lend(b cshim.Session, snap cshim.Snapshot) *Session {
	return &Session{snap: snap, family: new(sync.RWMutex), p: b, lent: true}
}

// own wraps b for an owner who must Close it.
func own(b cshim.Session) *Session { return ownWith(b, new(sync.RWMutex)) }

func ownWith(b cshim.Session, family *sync.RWMutex) *Session {
	s := &Session{snap: b.Snapshot(), family: family, p: b}
	s.adopt()
	return s
}

// unowned locks for the zero Session, which holds nothing.
var unowned sync.RWMutex

// lock returns the lock of the SSL_SESSION, which its owners share.
func (s *Session) lock() *sync.RWMutex {
	if s.family == nil {
		return &unowned
	}
	return s.family
}

// forgotten counts sessions and connections that only the garbage collector freed.
var forgotten atomic.Int64

func (s *Session) adopt() {
	s.owned = true
	s.cleanup = runtime.AddCleanup(s, func(b cshim.Session) {
		forgotten.Add(1)
		b.Free()
	}, s.p)
}

// takeBack ends the loan and returns the reference, or none.
func (s *Session) takeBack() cshim.Session {
	s.lock().Lock()
	defer s.lock().Unlock()
	b := s.p
	s.p = cshim.Session{}
	return b
}

// keep makes the handler the owner, of a private object; false if that fails.
func (s *Session) keep() bool {
	s.lock().Lock()
	defer s.lock().Unlock()
	if s.closed || s.lent && s.p.Unshare() != nil {
		return false
	}
	s.lent = false
	s.adopt()
	return true
}

// unshare gives a handler that is late a private object to go on with.
func (s *Session) unshare() {
	s.lock().Lock()
	defer s.lock().Unlock()
	if s.lent && !s.p.IsZero() && s.p.Unshare() == nil {
		s.lent = false
	}
}

// use calls f with the session, which cannot be closed meanwhile.
func (s *Session) use(f func(cshim.Session)) bool {
	s.lock().RLock()
	defer s.lock().RUnlock()
	if s.p.IsZero() {
		return false
	}
	f(s.p)
	return true
}

// ParseSession decodes what MarshalBinary made (d2i_SSL_SESSION); bytes left
// over are an error, as is a session without a cipher, which libssl could not
// resume without crashing. The caller owns the Session. The bytes are trusted:
// they carry the peer's verified identity; take them only from a store that
// nobody else can write, or sealed.
func ParseSession(der []byte) (*Session, error) {
	b, q, ok := cshim.ParseSession(der)
	if !ok {
		return nil, opError("parse session", q)
	}
	return own(b), nil
}

// pemType is what the openssl command calls a session.
const pemType = "SSL SESSION PARAMETERS"

// ParseSessionPEM decodes the first "SSL SESSION PARAMETERS" block, as
// `openssl s_client -sess_out` writes it (PEM_read_bio_SSL_SESSION).
func ParseSessionPEM(data []byte) (*Session, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, &Error{Op: "parse session", Err: errors.New("no PEM block of type " + pemType)}
		}
		if block.Type == pemType {
			return ParseSession(block.Bytes)
		}
		data = rest
	}
}

// ID returns a copy of the session id (SSL_SESSION_get_id). A client's id for
// a ticket is a hash of the ticket, unrelated to the server's id.
func (s *Session) ID() []byte { return bytes.Clone(s.snap.ID) }

// IDContext returns a copy of the session id context (SSL_SESSION_get0_id_context).
func (s *Session) IDContext() []byte { return bytes.Clone(s.snap.Context) }

// Version returns tls.VersionTLS12 or tls.VersionTLS13 (SSL_SESSION_get_protocol_version).
func (s *Session) Version() uint16 { return uint16(s.snap.Version) }

// Time returns when the session was made, in whole seconds (SSL_SESSION_get_time).
func (s *Session) Time() time.Time { return time.Unix(s.snap.Time, 0) }

// FullHandshake returns when the full handshake was that the session goes back
// to, in whole seconds: Time, unless it was made by a resumption of TLS 1.3. See
// Config.MaxResumptionAge.
func (s *Session) FullHandshake() (t time.Time) {
	s.use(func(b cshim.Session) { t = time.Unix(b.Origin(), 0) })
	return t
}

// Timeout returns the lifetime from Time on, in whole seconds (SSL_SESSION_get_timeout).
func (s *Session) Timeout() time.Duration { return time.Duration(s.snap.Timeout) * time.Second }

// CipherSuite returns the suite's number as in crypto/tls (SSL_SESSION_get0_cipher).
func (s *Session) CipherSuite() (suite uint16) {
	s.use(func(b cshim.Session) { suite = b.SSL_SESSION_get0_cipher() })
	return suite
}

// ServerName returns the SNI name, or "" (SSL_SESSION_get0_hostname).
func (s *Session) ServerName() (name string) {
	s.use(func(b cshim.Session) { name = b.SSL_SESSION_get0_hostname() })
	return name
}

// ALPN returns the protocol chosen when the session was made, or "" (SSL_SESSION_get0_alpn_selected).
func (s *Session) ALPN() (proto string) {
	s.use(func(b cshim.Session) { proto = b.SSL_SESSION_get0_alpn_selected() })
	return proto
}

// Ticket returns a copy of a client's ticket, or nil (SSL_SESSION_get0_ticket).
func (s *Session) Ticket() (ticket []byte) {
	s.use(func(b cshim.Session) { ticket = b.SSL_SESSION_get0_ticket() })
	return ticket
}

// HasTicket says whether there is a ticket (SSL_SESSION_has_ticket).
func (s *Session) HasTicket() bool { return len(s.Ticket()) > 0 }

// TicketLifetimeHint returns how long the server said that the ticket is good
// for, 0 if it said nothing (SSL_SESSION_get_ticket_lifetime_hint).
func (s *Session) TicketLifetimeHint() (d time.Duration) {
	s.use(func(b cshim.Session) {
		d = time.Duration(b.SSL_SESSION_get_ticket_lifetime_hint()) * time.Second
	})
	return d
}

// MaxEarlyData returns how many bytes of early data may go with the session
// (SSL_SESSION_get_max_early_data).
func (s *Session) MaxEarlyData() (n uint32) {
	s.use(func(b cshim.Session) { n = b.SSL_SESSION_get_max_early_data() })
	return n
}

// TicketAppData returns a copy of what a server added to the session, or nil
// (SSL_SESSION_get0_ticket_appdata). It is encoded, and inherited by the
// sessions that a resumption makes.
func (s *Session) TicketAppData() (data []byte) {
	s.use(func(b cshim.Session) { data = b.SSL_SESSION_get0_ticket_appdata() })
	return data
}

// SetTicketAppData adds data to the session (SSL_SESSION_set1_ticket_appdata);
// it belongs in a NewHandler, before the session is encoded.
func (s *Session) SetTicketAppData(data []byte) error {
	const op = "set ticket appdata"
	s.lock().Lock()
	defer s.lock().Unlock()
	switch {
	case s.p.IsZero():
		return sessioncb.ErrSessionClosed
	case s.removed:
		return &Error{Op: op, Err: sessioncb.ErrRemoved}
	case !s.p.SSL_SESSION_set1_ticket_appdata(data):
		return &Error{Op: op}
	}
	return nil
}

// Resumable says whether libssl would resume it (SSL_SESSION_is_resumable);
// false after Close and for a removed session.
func (s *Session) Resumable() (ok bool) {
	s.use(func(b cshim.Session) { ok = b.SSL_SESSION_is_resumable() })
	return ok
}

// PeerCertificate returns the peer's leaf certificate, or nil
// (SSL_SESSION_get0_peer). The chain is not part of an encoded session.
func (s *Session) PeerCertificate() (*x509.Certificate, error) {
	var der []byte
	s.use(func(b cshim.Session) { der = b.PeerDER() })
	if der == nil {
		return nil, nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &Error{Op: "peer certificate of session", Err: err}
	}
	return cert, nil
}

// MarshalBinary encodes the session (i2d_SSL_SESSION). The bytes are keys and
// identity. A removed session reports sessioncb.ErrRemoved: decoding it would
// revive it.
func (s *Session) MarshalBinary() (der []byte, err error) {
	if s.removed {
		return nil, sessioncb.ErrRemoved
	}
	if !s.use(func(b cshim.Session) { der, err = b.Encode() }) {
		return nil, sessioncb.ErrSessionClosed
	}
	if err != nil {
		return nil, &Error{Op: "encode session", Err: err}
	}
	return der, nil
}

// MarshalPEM encodes the session as the openssl command does
// (PEM_write_bio_SSL_SESSION). The text is as secret as the bytes.
func (s *Session) MarshalPEM() ([]byte, error) {
	der, err := s.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// Retain returns a second owner (SSL_SESSION_up_ref); of a session that a
// connection still uses, an owner of a copy.
func (s *Session) Retain() (sessioncb.Session, error) {
	s.lock().RLock()
	defer s.lock().RUnlock()
	if s.lent && !s.removed {
		return s.second(s.p.Dup, new(sync.RWMutex))
	}
	return s.second(s.p.Retain, s.family)
}

// Dup returns a private copy, owned by the caller (SSL_SESSION_dup). A copy of
// a removed session is not resumable either.
func (s *Session) Dup() (*Session, error) {
	s.lock().RLock()
	defer s.lock().RUnlock()
	return s.second(s.p.Dup, new(sync.RWMutex))
}

func (s *Session) second(f func() (cshim.Session, error), family *sync.RWMutex) (*Session, error) {
	if s.p.IsZero() {
		return nil, sessioncb.ErrSessionClosed
	}
	b, err := f()
	if err != nil {
		return nil, err
	}
	t := ownWith(b, family)
	t.removed = s.removed
	return t, nil
}

// Close gives up ownership (SSL_SESSION_free). A second Close does nothing.
// Closed during a handler's call, the session ends with the call.
func (s *Session) Close() error {
	s.lock().Lock()
	defer s.lock().Unlock()
	s.closed = true
	if s.p.IsZero() || !s.owned {
		return nil
	}
	s.cleanup.Stop()
	s.p.Free()
	s.p = cshim.Session{}
	return nil
}

// String describes the session in one line, without secrets.
func (s *Session) String() string {
	return fmt.Sprintf("session %x %s", s.snap.ID, tls.VersionName(s.Version()))
}

// Text describes the session in lines of "name: value", without the master
// key, the ticket or the appdata; compare SSL_SESSION_print, which shows them.
func (s *Session) Text() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	line("protocol", tls.VersionName(s.Version()))
	if suite := s.CipherSuite(); suite != 0 {
		line("cipher suite", tls.CipherSuiteName(suite))
	}
	line("session id", fmt.Sprintf("%x", s.snap.ID))
	line("session id context", fmt.Sprintf("%x", s.snap.Context))
	line("time", s.Time().UTC().Format(time.RFC3339))
	line("timeout", s.Timeout().String())
	line("expires", s.Time().Add(s.Timeout()).UTC().Format(time.RFC3339))
	// The peer chose these: it must not forge lines or send terminal codes.
	line("server name", quoted(s.ServerName()))
	line("alpn", quoted(s.ALPN()))
	if cert, err := s.PeerCertificate(); err != nil {
		line("peer certificate", "unreadable")
	} else if cert != nil {
		line("peer certificate", quoted(cert.Subject.String()))
	}
	if n := len(s.Ticket()); n > 0 {
		line("ticket", fmt.Sprintf("%d bytes, lifetime hint %s", n, s.TicketLifetimeHint()))
	}
	if n := s.MaxEarlyData(); n > 0 {
		line("max early data", fmt.Sprint(n))
	}
	if n := len(s.TicketAppData()); n > 0 {
		line("ticket appdata", fmt.Sprintf("%d bytes", n))
	}
	line("resumable", fmt.Sprint(s.Resumable()))
	return b.String()
}

// quoted returns s as it is if all of it is printable, else as a Go string.
func quoted(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}
