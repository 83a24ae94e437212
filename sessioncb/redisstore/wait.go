package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// A waiter claims and then waits until replicas have the claim.
type waiter struct {
	replicas int
	timeout  time.Duration
}

// redirects is how often a claim follows a Cluster whose slots move.
const redirects = 3

// claim sends GETDEL and WAIT in one flight over one connection: WAIT is about
// the writes of its own connection. What other connections of a pool wrote is
// not its business.
func (w waiter) claim(ctx context.Context, client redis.UniversalClient, key string) ([]byte, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		node, err := nodeFor(ctx, client, key)
		if err != nil {
			return nil, err
		}
		return w.claimAt(ctx, node, key, false)
	}
	node, err := cluster.MasterForKey(ctx, key)
	ask := false
	for range redirects {
		if err != nil {
			return nil, err
		}
		var value []byte
		value, err = w.claimAt(ctx, node, key, ask)
		if err == nil || errors.Is(err, redis.Nil) {
			return value, err
		}
		// A server that redirects has not touched the key.
		moved, isMoved := redis.IsMovedError(err)
		asked, isAsk := redis.IsAskError(err)
		switch {
		case isMoved:
			ask = false
			node, err = nodeAt(ctx, cluster, moved, err)
		case isAsk:
			ask = true
			node, err = nodeAt(ctx, cluster, asked, err)
		default:
			return nil, err
		}
	}
	return nil, err
}

// nodeFor returns the client of the one server that has the key.
func nodeFor(ctx context.Context, client redis.UniversalClient, key string) (*redis.Client, error) {
	switch c := client.(type) {
	case *redis.Client:
		return c, nil
	case *redis.Ring:
		return c.GetShardClientForKey(key)
	}
	return nil, fmt.Errorf("WAIT over a client of type %T", client) // New has seen to it
}

// nodeAt returns the client of the master at addr, after a fresh look at the
// cluster.
func nodeAt(ctx context.Context, cluster *redis.ClusterClient, addr string, redirect error) (node *redis.Client, err error) {
	masters, err := mastersOf(ctx, cluster)
	if err != nil {
		return nil, err
	}
	for _, m := range masters {
		if m.Options().Addr == addr || m.NodeAddress() == addr {
			return m, nil
		}
	}
	return nil, fmt.Errorf("redirected to a server that is no master: %w", redirect)
}

func (w waiter) claimAt(ctx context.Context, node *redis.Client, key string, ask bool) ([]byte, error) {
	timeout := w.timeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end))
	}
	// 0 would be without end.
	ms := max(1, timeout.Milliseconds())
	pipe := node.Pipeline()
	if ask {
		pipe.Process(ctx, redis.NewStatusCmd(ctx, "asking"))
	}
	got := newClaim(ctx, key)
	pipe.Process(ctx, got)
	acknowledged := redis.NewIntCmd(ctx, "wait", w.replicas, ms)
	pipe.Process(ctx, acknowledged)
	pipe.Exec(ctx) // each command has its own error

	value, err := got.Bytes()
	if err != nil {
		return nil, err // also redis.Nil: nothing was taken, so nothing can come back
	}
	n, err := acknowledged.Result()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the session is gone, but whether a replica knows is not known: %w", err)
	case n < int64(w.replicas):
		return nil, &ReplicasError{Want: w.replicas, Acknowledged: int(n)}
	}
	return value, nil
}

// A ReplicasError of Claim: fewer replicas than Options.WaitReplicas had the
// claim in time. The session is gone on the master, and is not resumed; on a
// replica that takes over now it may be there again.
type ReplicasError struct{ Want, Acknowledged int }

func (e *ReplicasError) Error() string {
	return fmt.Sprintf("%d of %d replicas have it", e.Acknowledged, e.Want)
}
