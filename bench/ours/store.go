package main

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// An id has at most 32 bytes; one that is shorter, which no session of this
// server has, ends in zeros.
type sessionID [32]byte

func keyOf(id []byte) (k sessionID) {
	copy(k[:], id)
	return k
}

// table is a bounded hash table that drops what is oldest, in shards so that
// connections on several threads meet seldom.
type table[V any] struct {
	seed   maphash.Seed
	shards [16]shard[V]
}

type shard[V any] struct {
	mu     sync.Mutex
	values map[sessionID]entry[V]
	order  []sessionID // a ring, of the ids in the order of their coming
	next   int         // in it: where the next id goes, and the oldest is
	drop   func(V)     // is told of each value that leaves, or nil
}

type entry[V any] struct {
	value   V
	expires time.Time
}

// newTable bounds the whole to bound or a little more: each shard keeps an even
// share, rounded up.
func newTable[V any](bound int, drop func(V)) *table[V] {
	t := &table[V]{seed: maphash.MakeSeed()}
	share := (bound + len(t.shards) - 1) / len(t.shards)
	for i := range t.shards {
		s := &t.shards[i]
		s.values, s.order, s.drop = map[sessionID]entry[V]{}, make([]sessionID, share), drop
	}
	return t
}

func (t *table[V]) shard(id *sessionID) *shard[V] {
	return &t.shards[maphash.Bytes(t.seed, id[:])%uint64(len(t.shards))]
}

func (t *table[V]) put(id sessionID, v V) {
	s := t.shard(&id)
	s.mu.Lock()
	old, replaced := s.values[id]
	if !replaced {
		oldest := s.order[s.next]
		var full bool
		if old, full = s.values[oldest]; full {
			delete(s.values, oldest)
			replaced = true
		}
		s.order[s.next] = id
		s.next = (s.next + 1) % len(s.order)
	}
	s.values[id] = entry[V]{v, time.Now().Add(lifetime)}
	s.mu.Unlock()
	if replaced && s.drop != nil {
		s.drop(old.value)
	}
}

func (t *table[V]) get(id sessionID) (v V, ok bool) {
	s := t.shard(&id)
	s.mu.Lock()
	e, ok := s.values[id]
	s.mu.Unlock()
	if !ok || time.Now().After(e.expires) {
		return v, false
	}
	return e.value, true
}

// derStore keeps encoded sessions: the C server's i2d and d2i.
type derStore struct{ sessions *table[[]byte] }

func newDERStore(bound int) derStore { return derStore{newTable[[]byte](bound, nil)} }

func (d derStore) put(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	if der, err := s.MarshalBinary(); err == nil {
		d.sessions.put(keyOf(s.ID()), der)
	}
	return false
}

// get answers with the bytes in the table, which nobody changes.
func (d derStore) get(id []byte) (sessioncb.Answer, bool) {
	der, ok := d.sessions.get(keyOf(id))
	return sessioncb.DER(der), ok
}

// refStore keeps the sessions themselves.
type refStore struct{ sessions *table[sessioncb.Session] }

func newRefStore(bound int) refStore {
	return refStore{newTable(bound, func(s sessioncb.Session) { s.Close() })}
}

func (r refStore) put(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	r.sessions.put(keyOf(s.ID()), s)
	return true
}

// get answers with a session that stays in the table. Were it dropped before it
// is used, it would be a miss.
func (r refStore) get(id []byte) (sessioncb.Answer, bool) {
	s, ok := r.sessions.get(keyOf(id))
	if !ok {
		return sessioncb.Answer{}, false
	}
	return sessioncb.Live(s), true
}
