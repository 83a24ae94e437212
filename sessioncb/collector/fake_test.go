package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// session and conn are what a Cache reads of them.
type session struct {
	sessioncb.Session
	id, der []byte
	version uint16
	err     error
}

func (s *session) ID() []byte                     { return bytes.Clone(s.id) }
func (s *session) IDContext() []byte              { return []byte("host A") }
func (s *session) Version() uint16                { return s.version }
func (s *session) Time() time.Time                { return time.Now() }
func (s *session) Timeout() time.Duration         { return time.Hour }
func (s *session) MarshalBinary() ([]byte, error) { return bytes.Clone(s.der), s.err }

type conn struct {
	sessioncb.Conn
	client    bool
	idContext string
	version   uint16
}

func (c *conn) IsServer() bool           { return !c.client }
func (c *conn) SessionIDContext() []byte { return []byte(c.idContext) }
func (c *conn) Version() uint16          { return c.version }

// store is a map, with a hook before each call.
type store struct {
	mu     sync.Mutex
	values map[string][]byte
	before func(ctx context.Context) error
}

func (s *store) do(ctx context.Context, f func()) error {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	return nil
}

func (s *store) hook(before func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *store) Get(ctx context.Context, key sessioncb.Key) (value []byte, err error) {
	err = s.do(ctx, func() { value = bytes.Clone(s.values[string(key.ID)]) })
	if err == nil && value == nil {
		err = sessioncb.ErrNotFound
	}
	return value, err
}

func (s *store) Claim(ctx context.Context, key sessioncb.Key) (value []byte, err error) {
	err = s.do(ctx, func() { value = s.values[string(key.ID)]; delete(s.values, string(key.ID)) })
	if err == nil && value == nil {
		err = sessioncb.ErrNotFound
	}
	return value, err
}

func (s *store) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	value = bytes.Clone(value)
	return s.do(ctx, func() { s.values[string(key.ID)] = value })
}

func (s *store) Delete(ctx context.Context, key sessioncb.Key) error {
	return s.do(ctx, func() { delete(s.values, string(key.ID)) })
}

// A script drives one Cache. Each step is for TLS 1.2 unless it says other.
type script struct {
	*testing.T
	store *store
	cache *sessioncb.Cache
	codec sessioncb.Codec
	conn  *conn
	s     *session
}

func newScript(t *testing.T, o sessioncb.CacheOptions) *script {
	t.Helper()
	keys, err := sessioncb.NewKeyRing(bytes.Repeat([]byte{1}, sessioncb.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	o.Keys = keys
	s := &script{T: t, store: &store{values: map[string][]byte{}}, codec: keys.Codec()}
	if s.cache, err = sessioncb.NewCache(s.store, o); err != nil {
		t.Fatal(err)
	}
	s.conn = &conn{idContext: "host A", version: tls.VersionTLS12}
	s.s = &session{id: []byte("an id"), der: []byte("0 a secret session"), version: tls.VersionTLS12}
	return s
}

func (s *script) put() { s.cache.NewSession(s.Context(), s.conn, s.s) }

func (s *script) get() { s.cache.GetSession(s.Context(), s.conn, bytes.Clone(s.s.id)) }

func (s *script) remove(r sessioncb.Reason) {
	s.cache.RemoveSession(s.Context(), s.s, sessioncb.Removal{Reason: r})
}

// stored puts a value straight into the store.
func (s *script) stored(value []byte) { s.store.values[string(s.s.id)] = value }

func (s *script) sealed(expires time.Duration) []byte {
	value, err := s.codec.Encode(sessioncb.Key{ID: s.s.id}, sessioncb.Record{
		DER: s.s.der, IDContext: s.s.IDContext(), Expires: time.Now().Add(expires),
	})
	if err != nil {
		s.Fatal(err)
	}
	return value
}
