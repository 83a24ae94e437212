package main

// #include <stdint.h>
import "C"

import (
	"runtime/cgo"
	"sync"
	"unsafe"

	"github.com/sessioncb/openssl/bench/peer"
)

// An id has at most 32 bytes; one that is shorter, which no session of this
// server has, ends in zeros.
type sessionID [32]byte

// A store keeps encoded sessions, and drops the oldest when it is full. It is
// libssl that refuses one whose time is over.
type store struct {
	n        *peer.Counters
	mu       sync.Mutex
	sessions map[sessionID][]byte
	order    []sessionID // a ring, of the ids in the order of their coming
	next     int         // in it: where the next id goes, and the oldest is
}

func newStore(bound int, n *peer.Counters) *store {
	return &store{n: n, sessions: map[sessionID][]byte{}, order: make([]sessionID, bound)}
}

func (s *store) put(id sessionID, der []byte) {
	s.n.Stored.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, replaced := s.sessions[id]; !replaced {
		delete(s.sessions, s.order[s.next])
		s.order[s.next] = id
		s.next = (s.next + 1) % len(s.order)
	}
	s.sessions[id] = der
}

// get answers with bytes that nobody changes, or nil.
func (s *store) get(id sessionID) []byte {
	s.n.Lookups.Add(1)
	s.mu.Lock()
	der := s.sessions[id]
	s.mu.Unlock()
	if der != nil {
		s.n.Hits.Add(1)
	}
	return der
}

func (s *store) remove(id sessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

//export prototypeNew
func prototypeNew(h C.uintptr_t, id *C.uchar, idLen C.uint, der *C.uchar, n C.int) {
	storeOf(h).put(idOf(id, C.int(idLen)), C.GoBytes(unsafe.Pointer(der), n))
}

// prototypeGet copies a session to der, and returns its length or 0.
//
//export prototypeGet
func prototypeGet(h C.uintptr_t, id *C.uchar, idLen C.int, der *C.uchar, room C.int) C.int {
	return C.int(copy(unsafe.Slice((*byte)(der), room), storeOf(h).get(idOf(id, idLen))))
}

//export prototypeRemove
func prototypeRemove(h C.uintptr_t, id *C.uchar, idLen C.uint) {
	storeOf(h).remove(idOf(id, C.int(idLen)))
}

func storeOf(h C.uintptr_t) *store { return cgo.Handle(h).Value().(*store) }

func idOf(id *C.uchar, n C.int) (k sessionID) {
	copy(k[:], unsafe.Slice((*byte)(id), n))
	return k
}
