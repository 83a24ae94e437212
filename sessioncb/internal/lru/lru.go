// Package lru keeps values by key in memory: bounded in bytes and entries,
// each with an end of its life, and split into shards so that many goroutines
// use it at once. memstore is one of bytes and livestore one of sessions, and a
// Cache has two of bytes: its near cache, and what it remembers not to be in
// the store.
package lru

import (
	"hash/maphash"
	"time"
)

// Overhead is what an entry costs beside its key and value: the struct, its
// places in map and heap, the allocator's rounding.
const Overhead = 192

// A shard is worth having if it gets at least this much of the bounds; a
// small cache is one shard, and so evicts strictly by least recent use.
const (
	maxShards       = 64
	minShardBytes   = 512 << 10
	minShardEntries = 128
)

// Kind is what a Cache does with its values.
type Kind[V any] struct {
	// Size is what a value counts in bytes, beside its key and Overhead. It is
	// always the same.
	Size func(V) int
	// Copy makes the cache's own of what comes in, and the caller's own of what
	// Get gives out. It is called under a lock.
	Copy func(V) V
	// Drop is called once for each value that leaves the cache otherwise than by
	// Take, after the lock was released and before the call returns.
	Drop func(V)
}

// A Cache's methods are called concurrently. It has no clock: each call brings
// the time.
type Cache[V any] struct {
	seed   maphash.Seed
	shards []shard[V]
	kind   Kind[V]
}

// Bytes returns a cache of bytes: it copies what it is given, gives out copies,
// and clears what leaves, which may be a session in plain.
func Bytes(maxBytes int64, maxEntries int) *Cache[[]byte] {
	return New(maxBytes, maxEntries, Kind[[]byte]{
		Size: func(v []byte) int { return len(v) },
		Copy: func(v []byte) []byte { return append([]byte{}, v...) },
		Drop: func(v []byte) { clear(v) },
	})
}

// New returns an empty cache of at most maxBytes, keys, values and Overhead,
// and maxEntries. Both are above zero.
func New[V any](maxBytes int64, maxEntries int, kind Kind[V]) *Cache[V] {
	n := 1
	for n < maxShards && maxBytes/int64(2*n) >= minShardBytes && maxEntries/(2*n) >= minShardEntries {
		n *= 2
	}
	c := &Cache[V]{seed: maphash.MakeSeed(), shards: make([]shard[V], n), kind: kind}
	for i := range c.shards {
		c.shards[i].init(maxBytes/int64(n), maxEntries/n, &c.kind)
	}
	return c
}

// Get returns the value, which counts as a use.
func (c *Cache[V]) Get(key []byte, now time.Time) (value V, there bool) {
	value, there, gone := c.of(key).get(key, now)
	c.drop(gone)
	return value, there
}

// Put stores value in place of what was there, and evicts what no longer
// fits; one that is over at now only removes. A value that would not fit into
// an empty shard (an even share of maxBytes) removes too, and is false.
func (c *Cache[V]) Put(key []byte, value V, now, expires time.Time) (fits bool) {
	_, fits, gone := c.of(key).put(key, value, now, expires, nil)
	c.drop(gone)
	return fits
}

// PutIf is Put, if allowed says so, and returns whether the value is in. It is
// asked under the lock that Put, Take, Delete and Clear of this key need too: what
// they do, they do before it or after the value is in.
func (c *Cache[V]) PutIf(key []byte, value V, now, expires time.Time, allowed func() bool) (in bool) {
	in, _, gone := c.of(key).put(key, value, now, expires, allowed)
	c.drop(gone)
	return in
}

// Take removes the value and returns it: of many callers at once, one gets it.
func (c *Cache[V]) Take(key []byte, now time.Time) (value V, there bool) {
	value, there, gone := c.of(key).take(key, now)
	c.drop(gone)
	return value, there
}

// Delete removes the value, if there is one.
func (c *Cache[V]) Delete(key []byte) { c.drop(c.of(key).delete(key)) }

// Clear removes all values.
func (c *Cache[V]) Clear() {
	for i := range c.shards {
		c.drop(c.shards[i].clear())
	}
}

// Size returns the number of entries and their bytes, without what is over.
func (c *Cache[V]) Size(now time.Time) (entries int, bytes int64) {
	for i := range c.shards {
		n, b, gone := c.shards[i].size(now)
		c.drop(gone)
		entries += n
		bytes += b
	}
	return entries, bytes
}

// drop tells of each value that has left.
func (c *Cache[V]) drop(gone *entry[V]) {
	for ; gone != nil; gone = gone.next {
		c.kind.Drop(gone.value)
	}
}

// of spreads keys by a hash whose seed nobody knows.
func (c *Cache[V]) of(key []byte) *shard[V] {
	return &c.shards[maphash.Bytes(c.seed, key)%uint64(len(c.shards))]
}
