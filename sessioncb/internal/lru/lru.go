// Package lru keeps byte values by key in memory: bounded in bytes and
// entries, each with an end of its life, and split into shards so that many
// goroutines use it at once. memstore is one, and a Cache has two: its near
// cache, and what it remembers not to be in the store.
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

// A Cache's methods are called concurrently. It copies what it is given, gives
// out copies, and has no clock: each call brings the time.
type Cache struct {
	seed   maphash.Seed
	shards []shard
}

// New returns an empty cache of at most maxBytes, keys, values and Overhead,
// and maxEntries. Both are above zero.
func New(maxBytes int64, maxEntries int) *Cache {
	n := 1
	for n < maxShards && maxBytes/int64(2*n) >= minShardBytes && maxEntries/(2*n) >= minShardEntries {
		n *= 2
	}
	c := &Cache{seed: maphash.MakeSeed(), shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i].init(maxBytes/int64(n), maxEntries/n)
	}
	return c
}

// Get returns the value, which counts as a use.
func (c *Cache) Get(key []byte, now time.Time) (value []byte, there bool) {
	return c.of(key).get(key, now)
}

// Put stores value in place of what was there, and evicts what no longer
// fits; one that is over at now only removes. A value that would not fit into
// an empty shard (an even share of maxBytes) removes too, and is false.
func (c *Cache) Put(key, value []byte, now, expires time.Time) (fits bool) {
	return c.of(key).put(key, value, now, expires, nil)
}

// PutIf is Put, if allowed says so. It is asked under the lock that Put, Take
// and Delete of this key need too: what they do, they do before it or after the
// value is in.
func (c *Cache) PutIf(key, value []byte, now, expires time.Time, allowed func() bool) {
	c.of(key).put(key, value, now, expires, allowed)
}

// Take removes the value and returns it: of many callers at once, one gets it.
func (c *Cache) Take(key []byte, now time.Time) (value []byte, there bool) {
	return c.of(key).take(key, now)
}

// Delete removes the value, if there is one.
func (c *Cache) Delete(key []byte) { c.of(key).delete(key) }

// Size returns the number of entries and their bytes, without what is over.
func (c *Cache) Size(now time.Time) (entries int, bytes int64) {
	for i := range c.shards {
		n, b := c.shards[i].size(now)
		entries += n
		bytes += b
	}
	return entries, bytes
}

// of spreads keys by a hash whose seed nobody knows.
func (c *Cache) of(key []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, key)%uint64(len(c.shards))]
}
