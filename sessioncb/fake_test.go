package sessioncb

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sessioncb/openssl/internal/sealed"
)

// fakeSession is a session without a libssl.
type fakeSession struct {
	sealed.Mark
	id, idContext []byte
	der           []byte
	err           error // of MarshalBinary
	time          time.Time
	timeout       time.Duration
	version       uint16 // 0 is TLS 1.3
	marshaled     []byte // what MarshalBinary gave out last
}

func (s *fakeSession) ID() []byte                                  { return bytes.Clone(s.id) }
func (s *fakeSession) IDContext() []byte                           { return bytes.Clone(s.idContext) }
func (s *fakeSession) Version() uint16                             { return or(s.version, tls.VersionTLS13) }
func (s *fakeSession) Time() time.Time                             { return s.time }
func (s *fakeSession) Timeout() time.Duration                      { return s.timeout }
func (s *fakeSession) ServerName() string                          { return "" }
func (s *fakeSession) PeerCertificate() (*x509.Certificate, error) { return nil, nil }
func (s *fakeSession) Retain() (Session, error)                    { return s, nil }
func (s *fakeSession) Close() error                                { return nil }
func (s *fakeSession) MarshalBinary() ([]byte, error) {
	s.marshaled = bytes.Clone(s.der)
	return s.marshaled, s.err
}

// fakeConn is a connection without a libssl. nil idContext: only OpenSSL knows.
type fakeConn struct {
	sealed.Mark
	client    bool
	idContext []byte
	version   uint16 // 0 is TLS 1.3
}

func (c *fakeConn) Version() uint16          { return or(c.version, tls.VersionTLS13) }
func (c *fakeConn) Context() Context         { return nil }
func (c *fakeConn) IsServer() bool           { return !c.client }
func (c *fakeConn) ServerName() string       { return "" }
func (c *fakeConn) SessionIDContext() []byte { return c.idContext }
func (c *fakeConn) RemoteAddr() net.Addr     { return nil }

// fakeStore is a map, with hooks before and after each call that may fail or
// hang: between the two the map is read or written.
type fakeStore struct {
	mu     sync.Mutex
	values map[string][]byte
	ttls   map[string]time.Duration
	calls  map[string]int // by name of the method
	before func(ctx context.Context, method string) error
	after  func(ctx context.Context, method string)
}

func newFakeStore() *fakeStore {
	return &fakeStore{values: map[string][]byte{}, ttls: map[string]time.Duration{}, calls: map[string]int{}}
}

func (s *fakeStore) enter(ctx context.Context, method string) error {
	s.mu.Lock()
	s.calls[method]++
	before := s.before
	s.mu.Unlock()
	if before != nil {
		return before(ctx, method)
	}
	return nil
}

func (s *fakeStore) leave(ctx context.Context, method string) {
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after != nil {
		after(ctx, method)
	}
}

// hook sets before while calls are under way.
func (s *fakeStore) hook(before func(ctx context.Context, method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *fakeStore) Get(ctx context.Context, key Key) ([]byte, error) {
	if err := s.enter(ctx, "Get"); err != nil {
		return nil, err
	}
	defer s.leave(ctx, "Get")
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[string(key.ID)]
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (s *fakeStore) Put(ctx context.Context, key Key, value []byte, ttl time.Duration) error {
	if err := s.enter(ctx, "Put"); err != nil {
		return err
	}
	defer s.leave(ctx, "Put")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[string(key.ID)] = bytes.Clone(value)
	s.ttls[string(key.ID)] = ttl
	return nil
}

func (s *fakeStore) Delete(ctx context.Context, key Key) error {
	if err := s.enter(ctx, "Delete"); err != nil {
		return err
	}
	defer s.leave(ctx, "Delete")
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, string(key.ID))
	return nil
}

func (s *fakeStore) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// value returns what the store holds, nil for nothing.
func (s *fakeStore) value(id []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[string(id)]
}

// claimingStore is a fakeStore that can claim too.
type claimingStore struct{ *fakeStore }

func (s claimingStore) Claim(ctx context.Context, key Key) ([]byte, error) {
	if err := s.enter(ctx, "Claim"); err != nil {
		return nil, err
	}
	defer s.leave(ctx, "Claim")
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[string(key.ID)]
	if !ok {
		return nil, ErrNotFound
	}
	delete(s.values, string(key.ID))
	return v, nil
}

// gated makes a store that stops each write until it is released.
func gated(store *fakeStore) (release func()) {
	out := make(chan struct{})
	store.hook(func(_ context.Context, method string) error {
		if method == "Put" || method == "Delete" {
			<-out
		}
		return nil
	})
	return sync.OnceFunc(func() { close(out) })
}

// numbered is a session of TLS 1.2 that is unlike others.
func numbered(n int) *fakeSession {
	s := testSession()
	s.id = fmt.Append(nil, "id ", n)
	s.der = fmt.Append(nil, "0 secret ", n)
	s.version = 0x0303
	return s
}

// tls12 is a connection that a numbered session suits.
var tls12 = &fakeConn{idContext: []byte("host A"), version: 0x0303}
