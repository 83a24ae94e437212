package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// NewSession stores a server's session for the rest of its lifetime and
// returns whether the Store took the session itself (LiveStore); of one that is
// stored as bytes nothing is kept. A session without id or lifetime, and a
// client's, is not stored. With CacheOptions.WriteBehind it does not wait for
// the store, but for a session that is used once only (SingleUse, TLS 1.3): a
// session is claimed in the store alone, so it must be there.
func (c *Cache) NewSession(ctx context.Context, conn Conn, s Session) (keep bool) {
	start := c.now()
	result, keep := c.admit(ctx, conn, s)
	if result != queuedUp {
		c.count.puts[result].Add(1)
	}
	c.count.putTime.observe(c.now().Sub(start))
	return keep
}

func (c *Cache) admit(ctx context.Context, conn Conn, s Session) (result outcome, keep bool) {
	key := Key{ID: s.ID()}
	expires := s.Time().Add(s.Timeout())
	switch {
	case !conn.IsServer() || len(key.ID) == 0 || !c.now().Before(expires):
		return skipped, false
	case !c.tags.has(key.ID):
		return junk, false
	case c.live != nil:
		return c.putLive(ctx, key, s, expires)
	}
	return c.putBytes(ctx, key, s, expires), false
}

// putBytes encodes the session and has it stored.
func (c *Cache) putBytes(ctx context.Context, key Key, s Session, expires time.Time) outcome {
	w := &write{key: key, expires: expires, putting: c.puts.begin(key)}
	begun := false
	defer func() {
		if !begun { // it is not encodable, or the encoder panicked
			c.puts.end(key, w.putting)
		}
	}()
	value, result, err := c.encode(key, s, expires)
	if err != nil {
		c.writeHealth.failed(c.log(), c.now(), err)
	}
	if result != hit {
		return result
	}
	begun = true
	w.value = value
	c.written(key)
	once := c.once(s.Version())
	if !once {
		c.near.put(key, value, expires)
		if c.puts.removed(w.putting) { // perhaps before it was near
			c.forget(key)
		}
	}
	if c.behind == nil || once {
		return putOutcome(ctx, c.storePut(ctx, w))
	}
	return c.enqueue(ctx, w)
}

// enqueue queues a Put. Its outcome is counted when it ends, or returned.
func (c *Cache) enqueue(ctx context.Context, w *write) outcome {
	c.count.queuedPuts.Add(1)
	w.done = []func(error){func(err error) {
		switch err {
		case errOvertaken, errDropped, errOver: // it never was in the store
			c.puts.end(w.key, w.putting)
		}
		c.count.queuedPuts.Add(-1)
		c.count.puts[putOutcome(context.Background(), err)].Add(1)
	}}
	w.gone = func() bool { return c.puts.removed(w.putting) }
	err := c.behind.add(w)
	if err == nil {
		c.queue.worked(c.log(), c.now())
		return queuedUp
	}
	c.count.queuedPuts.Add(-1)
	if err == errQueueClosed {
		return putOutcome(ctx, c.storePut(ctx, w))
	}
	clear(w.value)
	c.puts.end(w.key, w.putting)
	if err == errQueueFull {
		c.queue.failed(c.log(), c.now(), err)
	}
	return putOutcome(ctx, err)
}

// putOutcome names what became of a Put for one who waited with ctx.
func putOutcome(ctx context.Context, err error) outcome {
	switch {
	case errors.Is(err, errOvertaken):
		return overtaken
	case errors.Is(err, errDropped), errors.Is(err, errQueueFull):
		return dropped
	case errors.Is(err, errOver):
		return skipped
	}
	return outcomeOf(ctx, err)
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
	c.puts.remove(key)
	if c.live != nil {
		n.ended(c.deleteLive(ctx, key))
		return
	}
	c.forget(key)
	if c.behind != nil && !c.once(s.Version()) {
		c.count.queuedRemovals.Add(1)
		done := func(err error) {
			c.count.queuedRemovals.Add(-1)
			n.ended(err)
		}
		if c.behind.add(&write{key: key, done: []func(error){done}}) == nil {
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

// storePut writes to the store and waits, up to PutTimeout. It takes w's
// value. If the session is removed before the store has it, it is deleted.
//
// If the connection has ended, or ends first, nobody waits and the Put goes on:
// the client may have its session by then, and many leave as soon as they have
// what they came for.
func (c *Cache) storePut(ctx context.Context, w *write) error {
	var left atomic.Bool // nobody waits any more
	late, err := call(ctx, &c.put, func(ctx context.Context) (late bool, err error) {
		defer func() { // here, because the store may return long after the deadline
			clear(w.value)
			c.written(w.key)
			removed := c.puts.end(w.key, w.putting)
			// A removal that is queued comes in its turn, after this, unless its
			// turn has come while this was under way.
			if late = removed && (!w.queued || left.Load()); late {
				c.deleteLate(ctx, w.key)
			}
		}()
		return false, c.store.Put(ctx, w.key.clone(), w.value, w.expires.Sub(c.now()))
	}, func() {
		clear(w.value)
		c.puts.end(w.key, w.putting)
	})
	left.Store(true)
	if late && err == nil {
		return errOvertaken
	}
	return err
}

// deleteLate deletes what has just arrived in the store, in the place that the
// Put has in the gate.
func (c *Cache) deleteLate(ctx context.Context, key Key) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.delete.timeout)
	defer cancel()
	defer c.forget(key)
	c.delete.calls.Add(1)
	if err := c.store.Delete(ctx, key.clone()); err != nil && !errors.Is(err, ErrNotFound) {
		c.writeHealth.failed(c.log(), c.now(), err)
	}
}

// storeDelete deletes in the store and waits, up to PutTimeout. Removals of
// one id at the same time are one call.
func (c *Cache) storeDelete(ctx context.Context, key Key) error {
	_, _, err := c.deletes.do(ctx, key, func(ctx context.Context) ([]byte, error) {
		_, err := call(ctx, &c.delete, func(ctx context.Context) (struct{}, error) {
			defer c.forget(key)
			return struct{}{}, c.store.Delete(ctx, key.clone())
		}, nil)
		return nil, err
	})
	if errors.Is(err, ErrNotFound) {
		return nil // no error of a Delete, though some stores report it
	}
	return err
}

// writeQueued makes a write of the queue, which goes on showing w's value.
func (c *Cache) writeQueued(w *write) error {
	ctx := context.Background()
	switch {
	case w.value == nil:
		return c.storeDelete(ctx, w.key)
	case !c.now().Before(w.expires):
		return errOver
	}
	return c.storePut(ctx, &write{key: w.key, value: bytes.Clone(w.value), expires: w.expires, putting: w.putting, queued: true})
}

// errOver: the session's lifetime ended in the queue.
var errOver = errors.New("sessioncb: the session has expired")

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
