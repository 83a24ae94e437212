package sessioncb

import (
	"math"
	"time"

	"github.com/sessioncb/openssl/sessioncb/internal/lru"
)

// near keeps values in memory, in front of a store that is far. They are as
// the store has them, sealed; a Codec that does not seal gets a seal put
// around its values here, so that no session lies open in memory.
//
// nil keeps nothing.
type near struct {
	values *lru.Cache[[]byte]
	ttl    time.Duration
	seal   Codec // nil where the values are sealed already
	now    func() time.Time
}

func newNear(maxBytes int64, ttl time.Duration, sealed bool, now func() time.Time) *near {
	n := &near{values: lru.Bytes(maxBytes, math.MaxInt), ttl: ttl, now: now}
	if !sealed {
		n.seal = ProcessKey().Codec()
	}
	return n
}

// get returns the value, the caller's own.
func (n *near) get(key Key) (value []byte, there bool) {
	if n == nil {
		return nil, false
	}
	value, there = n.values.Get(key.ID, n.now())
	if there && n.seal != nil {
		r, err := n.seal.Decode(key, value)
		return r.DER, err == nil
	}
	return value, there
}

// put takes a session of this process in, so that its own lookups find it
// from now on. The epoch of key has just been ended.
func (n *near) put(key Key, value []byte, expires time.Time) {
	if n == nil {
		return
	}
	if value, ok := n.sealed(key, value); ok {
		now := n.now()
		n.values.Put(key.ID, value, now, n.until(now, expires))
	}
}

// keep takes in what a lookup found that began in the epoch e.
func (n *near) keep(key Key, value []byte, expires time.Time, e epoch) {
	if n == nil {
		return
	}
	if value, ok := n.sealed(key, value); ok {
		now := n.now()
		n.values.PutIf(key.ID, value, now, n.until(now, expires), e.isNow)
	}
}

// remove forgets the value. The epoch of key has just been ended.
func (n *near) remove(key Key) {
	if n != nil {
		n.values.Delete(key.ID)
	}
}

func (n *near) sealed(key Key, value []byte) ([]byte, bool) {
	if n.seal == nil {
		return value, true
	}
	value, err := n.seal.Encode(key, Record{DER: value})
	return value, err == nil
}

// until is the end of the near ttl, or of the session if that is sooner. The
// zero Time: the value does not tell, and OpenSSL looks.
func (n *near) until(now, expires time.Time) time.Time {
	end := now.Add(n.ttl)
	if !expires.IsZero() && expires.Before(end) {
		return expires
	}
	return end
}

func (n *near) size() (sessions int, bytes int64) {
	if n == nil {
		return 0, 0
	}
	return n.values.Size(n.now())
}
