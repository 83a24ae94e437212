package sessioncb

import (
	"time"

	"github.com/sessioncb/openssl/sessioncb/internal/lru"
)

// maxMisses is how many ids are remembered not to be in the store. An id that
// does not fit costs a call of the store; 16,384 are at most 3.7 MB.
const maxMisses = 1 << 14

// misses remember for a moment what is not in the store: a client that comes
// back with a session that is gone, on ten connections at once, costs one
// call. nil remembers nothing.
type misses struct {
	ids *lru.Cache[[]byte]
	ttl time.Duration
	now func() time.Time
}

func newMisses(ttl time.Duration, now func() time.Time) *misses {
	return &misses{ids: lru.Bytes(maxMisses*(maxIDSize+lru.Overhead), maxMisses), ttl: ttl, now: now}
}

func (m *misses) has(key Key) bool {
	if m == nil {
		return false
	}
	_, there := m.ids.Get(key.ID, m.now())
	return there
}

// keep remembers what a lookup did not find that began in the epoch e.
func (m *misses) keep(key Key, e epoch) {
	if m != nil {
		now := m.now()
		m.ids.PutIf(key.ID, nil, now, now.Add(m.ttl), e.isNow)
	}
}

// forget is for a Put. The epoch of key has just been ended.
func (m *misses) forget(key Key) {
	if m != nil {
		m.ids.Delete(key.ID)
	}
}

func (m *misses) size() int {
	if m == nil {
		return 0
	}
	n, _ := m.ids.Size(m.now())
	return n
}
