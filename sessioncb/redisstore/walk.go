package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/internal/awaited"
)

// walkStep is how many keys ForEach asks for at a time.
const walkStep = 256

// ForEach calls f for each session under the prefix, on all masters, in no
// order, until f returns an error, which ForEach returns. It is for tools: it
// reads every key of the server (SCAN), and what is written meanwhile may be
// seen, or not, or twice. expires is zero for a value without a lifetime,
// which this package does not write. f owns key and value, and may call the
// store.
func (s *Store) ForEach(ctx context.Context, f func(key sessioncb.Key, value []byte, expires time.Time) error) error {
	masters, err := awaited.Call(ctx, func(ctx context.Context) ([]redis.Cmdable, error) { return mastersFor(ctx, s.client) })
	if err != nil {
		return walkError(ctx, err)
	}
	for _, m := range masters {
		for cursor := uint64(0); ; {
			p, err := awaited.Call(ctx, func(ctx context.Context) (page, error) { return s.page(ctx, m, cursor) })
			if err != nil {
				return walkError(ctx, err)
			}
			for _, i := range p.items {
				if err := f(i.key, i.value, i.expires); err != nil {
					return err
				}
			}
			if cursor = p.next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

func walkError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("redisstore: walk: %w", err)
}

type page struct {
	items []item
	next  uint64
}

type item struct {
	key     sessioncb.Key
	value   []byte
	expires time.Time
}

// page scans one step, and reads values and lifetimes in one flight.
func (s *Store) page(ctx context.Context, from redis.Cmdable, cursor uint64) (p page, err error) {
	keys, next, err := from.Scan(ctx, cursor, literal(s.prefix)+"*", walkStep).Result()
	if err != nil {
		return page{}, err
	}
	p.next = next
	type reply struct {
		id       string
		value    *redis.StringCmd
		lifetime *redis.IntCmd
	}
	var replies []reply
	pipe := from.Pipeline()
	for _, k := range keys {
		id := strings.TrimPrefix(k, s.prefix)
		if len(id) == 0 || len(id) > maxID {
			continue // somebody else's key
		}
		r := reply{id, pipe.Get(ctx, k), redis.NewIntCmd(ctx, "pttl", k)}
		pipe.Process(ctx, r.lifetime)
		replies = append(replies, r)
	}
	if len(replies) == 0 {
		return p, nil
	}
	pipe.Exec(ctx) // each command has its own error
	now := time.Now()
	for _, r := range replies {
		value, err := r.value.Bytes()
		ms := r.lifetime.Val()
		if err == nil {
			err = r.lifetime.Err()
		}
		switch {
		case errors.Is(err, redis.Nil), err == nil && ms == -2:
			continue // gone since
		case redirected(err):
			continue // it is another master's by now
		case err != nil:
			return page{}, err
		}
		i := item{key: sessioncb.Key{ID: []byte(r.id)}, value: value}
		if ms >= 0 {
			i.expires = now.Add(time.Duration(ms) * time.Millisecond)
		}
		p.items = append(p.items, i)
	}
	return p, nil
}

func redirected(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}

// literal escapes what SCAN's MATCH would take for a pattern.
func literal(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(prefix)
}

// mastersFor returns all servers that have keys of their own.
func mastersFor(ctx context.Context, client redis.UniversalClient) (masters []redis.Cmdable, err error) {
	switch c := client.(type) {
	case *redis.ClusterClient:
		nodes, err := mastersOf(ctx, c)
		for _, n := range nodes {
			masters = append(masters, n)
		}
		return masters, err
	case *redis.Ring:
		for _, n := range c.GetShardClients() {
			masters = append(masters, n)
		}
		return masters, nil
	}
	return []redis.Cmdable{client}, nil
}

// mastersOf collects what go-redis calls from many goroutines at once, after
// it has had a fresh look at the cluster.
func mastersOf(ctx context.Context, cluster *redis.ClusterClient) (masters []*redis.Client, err error) {
	var mu sync.Mutex
	err = cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, node)
		return nil
	})
	return masters, err
}
