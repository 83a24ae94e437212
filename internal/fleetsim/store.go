package main

import (
	"bytes"
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// A tally counts what reached a store.
type tally struct {
	gets, claims, found, puts, deletes int64
	wrote, read                        int64 // bytes of values
}

func (t tally) calls() int64 { return t.gets + t.claims + t.puts + t.deletes }

func (t *tally) add(o tally, sign int64) {
	t.gets += sign * o.gets
	t.claims += sign * o.claims
	t.found += sign * o.found
	t.puts += sign * o.puts
	t.deletes += sign * o.deletes
	t.wrote += sign * o.wrote
	t.read += sign * o.read
}

// A store is a sessioncb.Store and Claimer in memory that counts its calls and
// expires by the simulation's clock.
type store struct {
	now func() time.Time

	mu     sync.Mutex // the Cache calls from goroutines of its own
	values map[string]*value
	ends   ends // the first to expire first
	count  tally
	bytes  int64 // of the values that are alive
}

type value struct {
	id      string
	bytes   []byte
	expires time.Time
	gone    bool // replaced, deleted or expired
}

// ends is a heap of values by their end.
type ends []*value

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(*value)) }

func (e *ends) Pop() any {
	last := len(*e) - 1
	v := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return v
}

func newStore(now func() time.Time) *store {
	return &store{now: now, values: make(map[string]*value)}
}

// expire drops what is over.
func (s *store) expire() {
	now := s.now()
	for len(s.ends) > 0 && (s.ends[0].gone || !now.Before(s.ends[0].expires)) {
		s.drop(heap.Pop(&s.ends).(*value))
	}
}

func (s *store) drop(v *value) {
	if v == nil || v.gone {
		return
	}
	v.gone = true
	s.bytes -= int64(len(v.bytes))
	delete(s.values, v.id)
	v.bytes = nil
}

func (s *store) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.gets++
	v, err := s.find(key)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(v.bytes), nil
}

func (s *store) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.claims++
	v, err := s.find(key)
	if err != nil {
		return nil, err
	}
	taken := bytes.Clone(v.bytes)
	s.drop(v)
	return taken, nil
}

func (s *store) find(key sessioncb.Key) (*value, error) {
	s.expire()
	v := s.values[string(key.ID)]
	if v == nil {
		return nil, sessioncb.ErrNotFound
	}
	s.count.found++
	s.count.read += int64(len(v.bytes))
	return v, nil
}

func (s *store) Put(ctx context.Context, key sessioncb.Key, b []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	s.count.puts++
	s.count.wrote += int64(len(b))
	v := &value{id: string(key.ID), bytes: bytes.Clone(b), expires: s.now().Add(ttl)}
	s.drop(s.values[v.id])
	s.values[v.id] = v
	heap.Push(&s.ends, v)
	s.bytes += int64(len(b))
	return nil
}

func (s *store) Delete(ctx context.Context, key sessioncb.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	s.count.deletes++
	s.drop(s.values[string(key.ID)])
	return nil
}

// state returns what was counted, and what is alive.
func (s *store) state() (count tally, sessions int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	return s.count, len(s.values), s.bytes
}
