package sessioncb

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
)

// A tagged id is 24 random bytes, then the first 8 of their HMAC-SHA256 under
// a key derived from a ring key. Who has no key makes one that passes in 2^64
// tries; who has seen one can show it again.
const tagStart = maxIDSize - 8

const tagInfo = "sessioncb session id tag 1 HMAC-SHA256 key"

// tagKey derives the key of the tags from a ring key.
func tagKey(key []byte) (tag [KeySize]byte, err error) {
	derived, err := hkdf.Key(sha256.New, key, nil, tagInfo, KeySize)
	if err != nil {
		return tag, fmt.Errorf("derive the key of session id tags: %w", err)
	}
	return [KeySize]byte(derived), nil
}

// tags mint ids and know them again. nil mints none, and knows all.
type tags struct{ ring *KeyRing }

// mint makes an id with a tag under the newest key.
func (t *tags) mint() (id [maxIDSize]byte) {
	rand.Read(id[:tagStart]) // never fails: see crypto/rand
	key := t.ring.newest()
	copy(id[tagStart:], tagOf(&key, id[:tagStart]))
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
	keys := t.ring.load()
	for i := range keys {
		if hmac.Equal(id[tagStart:], tagOf(&keys[i], id[:tagStart])) {
			return true
		}
	}
	return false
}

func tagOf(key *ringKey, random []byte) []byte {
	h := hmac.New(sha256.New, key.tag[:])
	h.Write(random)
	return h.Sum(nil)[:maxIDSize-tagStart]
}
