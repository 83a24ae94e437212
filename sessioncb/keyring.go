package sessioncb

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// KeySize is the length of a key, in bytes.
	KeySize = 32
	// MaxKeys is how many keys a KeyRing holds.
	MaxKeys = 16
)

// A KeyRing holds the keys that seal sessions: the newest key seals, every
// key opens. A fleet that shares a store shares its keys.
//
// To change keys without losing a session: give all machines the new key
// behind the current one (Replace), then give it the first place everywhere
// (Rotate), and drop the old key when the last session sealed with it has
// expired.
//
// The methods may be called concurrently, and while a Cache uses the ring.
// The zero KeyRing holds no key; a Cache refuses it. A ring prints as the ids
// of its keys, never as the keys.
type KeyRing struct {
	change sync.Mutex                // held by writers, so that no change is lost
	keys   atomic.Pointer[[]ringKey] // newest first; replaced whole, never written to
}

// A ringKey is a key, the name under which envelopes speak of it, and what is
// derived from it once.
type ringKey struct {
	id     keyID
	key    [KeySize]byte
	tagger *tagger
}

// A keyID names a key and reveals nothing of it.
type keyID [8]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// idOf is the start of a hash over a label and the key.
func idOf(key []byte) (id keyID) {
	h := sha256.New()
	h.Write([]byte("sessioncb key id 1\x00"))
	h.Write(key)
	copy(id[:], h.Sum(nil))
	return id
}

// NewKeyRing makes a ring of 1 to MaxKeys keys of KeySize bytes each: the
// first one seals, all of them open. The ring copies the keys. The same key
// twice is an error, and so is a key of zeros.
func NewKeyRing(keys ...[]byte) (*KeyRing, error) {
	r := new(KeyRing)
	if err := r.Replace(keys...); err != nil {
		return nil, err
	}
	return r, nil
}

// ProcessKey returns a ring with one random key that lives as long as the
// process: what it sealed, no other process opens, nor this one after a
// restart. It is right for a store in memory.
func ProcessKey() *KeyRing {
	r, err := NewKeyRing(GenerateKey())
	if err != nil {
		panic(err) // a random key is never refused
	}
	return r
}

// GenerateKey returns a new random key of KeySize bytes.
func GenerateKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: see crypto/rand
	return key
}

// Rotate makes newest the key that seals; the keys that were there go on
// opening. If newest is in the ring already it only moves to the front. The
// oldest key falls out of a ring that would hold more than MaxKeys.
func (r *KeyRing) Rotate(newest []byte) error {
	e, err := newRingKey(newest)
	if err != nil {
		return fmt.Errorf("sessioncb: rotate keys: %w", err)
	}
	r.change.Lock()
	defer r.change.Unlock()
	keys := []ringKey{e}
	for _, old := range r.load() {
		if old.id != e.id && len(keys) < MaxKeys {
			keys = append(keys, old)
		}
	}
	r.keys.Store(&keys)
	return nil
}

// Replace puts these keys in the place of all that were there, under the
// rules of NewKeyRing. After an error the ring is as it was. What was sealed
// with a key that is gone becomes a miss.
func (r *KeyRing) Replace(keys ...[]byte) error {
	switch {
	case len(keys) == 0:
		return errors.New("sessioncb: key ring: no keys")
	case len(keys) > MaxKeys:
		return fmt.Errorf("sessioncb: key ring: %d keys, at most %d fit", len(keys), MaxKeys)
	}
	entries := make([]ringKey, 0, len(keys))
	for i, key := range keys {
		e, err := newRingKey(key)
		if err != nil {
			return fmt.Errorf("sessioncb: key ring: key %d of %d: %w", i+1, len(keys), err)
		}
		if slices.ContainsFunc(entries, func(o ringKey) bool { return o.id == e.id }) {
			return fmt.Errorf("sessioncb: key ring: key %d of %d: it is there twice", i+1, len(keys))
		}
		entries = append(entries, e)
	}
	r.change.Lock()
	defer r.change.Unlock()
	r.keys.Store(&entries)
	return nil
}

// IDs returns the ids of the keys, newest first, as 16 hexadecimal digits
// each. An id reveals nothing of its key; key files and logs use it.
func (r *KeyRing) IDs() []string {
	var ids []string
	for _, e := range r.load() {
		ids = append(ids, e.id.String())
	}
	return ids
}

// String names the keys by their ids, the one that seals first.
func (r *KeyRing) String() string {
	return "KeyRing(" + strings.Join(r.IDs(), " ") + ")"
}

// GoString is String, so that no verb of fmt prints a key.
func (r *KeyRing) GoString() string { return r.String() }

func newRingKey(key []byte) (ringKey, error) {
	if len(key) != KeySize {
		return ringKey{}, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(key))
	}
	e := ringKey{id: idOf(key), key: [KeySize]byte(key)}
	if e.key == [KeySize]byte{} {
		return ringKey{}, errors.New("a key of zeros is no key")
	}
	var err error
	e.tagger, err = newTagger(key)
	return e, err
}

func (r *KeyRing) load() []ringKey {
	if keys := r.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

// newest returns the key that seals. The ring is not empty: NewCache looked.
func (r *KeyRing) newest() ringKey { return r.load()[0] }

// find returns the key of that id.
func (r *KeyRing) find(id keyID) (ringKey, bool) {
	for _, e := range r.load() {
		if e.id == id {
			return e, true
		}
	}
	return ringKey{}, false
}
