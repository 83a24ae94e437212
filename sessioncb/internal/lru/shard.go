package lru

import (
	"container/heap"
	"container/list"
	"sync"
	"time"
)

// A shard is a part of the cache behind a lock of its own. Its entries hang
// in three structures at once: by key, by last use, and by expiry. What has
// expired leaves at the next Put or Size, so that it never counts against
// the bounds, or when it is met. What has left is returned as a list (gone), for
// the caller to drop without the lock.
type shard[V any] struct {
	maxBytes   int64
	maxEntries int
	kind       *Kind[V]

	mu     sync.Mutex
	byKey  map[string]*entry[V]
	used   list.List // most recently used first
	expiry expiryHeap[V]
	bytes  int64
}

type entry[V any] struct {
	key     string
	value   V
	cost    int64
	expires time.Time
	used    *list.Element // of shard.used
	index   int           // in shard.expiry
	next    *entry[V]     // that has left too
}

func (s *shard[V]) init(maxBytes int64, maxEntries int, kind *Kind[V]) {
	s.maxBytes, s.maxEntries, s.kind = maxBytes, maxEntries, kind
	s.byKey = make(map[string]*entry[V])
}

func (s *shard[V]) get(key []byte, now time.Time) (value V, there bool, gone *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	switch {
	case e == nil:
		return value, false, nil
	case !now.Before(e.expires):
		return value, false, s.remove(e, nil)
	}
	s.used.MoveToFront(e.used)
	return s.kind.Copy(e.value), true, nil
}

// put asks allowed under the lock; nil allows.
func (s *shard[V]) put(key []byte, value V, now, expires time.Time, allowed func() bool) (in, fits bool, gone *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if allowed != nil && !allowed() {
		return false, true, nil
	}
	gone = s.expire(now)
	if old := s.byKey[string(key)]; old != nil {
		gone = s.remove(old, gone)
	}
	if !now.Before(expires) {
		return false, true, gone
	}
	cost := int64(len(key)+s.kind.Size(value)) + Overhead
	if cost > s.maxBytes {
		return false, false, gone
	}
	for s.bytes+cost > s.maxBytes || len(s.byKey) >= s.maxEntries {
		gone = s.remove(s.used.Back().Value.(*entry[V]), gone)
	}
	e := &entry[V]{key: string(key), value: s.kind.Copy(value), cost: cost, expires: expires}
	s.byKey[e.key] = e
	e.used = s.used.PushFront(e)
	heap.Push(&s.expiry, e)
	s.bytes += cost
	return true, true, gone
}

func (s *shard[V]) take(key []byte, now time.Time) (value V, there bool, gone *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil {
		return value, false, nil
	}
	gone = s.remove(e, nil)
	if now.Before(e.expires) {
		return e.value, true, nil // the caller's now
	}
	return value, false, gone
}

func (s *shard[V]) delete(key []byte) (gone *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[string(key)]; e != nil {
		gone = s.remove(e, nil)
	}
	return gone
}

func (s *shard[V]) clear() (gone *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.expiry) > 0 {
		gone = s.remove(s.expiry[len(s.expiry)-1], gone)
	}
	return gone
}

func (s *shard[V]) size(now time.Time) (entries int, bytes int64, gone *entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone = s.expire(now)
	return len(s.byKey), s.bytes, gone
}

// expire removes all that is over at now.
func (s *shard[V]) expire(now time.Time) (gone *entry[V]) {
	for len(s.expiry) > 0 && !now.Before(s.expiry[0].expires) {
		gone = s.remove(s.expiry[0], gone)
	}
	return gone
}

// remove takes an entry out of everything, and puts it in front of gone.
func (s *shard[V]) remove(e, gone *entry[V]) *entry[V] {
	delete(s.byKey, e.key)
	s.used.Remove(e.used)
	heap.Remove(&s.expiry, e.index)
	s.bytes -= e.cost
	e.next = gone
	return e
}

// expiryHeap has the entry that expires first at its root, and tells each
// entry its place.
type expiryHeap[V any] []*entry[V]

func (h expiryHeap[V]) Len() int           { return len(h) }
func (h expiryHeap[V]) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h expiryHeap[V]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *expiryHeap[V]) Push(x any) {
	e := x.(*entry[V])
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap[V]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
