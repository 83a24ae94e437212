// Package livestore is a sessioncb.LiveStore: it keeps the sessions themselves
// in the memory of the process, not their bytes, so that a lookup costs a
// duplicate (SSL_SESSION_dup) and no decoding of the client's certificate. It is
// bounded in number, its sessions expire, and what is in it dies with the
// process.
//
//	store, err := livestore.New(livestore.Options{})
//	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{})
package livestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/internal/lru"
)

// DefaultMaxSessions is how many sessions a Store keeps unless told otherwise.
const DefaultMaxSessions = 20_000

// Options bound a Store. The zero value takes the defaults.
type Options struct {
	// MaxSessions bounds the number of sessions. One that does not fit pushes
	// out what was used least recently; from 256 sessions on the store is in
	// parts, each of which does so by itself. A session takes some 2 KiB, and 7
	// KiB with a client's certificate of its own. 0 means DefaultMaxSessions.
	MaxSessions int
	// Now is the clock of lifetimes. It is called concurrently. nil means
	// time.Now.
	Now func() time.Time
}

// Store implements sessioncb.LiveStore. It owns the sessions that are in it,
// and closes each when it leaves; Close closes the rest. What has expired
// leaves at a later call. Its methods are called concurrently. It has no
// goroutines.
type Store struct {
	sessions *lru.Cache[sessioncb.Session]
	claimed  claimed
	now      func() time.Time
	closed   atomic.Bool
}

var _ sessioncb.LiveStore = (*Store)(nil)

// New returns an empty store. A negative bound is an error.
func New(o Options) (*Store, error) {
	if o.MaxSessions < 0 {
		return nil, fmt.Errorf("livestore: MaxSessions is negative: %d", o.MaxSessions)
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{
		sessions: lru.New(math.MaxInt64, o.MaxSessions, lru.Kind[sessioncb.Session]{
			Size: func(sessioncb.Session) int { return 0 }, // libssl does not tell
			Copy: func(s sessioncb.Session) sessioncb.Session { return s },
			Drop: func(s sessioncb.Session) { s.Close() },
		}),
		now: o.Now,
	}, nil
}

// PutSession takes s for ttl, in place of what was there, and pushes out what
// no longer fits. It takes nothing after Close.
func (s *Store) PutSession(key sessioncb.Key, session sessioncb.Session, ttl time.Duration) (taken bool) {
	now := s.now()
	s.claimed.sweep(now)
	// Asked under the lock that Close needs to find the session.
	open := func() bool { return !s.closed.Load() }
	return s.sessions.PutIf(key.ID, session, now, now.Add(ttl), open)
}

// GetSession returns the session, which the store goes on owning, or
// sessioncb.ErrNotFound.
func (s *Store) GetSession(key sessioncb.Key) (sessioncb.Session, error) {
	session, there := s.sessions.Get(key.ID, s.now())
	if !there {
		return nil, sessioncb.ErrNotFound
	}
	return session, nil
}

// ClaimSession returns the session to one caller, and to nobody again, or
// sessioncb.ErrNotFound. It is closed at the first PutSession or ClaimSession
// after ten seconds, and sooner if more than a thousand are claimed meanwhile.
func (s *Store) ClaimSession(key sessioncb.Key) (sessioncb.Session, error) {
	now := s.now()
	s.claimed.sweep(now)
	session, there := s.sessions.Take(key.ID, now)
	if !there {
		return nil, sessioncb.ErrNotFound
	}
	s.claimed.add(session, now)
	return session, nil
}

// Delete closes the session, if there is one.
func (s *Store) Delete(ctx context.Context, key sessioncb.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.sessions.Delete(key.ID)
	return nil
}

var errNoBytes = fmt.Errorf("livestore: the store keeps sessions, no bytes: %w", errors.ErrUnsupported)

// Get reports an error that wraps errors.ErrUnsupported: there are no bytes.
func (s *Store) Get(context.Context, sessioncb.Key) ([]byte, error) { return nil, errNoBytes }

// Put reports an error that wraps errors.ErrUnsupported: see PutSession.
func (s *Store) Put(context.Context, sessioncb.Key, []byte, time.Duration) error { return errNoBytes }

// Len returns the number of sessions that have not expired, without the claimed
// ones.
func (s *Store) Len() int {
	n, _ := s.sessions.Size(s.now())
	return n
}

// Close closes all sessions. From then on the store finds and takes nothing, so
// that whoever still uses it makes full handshakes. A second Close does nothing.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.sessions.Clear()
	s.claimed.close()
	return nil
}
