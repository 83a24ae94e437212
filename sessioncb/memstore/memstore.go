// Package memstore is a sessioncb.Store in the memory of the process: bounded
// in bytes and entries, expiring, and split into shards so that many
// connections use it at once. What is in it dies with the process, so
// sessioncb.ProcessKey seals well enough.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/internal/lru"
)

// Defaults of Options.
const (
	DefaultMaxBytes   = 64 << 20
	DefaultMaxEntries = 100_000
)

// Options bound a Store. The zero value takes the defaults.
type Options struct {
	// MaxBytes bounds ids, values and 192 bytes for each entry. What does
	// not fit pushes out what was used least recently. 0 means
	// DefaultMaxBytes.
	MaxBytes int64
	// MaxEntries bounds the number of sessions. 0 means DefaultMaxEntries.
	MaxEntries int
}

// Store implements sessioncb.Store and sessioncb.Claimer. Its methods are
// called concurrently. It has no goroutines and needs no Close.
type Store struct {
	values *lru.Cache[[]byte]
	now    func() time.Time
}

var (
	_ sessioncb.Store   = (*Store)(nil)
	_ sessioncb.Claimer = (*Store)(nil)
)

// New returns an empty store. Negative bounds are an error, and so are bounds
// that no session fits into (MaxBytes under 4 KiB).
func New(o Options) (*Store, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	if o.MaxBytes < 4<<10 {
		return nil, fmt.Errorf("memstore: MaxBytes is %d: no session fits", o.MaxBytes)
	}
	if o.MaxEntries < 0 {
		return nil, fmt.Errorf("memstore: MaxEntries is negative: %d", o.MaxEntries)
	}
	return &Store{values: lru.Bytes(o.MaxBytes, o.MaxEntries), now: time.Now}, nil
}

// Get returns a copy of the value, or sessioncb.ErrNotFound.
func (s *Store) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	value, there := s.values.Get(key.ID, s.now())
	if !there {
		return nil, sessioncb.ErrNotFound
	}
	return value, nil
}

// Put stores a copy of value, and evicts what no longer fits. A value that
// would not fit into an empty shard (an even share of MaxBytes) is an error,
// and removes what was there.
func (s *Store) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := s.now()
	if !s.values.Put(key.ID, value, now, now.Add(ttl)) {
		return errTooLarge
	}
	return nil
}

// Delete removes the value, if there is one.
func (s *Store) Delete(ctx context.Context, key sessioncb.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.values.Delete(key.ID)
	return nil
}

// Claim removes the value and returns it, or sessioncb.ErrNotFound: of many
// callers at once, one gets it.
func (s *Store) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	value, there := s.values.Take(key.ID, s.now())
	if !there {
		return nil, sessioncb.ErrNotFound
	}
	return value, nil
}

// Len returns the number of sessions that have not expired.
func (s *Store) Len() int {
	n, _ := s.values.Size(s.now())
	return n
}

// Bytes returns what MaxBytes bounds, without what has expired.
func (s *Store) Bytes() int64 {
	_, bytes := s.values.Size(s.now())
	return bytes
}

var errTooLarge = errors.New("memstore: the value is larger than a shard")
