package sessioncb

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// What a Cache does with a LiveStore: the policy is the one of lookup.go and
// write.go, without all that makes bytes of a session or waits. The clock is
// read as seldom as may be, since that is a good part of what is left.

// findLive asks the LiveStore, and looks at what it has.
func (l *lookup) findLive(ctx context.Context) (a Answer, result outcome, err error) {
	c := l.c
	if err := ctx.Err(); err != nil {
		return Answer{}, outcomeOf(ctx, err), err // nothing is claimed for nobody
	}
	result = failed // if the store panics
	a, err = contain(func() (Answer, error) {
		s, err := l.askLive()
		switch {
		case errors.Is(err, ErrNotFound):
			result = miss
			return Answer{}, nil
		case err == nil && s == nil:
			err = errors.New("the store returned neither a session nor an error")
		}
		if err != nil {
			try(err)
			return Answer{}, err
		}
		return l.judge(s, &result)
	})
	if result == failed {
		c.lookupHealth.failed(c.log(), l.began, err)
	} else {
		c.lookupHealth.worked(c.log(), l.began)
	}
	return a, result, err
}

func (l *lookup) askLive() (Session, error) {
	c := l.c
	if !c.once(l.conn.Version()) {
		c.get.calls.Add(1)
		return c.live.GetSession(l.key)
	}
	l.from = claimed
	c.claim.calls.Add(1)
	s, err := c.live.ClaimSession(l.key)
	if err == nil {
		c.count.claimed.Add(1)
	}
	return s, err
}

// judge says whether a live session is one for this connection. A session
// carries its own lifetime, which ends by the clock of the Cache.
func (l *lookup) judge(s Session, result *outcome) (Answer, error) {
	c := l.c
	switch {
	case !bytes.Equal(s.ID(), l.key.ID):
		*result = otherID
		c.values.failed(c.log(), l.began, ErrOtherID)
		return Answer{}, ErrOtherID
	case l.elsewhere(s.IDContext()):
		*result = otherContext
		return Answer{}, nil
	case !l.began.Before(s.Time().Add(s.Timeout())):
		*result = expired
		return Answer{}, nil
	}
	c.values.worked(c.log(), l.began)
	*result = hit
	return Live(s), nil
}

// putLive gives the session to the LiveStore, which owns it if keep is true. One
// that was removed meanwhile is deleted again: the store closes it.
func (c *Cache) putLive(ctx context.Context, key Key, s Session, expires time.Time) (result outcome, keep bool) {
	now := c.now()
	putting := c.puts.begin(key)
	taken, err := contain(func() (bool, error) {
		c.put.calls.Add(1)
		return c.live.PutSession(key, s, expires.Sub(now)), nil
	})
	removed := c.puts.end(key, putting)
	if err != nil {
		// The binding frees the session. If the store has it, it has a closed one.
		c.writeHealth.failed(c.log(), now, err)
		return failed, false
	}
	c.writeHealth.worked(c.log(), now)
	switch {
	case !taken:
		return dropped, false
	case removed:
		c.deleteLive(ctx, key)
		return overtaken, true
	}
	return hit, true
}

// deleteLive has the LiveStore close the session.
func (c *Cache) deleteLive(ctx context.Context, key Key) error {
	_, err := contain(func() (struct{}, error) {
		c.delete.calls.Add(1)
		err := c.live.Delete(context.WithoutCancel(ctx), key)
		try(err)
		return struct{}{}, err
	})
	if err == nil || errors.Is(err, ErrNotFound) { // which some stores report
		c.writeHealth.worked(c.log(), c.now())
		return nil
	}
	c.writeHealth.failed(c.log(), c.now(), err)
	return err
}
