package sessioncb

import (
	"hash/maphash"
	"sync/atomic"
)

// epochs tell a lookup whether its id was written, removed or claimed while it
// was under way: what it read may then be older than what this process knows,
// and must not be remembered.
//
// Ids share slots, by a hash whose seed nobody knows. A stranger in the same
// slot costs a value that is not remembered, nothing else.
type epochs struct {
	seed  maphash.Seed
	slots [4096]atomic.Uint64
}

func newEpochs() *epochs { return &epochs{seed: maphash.MakeSeed()} }

// An epoch is a moment in the life of an id.
type epoch struct {
	slot *atomic.Uint64
	at   uint64
}

func (e *epochs) slot(key Key) *atomic.Uint64 {
	return &e.slots[maphash.Bytes(e.seed, key.ID)%uint64(len(e.slots))]
}

// of returns the epoch that key is in now. A lookup asks before it reads.
func (e *epochs) of(key Key) epoch {
	slot := e.slot(key)
	return epoch{slot, slot.Load()}
}

// end ends the epoch of key. Whoever changes what is remembered of key calls
// it first, and then changes it: the lookup that asks isNow under the same
// lock comes before the change or sees that it is late.
func (e *epochs) end(key Key) { e.slot(key).Add(1) }

// isNow says whether the epoch lasts.
func (e epoch) isNow() bool { return e.slot.Load() == e.at }
