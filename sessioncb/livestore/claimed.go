package livestore

import (
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// A claimed session is still the store's, because the binding duplicates what
// it is given and closes nothing. It does so within microseconds; only a user's
// AllowEarlyData may come between. One that is closed before costs a full
// handshake.
const (
	claimedFor = 10 * time.Second
	maxClaimed = 1024
)

// claimed are the sessions that nobody finds any more, the oldest first. The
// zero value has none.
type claimed struct {
	mu     sync.Mutex
	list   []claim
	closed bool
}

type claim struct {
	session sessioncb.Session
	until   time.Time
}

// add takes a session that was claimed at now.
func (c *claimed) add(s sessioncb.Session, now time.Time) {
	var out sessioncb.Session
	c.mu.Lock()
	switch {
	case c.closed:
		out = s
	case len(c.list) >= maxClaimed:
		out = c.pop()
		fallthrough
	default:
		c.list = append(c.list, claim{s, now.Add(claimedFor)})
	}
	c.mu.Unlock()
	if out != nil {
		out.Close()
	}
}

// sweep closes those whose time is over.
func (c *claimed) sweep(now time.Time) {
	for {
		c.mu.Lock()
		if len(c.list) == 0 || now.Before(c.list[0].until) {
			c.mu.Unlock()
			return
		}
		s := c.pop()
		c.mu.Unlock()
		s.Close()
	}
}

// close closes all, and those that come later.
func (c *claimed) close() {
	c.mu.Lock()
	list := c.list
	c.list, c.closed = nil, true
	c.mu.Unlock()
	for _, one := range list {
		one.session.Close()
	}
}

// pop returns the oldest; the lock is held.
func (c *claimed) pop() sessioncb.Session {
	s := c.list[0].session
	c.list[0] = claim{}
	c.list = c.list[1:]
	return s
}
