// Package redisstore is a sessioncb.Store in Redis or Valkey, for a fleet: one
// server, one behind Sentinel, or a Cluster, whatever client of go-redis
// reaches it. Addresses, TLS, users and passwords are the client's options.
//
// # The client
//
// New wants Options.ContextTimeoutEnabled of the client: without it the
// deadline of a lookup does not reach the connection. It refuses a client that
// waits for answers without end (ReadTimeout -1 or -2) and one that keeps
// copies of what it read (ClientSideCache): a copy outlives a claim. A wrapper
// that is none of go-redis's own clients is taken as it is.
//
// A good client for sessions gives up soon, since a session that comes late is
// a full handshake anyway:
//
//	redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.example:6379"},
//		ContextTimeoutEnabled: true,
//		DialTimeout:           500 * time.Millisecond,
//		ReadTimeout:           500 * time.Millisecond,
//		MaxRetries:            1,
//		DialerRetries:         1, // else five: a refused connection looks like a slow one
//	})
//
// # The server
//
// A key is the prefix and the bytes of the id. It has the lifetime of its
// session, so nothing needs sweeping. "maxmemory-policy volatile-ttl" or
// "volatile-lru" makes a full server forget sessions, which are misses;
// "noeviction" makes it refuse new ones, which are errors of Put.
//
// A replica is behind its master. When it takes over, sessions put last are
// misses. So that a claimed one does not come back, see Options.WaitReplicas.
// A deletion is not waited for: what was deleted in the last moment before a
// failover may be back, for the rest of its lifetime. The same holds for a
// master with "appendfsync everysec" that is restarted.
//
// Reads go where the client sends them. With ClusterOptions.ReadOnly,
// RouteByLatency or RouteRandomly that is a replica: Get may miss a new
// session or find a deleted one, for a moment. Claim is a write, and always
// goes to the master. A client of a replica alone
// (FailoverOptions.ReplicaOnly) cannot write, and so cannot claim.
package redisstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/internal/awaited"
)

// Defaults of Options.
const (
	DefaultPrefix      = "sessioncb:"
	DefaultWaitTimeout = 20 * time.Millisecond
)

// Options of New. The zero value is a good choice.
type Options struct {
	// Prefix begins all keys. Empty means DefaultPrefix. In a Cluster it must
	// not have a hash tag, "{...}": that would put all sessions on one server.
	Prefix string
	// WaitReplicas is how many replicas must have a claim before Claim returns
	// the session (WAIT), so that a replica that takes over does not give it
	// out again. If fewer have it in time, Claim fails; the session is gone
	// nevertheless, and nobody resumes it. It is sure when it is the number of
	// all replicas that may take over from one master. 0: Claim does not wait.
	// It needs one of go-redis's own clients.
	WaitReplicas int
	// WaitTimeout bounds that wait; a ctx that ends sooner does too. It must
	// be shorter than the client's ReadTimeout. 0 means DefaultWaitTimeout.
	WaitTimeout time.Duration
}

// Store implements sessioncb.Store and sessioncb.Claimer. Its methods are
// called concurrently.
//
// A call returns when its ctx ends, also by a cancellation, which go-redis
// does not look at while it waits for an answer. What was on its way then may
// still be done: a Put may store, a Delete delete, a Claim take.
type Store struct {
	client redis.UniversalClient
	prefix string
	wait   waiter
}

var (
	_ sessioncb.Store   = (*Store)(nil)
	_ sessioncb.Claimer = (*Store)(nil)
)

// New returns a Store over client, which stays the caller's: it is closed by
// the caller, after the last use of the Store. New does not connect. A client
// or options that cannot work well are an error (see Options and the package).
func New(client redis.UniversalClient, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if err := checkClient(client, o); err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	s := &Store{client: client, prefix: o.Prefix}
	if o.WaitReplicas > 0 {
		s.wait = waiter{replicas: o.WaitReplicas, timeout: o.WaitTimeout}
		if s.wait.timeout == 0 {
			s.wait.timeout = DefaultWaitTimeout
		}
	}
	return s, nil
}

// maxID is the longest id, as sessioncb.Key has it.
const maxID = 32

// key is the key in Redis.
func (s *Store) key(k sessioncb.Key) (string, error) {
	if len(k.ID) == 0 || len(k.ID) > maxID {
		return "", fmt.Errorf("an id has 1 to %d bytes, not %d", maxID, len(k.ID))
	}
	return s.prefix + string(k.ID), nil
}

// do runs one call with its ctx, and gives its error a name.
func do[T any](ctx context.Context, s *Store, what string, k sessioncb.Key, f func(ctx context.Context, key string) (T, error)) (T, error) {
	var none T
	key, err := s.key(k)
	if err != nil {
		return none, fmt.Errorf("redisstore: %s: %w", what, err)
	}
	value, err := awaited.Call(ctx, func(ctx context.Context) (T, error) { return f(ctx, key) })
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, redis.Nil):
		return none, sessioncb.ErrNotFound
	}
	s.lookAgain(ctx, err)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return none, err
	}
	return none, fmt.Errorf("redisstore: %s: %w", what, err)
}

// lookAgain has a cluster client find out who is master now, after an error
// that is no answer. By itself go-redis asks when a server redirects it, which
// one that is gone does not do, or once a minute
// (ClusterOptions.ClusterStateReloadInterval): so long it would go on to send
// writes to a master that is gone. It asks in the background, five times a
// second at most.
func (s *Store) lookAgain(ctx context.Context, err error) {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return
	}
	var answer redis.Error
	if errors.As(err, &answer) && !redis.IsClusterDownError(err) {
		return
	}
	cluster.ReloadState(ctx)
}

// Get returns the value, or sessioncb.ErrNotFound.
func (s *Store) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	return do(ctx, s, "get", key, func(ctx context.Context, key string) ([]byte, error) {
		return s.client.Get(ctx, key).Bytes()
	})
}

// Put stores value for ttl, rounded up to a millisecond.
func (s *Store) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return s.Delete(ctx, key)
	}
	px := int64((ttl-1)/time.Millisecond) + 1
	value = bytes.Clone(value) // the call may outlast this one
	_, err := do(ctx, s, "put", key, func(ctx context.Context, key string) (string, error) {
		cmd := redis.NewStatusCmd(ctx, "set", key, value, "px", px)
		s.client.Process(ctx, cmd)
		return cmd.Result()
	})
	return err
}

// Delete removes the value.
func (s *Store) Delete(ctx context.Context, key sessioncb.Key) error {
	_, err := do(ctx, s, "delete", key, func(ctx context.Context, key string) (int64, error) {
		return s.client.Del(ctx, key).Result()
	})
	return err
}

// Claim removes the value and returns it (GETDEL), or sessioncb.ErrNotFound:
// Redis gives it to one of all callers in the fleet.
//
// A claim is sent once. An answer that is lost is an error, though the value
// is gone and nobody has it: asked again, Redis would say that there was none,
// and a fault would look like a miss.
func (s *Store) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	return do(ctx, s, "claim", key, func(ctx context.Context, key string) ([]byte, error) {
		if s.wait.replicas > 0 {
			return s.wait.claim(ctx, s.client, key)
		}
		cmd := newClaim(ctx, key)
		s.client.Process(ctx, cmd)
		return cmd.Bytes()
	})
}

// A claim is GETDEL, which go-redis must not send twice.
type claim struct{ *redis.StringCmd }

func newClaim(ctx context.Context, key string) claim {
	return claim{redis.NewStringCmd(ctx, "getdel", key)}
}

// NoRetry is asked by go-redis.
func (claim) NoRetry() bool { return true }
