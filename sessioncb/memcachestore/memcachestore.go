// Package memcachestore is a sessioncb.Store in memcached, for a fleet.
//
// # The client
//
// It is gomemcache's. Its Timeout bounds a connection, a write and a read
// (500 ms unless set), and with them what a call leaves behind whose ctx has
// ended. Its MaxIdleConns should be as high as the number of calls at once: 2
// unless set, and each call beyond opens and closes a connection of its own.
//
//	client := memcache.New("10.0.0.1:11211", "10.0.0.2:11211")
//	client.Timeout = 200 * time.Millisecond
//	client.MaxIdleConns = 64
//
// All servers of a fleet must have the same list of memcacheds in the same
// order: a key's place depends on it.
//
// # What memcached does not promise
//
// Memcached may forget anything, at any time: a restart, a full slab. That is
// a miss. With one memcached, and with several whose list does not change,
// nothing that it forgot comes back, and that is what Claim needs.
//
// A change of the list is different. A key whose place moves to another
// server and back finds there what was left behind: a session that was
// claimed or deleted meanwhile is back, for the rest of its lifetime. Who
// uses Claim (early data, single use) counts a change of the list as a
// flush: change it in all processes, and flush_all every server, before
// claims go on. The same holds for a proxy that moves keys when a server
// fails, and for one that writes to several servers: behind it, Claim is not
// one decision.
//
// Where a lost deletion must not happen at all, use redisstore.
package memcachestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/internal/awaited"
)

// DefaultPrefix is used for Options.Prefix.
const DefaultPrefix = "sessioncb:"

// Memcached's limits.
const (
	maxKey      = 250
	maxValue    = 1 << 20
	maxRelative = 30 * 24 * 60 * 60 // seconds; more is a date
)

// maxID is the longest id, as sessioncb.Key has it.
const maxID = 32

// Options of New. The zero value is a good choice.
type Options struct {
	// Prefix begins all keys; the id follows in hexadecimal. Empty means
	// DefaultPrefix. It has at most 186 bytes, and no spaces or control
	// characters.
	Prefix string
}

// Store implements sessioncb.Store and sessioncb.Claimer. Its methods are
// called concurrently.
//
// A call returns when its ctx ends, of which gomemcache knows nothing: what
// was on its way then is done or fails by itself, within the client's
// Timeout, on a goroutine of its own. sessioncb.Cache bounds how many
// (CacheOptions.MaxCalls bounds the calls that wait; those that were left
// live for a few Timeouts more).
type Store struct {
	client *memcache.Client
	prefix string
	now    func() time.Time
}

var (
	_ sessioncb.Store   = (*Store)(nil)
	_ sessioncb.Claimer = (*Store)(nil)
)

// New returns a Store over client, which stays the caller's. New does not
// connect. A prefix that memcached would not take is an error.
func New(client *memcache.Client, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	isBad := func(r rune) bool { return r <= ' ' || r == 0x7f }
	switch {
	case client == nil:
		return nil, errors.New("memcachestore: the client is nil")
	case client.Timeout < 0:
		return nil, fmt.Errorf("memcachestore: Timeout of the client is negative: %v", client.Timeout)
	case strings.ContainsFunc(o.Prefix, isBad):
		return nil, fmt.Errorf("memcachestore: Prefix %q: memcached takes no spaces or control characters in a key", o.Prefix)
	case len(o.Prefix)+2*maxID > maxKey:
		return nil, fmt.Errorf("memcachestore: Prefix has %d bytes; with an id of %d bytes in hexadecimal a key would have more than memcached's %d", len(o.Prefix), maxID, maxKey)
	}
	return &Store{client: client, prefix: o.Prefix, now: time.Now}, nil
}

// do runs one call with its ctx, and gives its error a name.
func do[T any](ctx context.Context, s *Store, what string, k sessioncb.Key, f func(key string) (T, error)) (T, error) {
	var none T
	if len(k.ID) == 0 || len(k.ID) > maxID {
		return none, fmt.Errorf("memcachestore: %s: an id has 1 to %d bytes, not %d", what, maxID, len(k.ID))
	}
	key := s.prefix + k.Hex()
	value, err := awaited.Call(ctx, func(context.Context) (T, error) { return f(key) })
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, memcache.ErrCacheMiss):
		return none, sessioncb.ErrNotFound
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return none, err
	}
	return none, fmt.Errorf("memcachestore: %s: %w", what, err)
}

// get is Get of the client, for the key that was asked for and no other.
func (s *Store) get(key string) ([]byte, error) {
	item, err := s.client.Get(key)
	if err != nil {
		return nil, err
	}
	if item.Key != key {
		return nil, errors.New("the server answered for another key")
	}
	return item.Value, nil
}

// Get returns the value, or sessioncb.ErrNotFound.
func (s *Store) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	return do(ctx, s, "get", key, s.get)
}

// Put stores value for ttl, or up to two seconds longer: memcached counts in
// seconds, and from the last tick of its clock. A lifetime of more than 30
// days ends by the server's clock, and before 2038. A value of more than 1
// MiB is an error; a server's own limit may be lower (memcached -I).
func (s *Store) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return s.Delete(ctx, key)
	}
	if len(value) > maxValue {
		return fmt.Errorf("memcachestore: put: a value of %d bytes is more than memcached's 1 MiB", len(value))
	}
	value = bytes.Clone(value) // the call may outlast this one
	expiration := expiration(ttl, s.now())
	_, err := do(ctx, s, "put", key, func(key string) (struct{}, error) {
		return struct{}{}, s.client.Set(&memcache.Item{Key: key, Value: value, Expiration: expiration})
	})
	return err
}

// expiration is ttl as memcached takes it: seconds, up to 30 days, else a Unix
// time. One second is added, since the second that runs counts as a whole one:
// a lifetime of 1 could be over at once.
func expiration(ttl time.Duration, now time.Time) int32 {
	seconds := int64((ttl-1)/time.Second) + 2
	if seconds <= maxRelative {
		return int32(seconds)
	}
	if date := min(now.Unix()+seconds, math.MaxInt32); date-now.Unix() > maxRelative {
		return int32(date)
	}
	return maxRelative
}

// Delete removes the value.
func (s *Store) Delete(ctx context.Context, key sessioncb.Key) error {
	_, err := do(ctx, s, "delete", key, func(key string) (struct{}, error) {
		err := s.client.Delete(key)
		if errors.Is(err, memcache.ErrCacheMiss) {
			err = nil
		}
		return struct{}{}, err
	})
	return err
}

// Claim gets the value and then deletes it, and returns it if memcached says
// DELETED, which it says to one of all callers in the fleet; to the others it
// is sessioncb.ErrNotFound. An answer that is lost is an error, though the
// value may be gone and nobody has it.
//
// Between the two steps somebody could put another value under the id, so that
// two callers take the first one. An id belongs to one session and is put
// once: OpenSSL makes 32 random bytes for each new one, so this does not
// happen.
func (s *Store) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	return do(ctx, s, "claim", key, func(key string) ([]byte, error) {
		value, err := s.get(key)
		if err != nil {
			return nil, err
		}
		if err := s.client.Delete(key); err != nil {
			return nil, err
		}
		return value, nil
	})
}
