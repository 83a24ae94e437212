package memstore

import (
	"bytes"
	"container/heap"
	"container/list"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// A shard is a part of the store behind a lock of its own. Its entries hang
// in three structures at once: by id, by last use, and by expiry. What has
// expired leaves at the next Put or size, so that it never counts against
// the bounds.
type shard struct {
	maxBytes   int64
	maxEntries int

	mu     sync.Mutex
	byID   map[string]*entry
	used   list.List // most recently used first
	expiry expiryHeap
	bytes  int64
}

type entry struct {
	id      string
	value   []byte
	expires time.Time
	used    *list.Element // of shard.used
	index   int           // in shard.expiry
}

func (e *entry) cost() int64 { return int64(len(e.id)+len(e.value)) + entryOverhead }

func (s *shard) init(maxBytes int64, maxEntries int) {
	s.maxBytes, s.maxEntries = maxBytes, maxEntries
	s.byID = make(map[string]*entry)
}

func (s *shard) get(id []byte, now time.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[string(id)]
	if e == nil || !now.Before(e.expires) {
		return nil, sessioncb.ErrNotFound
	}
	s.used.MoveToFront(e.used)
	return bytes.Clone(e.value), nil
}

func (s *shard) put(id, value []byte, now, expires time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if old := s.byID[string(id)]; old != nil {
		s.drop(old)
	}
	if !now.Before(expires) {
		return nil
	}
	e := &entry{id: string(id), value: append([]byte{}, value...), expires: expires}
	if e.cost() > s.maxBytes {
		return errTooLarge
	}
	for s.bytes+e.cost() > s.maxBytes || len(s.byID) >= s.maxEntries {
		s.drop(s.used.Back().Value.(*entry))
	}
	s.byID[e.id] = e
	e.used = s.used.PushFront(e)
	heap.Push(&s.expiry, e)
	s.bytes += e.cost()
	return nil
}

// take removes the entry and returns its value, nil if there is none.
func (s *shard) take(id []byte, now time.Time) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[string(id)]
	if e == nil {
		return nil
	}
	var value []byte
	if now.Before(e.expires) {
		value = bytes.Clone(e.value)
	}
	s.drop(e)
	return value
}

func (s *shard) size(now time.Time) (int, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	return len(s.byID), s.bytes
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
	delete(s.byID, e.id)
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
