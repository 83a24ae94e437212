package sessioncb

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"time"
)

// Key names a session in a Store. ID has 1 to 32 bytes, any bytes; the
// adapter forms the wire key from it (prefix, hex, base64). Whoever knows the
// id can offer the session, but not use it.
type Key struct{ ID []byte }

// Hex returns the id in lower-case hexadecimal, the form of most stores that
// cannot take binary keys.
func (k Key) Hex() string { return hex.EncodeToString(k.ID) }

// clone is for a store, which shall not write into a key that is still used.
func (k Key) clone() Key { return Key{ID: bytes.Clone(k.ID)} }

// ErrNotFound is what Get and Claim of a Store report for a key that is not
// there or has expired.
var ErrNotFound = errors.New("sessioncb: session not found")

// Store keeps bytes by key with a lifetime. A Store is used concurrently, and
// may be slow or broken: the Cache in front of it bounds what that costs.
// Package storetest checks an implementation.
type Store interface {
	// Get returns the value put last, or ErrNotFound. The caller owns the value.
	Get(ctx context.Context, key Key) (value []byte, err error)
	// Put stores value for ttl, replacing what was there. The store must not
	// keep value after the call. A ttl of zero or less stores nothing and
	// removes what was there.
	Put(ctx context.Context, key Key, value []byte, ttl time.Duration) error
	// Delete removes the value; that none is there is no error.
	Delete(ctx context.Context, key Key) error
}

// Claimer is a Store that can give a value to exactly one of many callers in
// the whole fleet: get and delete in one atomic step.
type Claimer interface {
	Claim(ctx context.Context, key Key) (value []byte, err error)
}

// LiveStore is a Store in this process that keeps sessions themselves, not
// their bytes: a Cache in front of it encodes, seals and decodes nothing, and
// of Store uses Delete alone; Get and Put report an error that wraps
// errors.ErrUnsupported. Package livestore is one, and storetest.RunLive checks
// one.
//
// The store owns what it took, and Closes it when it leaves: on Delete, when it
// is replaced, over, or evicted, and at the store's own end. What GetSession and
// ClaimSession return is borrowed. The binding duplicates it, so that no session
// of the store enters a connection; one that is closed before that is a miss.
//
// The methods are called concurrently, by the goroutine of the handshake: they
// must not wait, Delete included. They must not keep or change key.ID.
type LiveStore interface {
	Store
	// PutSession takes s for ttl, in place of what was there, and returns true;
	// or takes nothing and returns false, as with a ttl of zero or less, which
	// removes what was there. s is a session that is not in the store. It may
	// be closed as soon as it is in.
	PutSession(key Key, s Session, ttl time.Duration) (taken bool)
	// GetSession returns the session put last, or ErrNotFound.
	GetSession(key Key) (Session, error)
	// ClaimSession returns it too, and to nobody again: of many callers at once,
	// one gets it. The store closes it a moment later, and sooner only if it
	// needs the room.
	ClaimSession(key Key) (Session, error)
}
