package storetest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/sealed"
	"github.com/sessioncb/openssl/sessioncb"
)

// session is a session without a libssl, which knows whether it was closed.
type session struct {
	sealed.Mark
	key    sessioncb.Key
	made   time.Time
	taken  bool // by the store
	closes atomic.Int32
}

var _ sessioncb.Session = (*session)(nil)

func newSession(key sessioncb.Key) *session {
	return &session{key: sessioncb.Key{ID: bytes.Clone(key.ID)}, made: time.Now()}
}

func (s *session) closed() bool { return s.closes.Load() > 0 }

func (s *session) ID() []byte                                  { return bytes.Clone(s.key.ID) }
func (s *session) IDContext() []byte                           { return nil }
func (s *session) Version() uint16                             { return tls.VersionTLS13 }
func (s *session) Time() time.Time                             { return s.made }
func (s *session) Timeout() time.Duration                      { return time.Hour }
func (s *session) ServerName() string                          { return "" }
func (s *session) PeerCertificate() (*x509.Certificate, error) { return nil, nil }
func (s *session) Retain() (sessioncb.Session, error)          { return nil, errors.ErrUnsupported }
func (s *session) MarshalBinary() ([]byte, error)              { return nil, errors.ErrUnsupported }
func (s *session) String() string                              { return fmt.Sprintf("session %x", s.key.ID) }

// Close counts.
func (s *session) Close() error {
	s.closes.Add(1)
	return nil
}

func putSession(t testing.TB, s sessioncb.LiveStore, one *session, ttl time.Duration) {
	t.Helper()
	if one.taken = s.PutSession(one.key, one, ttl); !one.taken {
		t.Fatalf("PutSession, id %q for %v: not taken", one.key.ID, ttl)
	}
}

// putNew puts a session with an id of its own for an hour.
func putNew(t testing.TB, s sessioncb.LiveStore) *session {
	t.Helper()
	one := newSession(newKey())
	putSession(t, s, one, time.Hour)
	return one
}

func wantSession(t testing.TB, s sessioncb.LiveStore, want *session) {
	t.Helper()
	got, err := s.GetSession(want.key)
	if err != nil || got != want {
		t.Fatalf("GetSession, id %q: got %v, %v; want the session put last", want.key.ID, got, err)
	}
	if want.closed() {
		t.Fatalf("GetSession, id %q: the session is closed", want.key.ID)
	}
}

func wantNoSession(t testing.TB, s sessioncb.LiveStore, key sessioncb.Key) {
	t.Helper()
	if got, err := s.GetSession(key); got != nil || !errors.Is(err, sessioncb.ErrNotFound) {
		t.Fatalf("GetSession, id %q, that should not be there: got %v, %v; want ErrNotFound", key.ID, got, err)
	}
	if got, err := s.ClaimSession(key); got != nil || !errors.Is(err, sessioncb.ErrNotFound) {
		t.Fatalf("ClaimSession, id %q, that should not be there: got %v, %v; want ErrNotFound", key.ID, got, err)
	}
}

func wantClosed(t testing.TB, one *session, why string) {
	t.Helper()
	if !one.closed() {
		t.Fatalf("a session that was %s: not closed", why)
	}
}

// wantEnd is for the time after the store was closed.
func wantEnd(t testing.TB, one *session) {
	t.Helper()
	switch {
	case one.taken && !one.closed():
		t.Fatalf("a session that the store took is open after Close")
	case !one.taken && one.closed():
		t.Fatalf("a session that the store did not take was closed")
	case one.closes.Load() > 1:
		t.Fatalf("a session was closed %d times", one.closes.Load())
	}
}

func closeStore(t testing.TB, s sessioncb.LiveStore) {
	t.Helper()
	if err := s.(io.Closer).Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}
