package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// NewSession stores a server's session for the rest of its lifetime and
// returns false: it keeps nothing. A session without id or lifetime, and a
// client's, is not stored. With CacheOptions.WriteBehind it does not wait for
// the store, but for a session that is used once only (SingleUse, TLS 1.3): a
// session is claimed in the store alone, so it must be there.
func (c *Cache) NewSession(ctx context.Context, conn Conn, s Session) (keep bool) {
	start := c.now()
	if result := c.admit(ctx, conn, s); result != queuedUp {
		c.count.puts[result].Add(1)
	}
	c.count.putTime.observe(c.now().Sub(start))
	return false
}

func (c *Cache) admit(ctx context.Context, conn Conn, s Session) outcome {
	key := Key{ID: s.ID()}
	expires := s.Time().Add(s.Timeout())
	switch {
	case !conn.IsServer() || len(key.ID) == 0 || !c.now().Before(expires):
		return skipped
	case !c.tags.has(key.ID):
		return junk
	}
	value, result, err := c.encode(key, s, expires)
	if err != nil {
		c.writeHealth.failed(c.log(), c.now(), err)
	}
	if result != hit {
		return result
	}
	c.written(key)
	if c.once(s.Version()) {
		return c.storePut(ctx, key, value, expires)
	}
	c.near.put(key, value, expires)
	if c.behind == nil {
		return c.storePut(ctx, key, value, expires)
	}
	c.count.queuedPuts.Add(1)
	w := &write{key: key, value: value, expires: expires, done: []func(error){c.putEnded}}
	added, full := c.behind.add(w)
	if added {
		c.queue.worked(c.log(), c.now())
		return queuedUp
	}
	c.count.queuedPuts.Add(-1)
	if full {
		clear(value)
		c.queue.failed(c.log(), c.now(), errDropped)
		return dropped
	}
	return c.storePut(ctx, key, value, expires) // after Close
}

// encode makes the value to store.
func (c *Cache) encode(key Key, s Session, expires time.Time) ([]byte, outcome, error) {
	der, err := s.MarshalBinary()
	switch {
	case errors.Is(err, ErrRemoved):
		return nil, skipped, nil
	case err != nil:
		return nil, failed, err
	case len(der) == 0:
		return nil, failed, errors.New("the encoded session is empty")
	}
	defer clear(der)
	value, err := c.codec.Encode(key, Record{DER: der, IDContext: s.IDContext(), Expires: expires})
	switch {
	case err != nil:
		return nil, failed, err
	case len(value) > c.maxValue:
		return nil, tooLarge, fmt.Errorf("a value of %d bytes is more than MaxValue, %d", len(value), c.maxValue)
	}
	return value, hit, nil
}

// RemoveSession deletes the session from the store, if RemoveOn has r. From
// then on no lookup of this process finds it in memory, whatever the store
// says.
func (c *Cache) RemoveSession(ctx context.Context, s Session, r Removal) {
	reason := r.Reason
	if reason < 0 || int(reason) >= len(reasons) {
		reason = Unknown
	}
	n := &c.count.removals[reason]
	key := Key{ID: s.ID()}
	if !c.removeOn.Has(r) || len(key.ID) == 0 || !c.tags.has(key.ID) {
		n.kept.Add(1)
		return
	}
	c.forget(key)
	if c.behind != nil && !c.once(s.Version()) {
		c.count.queuedRemovals.Add(1)
		done := func(err error) {
			c.count.queuedRemovals.Add(-1)
			n.ended(err)
		}
		if added, _ := c.behind.add(&write{key: key, done: []func(error){done}}); added {
			return
		}
		c.count.queuedRemovals.Add(-1) // no handshake waits for a removal: it takes its time
	}
	n.ended(c.storeDelete(ctx, key))
}

func (n *removalCounters) ended(err error) {
	if err == nil {
		n.deleted.Add(1)
	} else {
		n.failed.Add(1)
	}
}

// storePut writes to the store and waits, up to PutTimeout. It takes value.
func (c *Cache) storePut(ctx context.Context, key Key, value []byte, expires time.Time) outcome {
	return outcomeOf(ctx, c.callPut(ctx, key, value, expires))
}

func (c *Cache) callPut(ctx context.Context, key Key, value []byte, expires time.Time) error {
	_, err := call(ctx, &c.put, func(ctx context.Context) (struct{}, error) {
		defer clear(value) // here, because the store may still read it after the deadline
		defer c.written(key)
		return struct{}{}, c.store.Put(ctx, key.clone(), value, expires.Sub(c.now()))
	})
	return err
}

// storeDelete deletes in the store and waits, up to PutTimeout. Removals of
// one id at the same time are one call.
func (c *Cache) storeDelete(ctx context.Context, key Key) error {
	_, _, err := c.deletes.do(ctx, key, func(ctx context.Context) ([]byte, error) {
		_, err := call(ctx, &c.delete, func(ctx context.Context) (struct{}, error) {
			defer c.forget(key)
			return struct{}{}, c.store.Delete(ctx, key.clone())
		})
		return nil, err
	})
	if errors.Is(err, ErrNotFound) {
		return nil // no error of a Delete, though some stores report it
	}
	return err
}

// writeQueued makes a write of the queue.
func (c *Cache) writeQueued(w *write) error {
	ctx := context.Background()
	switch {
	case w.value == nil:
		return c.storeDelete(ctx, w.key)
	case !c.now().Before(w.expires):
		return errOver
	}
	return c.callPut(ctx, w.key, bytes.Clone(w.value), w.expires)
}

// errOver: the session's lifetime ended in the queue.
var errOver = errors.New("sessioncb: the session has expired")

// putEnded counts what became of a queued Put.
func (c *Cache) putEnded(err error) {
	c.count.queuedPuts.Add(-1)
	result := outcomeOf(context.Background(), err)
	switch {
	case errors.Is(err, errOvertaken):
		result = overtaken
	case errors.Is(err, errDropped):
		result = dropped
	case errors.Is(err, errOver):
		result = skipped
	}
	c.count.puts[result].Add(1)
}

// written is called when a session begins to be stored and when the store has
// it: what is believed of its absence ends, and lookups and removals that
// come do not join those under way.
func (c *Cache) written(key Key) {
	c.epochs.end(key)
	c.misses.forget(key)
	c.flights.forget(key)
	c.deletes.forget(key)
}

// forget is called when a session begins to be taken out of the store and
// when it is: it leaves memory, and lookups that come do not join those under
// way, which may still return it.
func (c *Cache) forget(key Key) {
	c.epochs.end(key)
	c.near.remove(key)
	c.flights.forget(key)
}
