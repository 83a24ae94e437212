package lru

import (
	"bytes"
	"container/heap"
	"container/list"
	"sync"
	"time"
)

// A shard is a part of the cache behind a lock of its own. Its entries hang
// in three structures at once: by key, by last use, and by expiry. What has
// expired leaves at the next Put or Size, so that it never counts against
// the bounds.
type shard struct {
	maxBytes   int64
	maxEntries int

	mu     sync.Mutex
	byKey  map[string]*entry
	used   list.List // most recently used first
	expiry expiryHeap
	bytes  int64
}

type entry struct {
	key     string
	value   []byte
	expires time.Time
	used    *list.Element // of shard.used
	index   int           // in shard.expiry
}

func (e *entry) cost() int64 { return int64(len(e.key)+len(e.value)) + Overhead }

func (s *shard) init(maxBytes int64, maxEntries int) {
	s.maxBytes, s.maxEntries = maxBytes, maxEntries
	s.byKey = make(map[string]*entry)
}

func (s *shard) get(key []byte, now time.Time) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil || !now.Before(e.expires) {
		return nil, false
	}
	s.used.MoveToFront(e.used)
	return bytes.Clone(e.value), true
}

// put asks allowed under the lock; nil allows.
func (s *shard) put(key, value []byte, now, expires time.Time, allowed func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if allowed != nil && !allowed() {
		return true
	}
	s.expire(now)
	if old := s.byKey[string(key)]; old != nil {
		s.drop(old)
	}
	if !now.Before(expires) {
		return true
	}
	e := &entry{key: string(key), value: append([]byte{}, value...), expires: expires}
	if e.cost() > s.maxBytes {
		return false
	}
	for s.bytes+e.cost() > s.maxBytes || len(s.byKey) >= s.maxEntries {
		s.drop(s.used.Back().Value.(*entry))
	}
	s.byKey[e.key] = e
	e.used = s.used.PushFront(e)
	heap.Push(&s.expiry, e)
	s.bytes += e.cost()
	return true
}

func (s *shard) take(key []byte, now time.Time) (value []byte, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil {
		return nil, false
	}
	if there = now.Before(e.expires); there {
		value = bytes.Clone(e.value)
	}
	s.drop(e)
	return value, there
}

func (s *shard) delete(key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[string(key)]; e != nil {
		s.drop(e)
	}
}

func (s *shard) size(now time.Time) (int, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	return len(s.byKey), s.bytes
}

// expire drops all that is over at now.
func (s *shard) expire(now time.Time) {
	for len(s.expiry) > 0 && !now.Before(s.expiry[0].expires) {
		s.drop(s.expiry[0])
	}
}

// drop takes an entry out of everything, and clears a value that may be a
// session in plain.
func (s *shard) drop(e *entry) {
	delete(s.byKey, e.key)
	s.used.Remove(e.used)
	heap.Remove(&s.expiry, e.index)
	s.bytes -= e.cost()
	clear(e.value)
}

// expiryHeap has the entry that expires first at its root, and tells each
// entry its place.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
