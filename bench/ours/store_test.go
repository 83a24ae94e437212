package main

import (
	"slices"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	var dropped []int
	s := newTable(16, func(v int) { dropped = append(dropped, v) }) // one in each shard
	a := keyOf([]byte("a"))
	b := a
	for i := 0; s.shard(&b) != s.shard(&a) || b == a; i++ {
		b = keyOf([]byte{byte(i), byte(i >> 8)})
	}
	for _, step := range []struct {
		name         string
		id           sessionID
		v            int
		atA, atB     int // 0: not there
		droppedSoFar []int
	}{
		{"the first", a, 1, 1, 0, nil},
		{"replaced", a, 2, 2, 0, []int{1}},
		{"full: the oldest goes", b, 3, 0, 3, []int{1, 2}},
		{"and again", a, 4, 4, 0, []int{1, 2, 3}},
	} {
		s.put(step.id, step.v)
		gotA, _ := s.get(a)
		gotB, _ := s.get(b)
		if gotA != step.atA || gotB != step.atB || !slices.Equal(dropped, step.droppedSoFar) {
			t.Errorf("%s: %d and %d, dropped %v; want %d and %d, %v", step.name,
				gotA, gotB, dropped, step.atA, step.atB, step.droppedSoFar)
		}
	}
	sh := s.shard(&a)
	sh.values[a] = entry[int]{4, time.Now().Add(-time.Second)}
	if v, ok := s.get(a); ok {
		t.Errorf("expired, but there is %d", v)
	}
}

func TestTableDropsTheOldest(t *testing.T) {
	const bound = 160
	s := newTable[int](bound, nil)
	for i := range 10 * bound {
		s.put(keyOf([]byte{byte(i), byte(i >> 8)}), i)
	}
	size := 0
	for i := range s.shards {
		sh := &s.shards[i]
		size += len(sh.values)
		last := -1 // in the ring, from the oldest
		for j := range sh.order {
			v := sh.values[sh.order[(sh.next+j)%len(sh.order)]].value
			if v <= last {
				t.Fatalf("shard %d: %d came after %d", i, v, last)
			}
			last = v
		}
	}
	if size != bound {
		t.Errorf("%d values, want %d", size, bound)
	}
}

func TestMisses(t *testing.T) {
	for name, get := range map[string]finder{
		"der": newDERStore(1).get, "ref": newRefStore(1).get,
	} {
		if a, ok := get([]byte("unknown")); ok || a.Encoded() != nil || a.Session() != nil {
			t.Errorf("%s: found %v", name, a)
		}
	}
}
