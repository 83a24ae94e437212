package sessioncb

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// A Cache is the policy between the callbacks and a Store: it implements
// NewHandler, GetHandler and RemoveHandler. What it cannot store, find or
// open costs a full handshake and nothing else. It may serve many Contexts
// and is used concurrently. It does not close its Store; it needs a Close of
// its own only with CacheOptions.WriteBehind.
//
// A lookup ends at the first of these that knows the id: the tag (TagIDs), the
// near cache, the queue of writes, the misses remembered, another lookup of
// the same id under way, and the Store behind circuit breaker, MaxCalls and
// LookupTimeout. With SingleUse a lookup of TLS 1.3 goes from the tag to the
// Store.
//
// With a LiveStore it goes from the tag to the Store too, for a session and not
// for bytes: nothing is encoded, sealed or decoded, and no call waits.
type Cache struct {
	store     Store
	live      LiveStore // the store too; nil: it keeps bytes
	claimer   Claimer   // with singleUse, of bytes
	codec     Codec
	maxValue  int
	removeOn  RemovalSet
	singleUse bool
	logger    *slog.Logger
	now       func() time.Time

	// Each may be nil: the option is off.
	tags   *tags
	near   *near
	behind *behind
	misses *misses

	epochs  *epochs
	flights flight // of lookups
	deletes flight
	puts    puts // under way

	get, claim, put, delete line
	lookups, writes         gate

	lookupHealth, writeHealth, values, queue health

	count counters
}

var (
	_ NewHandler    = (*Cache)(nil)
	_ GetHandler    = (*Cache)(nil)
	_ RemoveHandler = (*Cache)(nil)
	_ SingleUser    = (*Cache)(nil)
	_ IDMaker       = (*Cache)(nil)
	_ Immediate     = (*Cache)(nil)
)

// NewCache returns a Cache in front of store, or an error that says which
// option is wrong.
func NewCache(store Store, o CacheOptions) (*Cache, error) {
	if err := o.check(store); err != nil {
		return nil, fmt.Errorf("sessioncb: new cache: %w", err)
	}
	live, _ := store.(LiveStore)
	c := &Cache{
		store:        store,
		live:         live,
		codec:        o.Codec,
		maxValue:     or(o.MaxValue, DefaultMaxValue),
		removeOn:     o.RemoveOn,
		singleUse:    o.SingleUse,
		logger:       o.Logger,
		now:          o.Now,
		epochs:       newEpochs(),
		lookups:      gate{limit: int64(or(o.MaxCalls, DefaultMaxCalls))},
		writes:       gate{limit: int64(or(o.MaxCalls, DefaultMaxCalls))},
		lookupHealth: health{bad: "session store lookups fail", good: "session store lookups work again"},
		writeHealth:  health{bad: "session store writes fail", good: "session store writes work again"},
		values:       health{bad: "values in the session store are bad", good: "values in the session store are good again"},
		queue:        health{bad: "the queue of writes is full: new sessions are not stored", good: "the queue of writes has room again"},
	}
	if c.now == nil {
		c.now = time.Now
	}
	if !c.removeOn.chosen {
		c.removeOn = DefaultRemovals()
	}
	if o.TagIDs {
		c.tags = &tags{ring: o.Keys}
	}
	if c.live != nil {
		return c, nil // what follows is for a store that may be slow, and keeps bytes
	}
	if c.codec == nil {
		c.codec = o.Keys.Codec()
	}
	if o.SingleUse {
		c.claimer = store.(Claimer) // check looked
	}
	if o.NearBytes > 0 {
		c.near = newNear(o.NearBytes, or(o.NearTTL, DefaultNearTTL), o.Codec == nil, c.now)
	}
	if o.MissTTL >= 0 {
		c.misses = newMisses(or(o.MissTTL, DefaultMissTTL), c.now)
	}
	c.lines(o)
	if o.WriteBehind > 0 {
		writers := min(maxWriters, or(o.MaxCalls, DefaultMaxCalls))
		c.behind = newBehind(o.WriteBehind, writers, c.writeQueued, c.now)
	}
	return c, nil
}

// lines sets up the four kinds of call into the Store.
func (c *Cache) lines(o CacheOptions) {
	lookup, put := or(o.LookupTimeout, DefaultLookupTimeout), or(o.PutTimeout, DefaultPutTimeout)
	c.get = line{timeout: lookup, gate: &c.lookups, health: &c.lookupHealth, absent: true}
	c.claim = line{timeout: lookup, gate: &c.lookups, health: &c.lookupHealth, absent: true}
	c.put = line{timeout: put, gate: &c.writes, health: &c.writeHealth, goesOn: true}
	c.delete = line{timeout: put, gate: &c.writes, health: &c.writeHealth, absent: true} // some stores report it
	for kind, l := range map[string]*line{"get": &c.get, "claim": &c.claim, "put": &c.put, "delete": &c.delete} {
		l.log, l.now = c.log, c.now
		if o.BreakerFailures >= 0 {
			l.breaker = newBreaker(kind, or(o.BreakerFailures, DefaultBreakerFailures), or(o.BreakerPause, DefaultBreakerPause), c.log)
		}
	}
}

func or[T comparable](v, otherwise T) T {
	if v == *new(T) {
		return otherwise
	}
	return v
}

// Callbacks returns c in all three places.
func (c *Cache) Callbacks() Callbacks { return Callbacks{New: c, Get: c, Remove: c} }

// SingleUse returns CacheOptions.SingleUse.
func (c *Cache) SingleUse() bool { return c.singleUse }

// Immediate says whether no call of a handler waits: the Store is a LiveStore.
func (c *Cache) Immediate() bool { return c.live != nil }

// NewSessionID returns a new id with a tag under the newest key, or false
// without CacheOptions.TagIDs.
func (c *Cache) NewSessionID() (id [32]byte, ok bool) {
	if c.tags == nil {
		return id, false
	}
	return c.tags.mint(), true
}

// Close waits until all queued writes were made. If ctx ends first it gives up
// those that have not begun, which count as dropped, and says how many. After
// Close the Cache works on, and writes are awaited. It is needed with
// CacheOptions.WriteBehind only, and harmless otherwise; the queue's goroutines
// end by themselves when it is empty. It does not close the Store.
func (c *Cache) Close(ctx context.Context) error {
	if c.behind == nil {
		return nil
	}
	if err := c.behind.close(ctx); err != nil {
		return fmt.Errorf("sessioncb: close cache: %w", err)
	}
	return nil
}

func (c *Cache) log() *slog.Logger {
	if c.logger != nil {
		return c.logger
	}
	return slog.Default()
}
