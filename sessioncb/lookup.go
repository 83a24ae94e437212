package sessioncb

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// GetSession looks the session up. A session of another session id context
// than conn's, an expired one, one that is not in the store and an id without
// a tag (TagIDs) are plain misses; what is wrong with the store or with the
// value is a miss with an error.
func (c *Cache) GetSession(ctx context.Context, conn Conn, id []byte) (Answer, error) {
	start := c.now()
	l := lookup{c: c, key: Key{ID: id}, conn: conn, began: start}
	answer, result, err := l.run(ctx)
	c.count.lookups[result].Add(1)
	switch result {
	case hit:
		c.count.hits[l.from].Add(1)
	case miss:
		c.count.misses[l.from].Add(1)
	}
	c.count.lookupTime.observe(c.now().Sub(start))
	if err != nil {
		err = fmt.Errorf("sessioncb: lookup: %w", err)
	}
	return answer, err
}

// A lookup is one call of GetSession.
type lookup struct {
	c     *Cache
	key   Key
	conn  Conn
	began time.Time
	from  source

	epoch  epoch  // when it began
	shared []byte // what is to be kept near, if it opens
}

// once says whether what is found for a connection, or made by one, of this
// version is used once only. All but TLS 1.2 is: what is not known too.
func (c *Cache) once(version uint16) bool { return c.singleUse && version != tls.VersionTLS12 }

// run returns an Answer that is no miss only with the outcome hit.
func (l *lookup) run(ctx context.Context) (Answer, outcome, error) {
	c := l.c
	switch {
	case len(l.key.ID) == 0 || len(l.key.ID) > maxIDSize:
		return Answer{}, failed, fmt.Errorf("a session id has 1 to %d bytes, not %d", maxIDSize, len(l.key.ID))
	case !c.tags.has(l.key.ID):
		return Answer{}, junk, nil
	case c.live != nil:
		return l.findLive(ctx)
	}
	find := l.find
	if c.once(l.conn.Version()) {
		find = l.claim
	}
	value, err := find(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		return Answer{}, miss, nil
	case err != nil:
		return Answer{}, outcomeOf(ctx, err), err
	}
	r, result, err := l.open(value)
	if result != hit {
		clear(r.DER)
		return Answer{}, result, err
	}
	return DER(r.DER), hit, nil
}

// find asks whoever may know, the nearest first. The value is the lookup's own.
func (l *lookup) find(ctx context.Context) ([]byte, error) {
	c := l.c
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.epoch = c.epochs.of(l.key)
	if value, there := c.near.get(l.key); there {
		l.from = fromNear
		return value, nil
	}
	if value, known := c.behind.get(l.key); known && value == nil {
		l.from = remembered // its removal is queued
		return nil, ErrNotFound
	} else if known {
		l.from = fromQueue
		return value, nil
	}
	if c.misses.has(l.key) {
		l.from = remembered
		return nil, ErrNotFound
	}

	key := l.key.clone() // the call may outlive this lookup
	value, first, err := c.flights.do(ctx, key, func(ctx context.Context) ([]byte, error) {
		return call(ctx, &c.get, func(ctx context.Context) ([]byte, error) { return c.store.Get(ctx, key) }, nil)
	})
	if errors.Is(err, ErrNotFound) && first {
		c.misses.keep(l.key, l.epoch)
	}
	if err != nil {
		return nil, err
	}
	if first {
		l.shared = value
	}
	return bytes.Clone(value), nil
}

// claim takes the session out of the store.
func (l *lookup) claim(ctx context.Context) ([]byte, error) {
	c, key := l.c, l.key.clone()
	l.from = claimed
	return call(ctx, &c.claim, func(ctx context.Context) ([]byte, error) {
		// Lookups of TLS 1.2 may have met it. What they keep is of no use to
		// anybody, and is gone.
		defer c.forget(key)
		value, err := c.claimer.Claim(ctx, key.clone())
		if err == nil {
			c.count.claimed.Add(1)
		}
		return value, err
	}, nil)
}

// open makes a session of a value, which it may overwrite. A value that opens
// and is not over is kept near; one that was near and does not open goes.
func (l *lookup) open(value []byte) (Record, outcome, error) {
	c := l.c
	if len(value) > c.maxValue {
		err := fmt.Errorf("the value has %d bytes, more than MaxValue, %d", len(value), c.maxValue)
		c.values.failed(c.log(), c.now(), err)
		return Record{}, tooLarge, err
	}
	r, err := c.codec.Decode(l.key, value)
	if err == nil && len(r.DER) == 0 {
		err = ErrDamaged
	}
	if err != nil {
		if l.from == fromNear { // its key left the ring
			c.near.remove(l.key)
		}
		c.values.failed(c.log(), c.now(), err)
		return r, wrongValue(err), err
	}
	c.values.worked(c.log(), c.now())
	over := !r.Expires.IsZero() && !c.now().Before(r.Expires)
	if l.shared != nil && !over {
		c.near.keep(l.key, l.shared, r.Expires, l.epoch)
	}
	switch {
	case r.IDContext != nil && l.elsewhere(r.IDContext):
		return r, otherContext, nil
	case over:
		return r, expired, nil
	}
	return r, hit, nil
}

// elsewhere says whether a session was made under another session id context
// than this connection's.
func (l *lookup) elsewhere(idContext []byte) bool {
	want := l.conn.SessionIDContext()
	return want != nil && !bytes.Equal(want, idContext)
}

// wrongValue names what Decode found wrong.
func wrongValue(err error) outcome {
	switch {
	case errors.Is(err, ErrOtherKey):
		return otherKey
	case errors.Is(err, ErrOtherID):
		return otherID
	case errors.Is(err, ErrOtherFormat):
		return otherFormat
	}
	return damaged
}
