package sessioncb

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"sync"
)

// A tagged id is 24 random bytes, then the first 8 of their HMAC-SHA256 under
// a key derived from a ring key. Who has no key makes one that passes in 2^64
// tries; who has seen one can show it again.
const (
	idTagBytes = 8
	tagStart   = maxIDSize - idTagBytes

	tagInfo = "sessioncb session id tag 1 HMAC-SHA256 key"
)

// A tagger makes the tags of one ring key. It is made with the key, and keeps
// hashes that have the key in them already: strangers' ids cost little.
type tagger struct{ hashes sync.Pool }

type tagHash struct {
	hash.Hash
	sum [sha256.Size]byte
}

func newTagger(key []byte) (*tagger, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, tagInfo, KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of session id tags: %w", err)
	}
	return &tagger{sync.Pool{New: func() any { return &tagHash{Hash: hmac.New(sha256.New, derived)} }}}, nil
}

func (t *tagger) tag(random []byte) (tag [idTagBytes]byte) {
	h := t.hashes.Get().(*tagHash)
	defer t.hashes.Put(h)
	h.Reset()
	h.Write(random)
	copy(tag[:], h.Sum(h.sum[:0]))
	return tag
}

// tags mint ids and know them again. nil mints none, and knows all.
type tags struct{ ring *KeyRing }

// mint makes an id with a tag under the newest key.
func (t *tags) mint() (id [maxIDSize]byte) {
	rand.Read(id[:tagStart]) // never fails: see crypto/rand
	tag := t.ring.newest().tagger.tag(id[:tagStart])
	copy(id[tagStart:], tag[:])
	return id
}

// has says whether a key of the ring tagged the id.
func (t *tags) has(id []byte) bool {
	if t == nil {
		return true
	}
	if len(id) != maxIDSize {
		return false
	}
	for _, key := range t.ring.load() {
		if tag := key.tagger.tag(id[:tagStart]); hmac.Equal(id[tagStart:], tag[:]) {
			return true
		}
	}
	return false
}
