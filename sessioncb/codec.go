package sessioncb

import (
	"bytes"
	"errors"
	"time"
)

// A Record is a session on its way into a Store or out of it.
type Record struct {
	// DER is the encoded session (i2d_SSL_SESSION), with its keys.
	DER []byte
	// IDContext is the session id context it was made under, 0 to 32 bytes.
	// nil out of Decode: the value does not tell, and OpenSSL alone judges.
	IDContext []byte
	// Expires is when it stops being resumable, in whole seconds. The zero
	// Time out of Decode: the value does not tell.
	Expires time.Time
}

// A Codec makes the value that a Store keeps, and the session from it again.
// A Cache seals unless it is given another Codec, which only a store shared
// with C servers needs: the two sides must agree on the value. (The key is
// the Store's part.) Its methods are called concurrently.
type Codec interface {
	// Encode returns the value for key; it keeps neither key nor r. The
	// caller owns the value.
	Encode(key Key, r Record) (value []byte, err error)
	// Decode is its inverse, for bytes that anybody may have written. It may
	// use value's memory for r. An error makes the lookup a miss; ErrOtherKey,
	// ErrOtherID and ErrOtherFormat are counted under their own names.
	Decode(key Key, value []byte) (r Record, err error)
}

// What can be wrong with a value. None of them tells a byte of it.
var (
	// ErrOtherKey: sealed with a key that the ring does not hold.
	ErrOtherKey = errors.New("sessioncb: value was sealed with a key that is not in the ring")
	// ErrOtherID: sealed for another session id; the store gave the wrong value.
	ErrOtherID = errors.New("sessioncb: value was sealed for another session id")
	// ErrOtherFormat: not a value of this Codec, or of a version of it that is
	// not known here; somebody else writes this store.
	ErrOtherFormat = errors.New("sessioncb: value has another format")
	// ErrDamaged: cut short, or altered.
	ErrDamaged = errors.New("sessioncb: value is damaged")
)

// InsecurePlaintext stores sessions as plain DER, as C servers do: for a store
// that is shared with them. Whoever reads such a store can read the recorded
// connections of TLS 1.2 and impersonate clients; whoever writes it can be
// any client. The value carries neither id context nor expiry: OpenSSL checks
// those that stand in the DER.
func InsecurePlaintext() Codec { return plaintext{} }

type plaintext struct{}

func (plaintext) Encode(_ Key, r Record) ([]byte, error) { return bytes.Clone(r.DER), nil }

func (plaintext) Decode(_ Key, value []byte) (Record, error) {
	// A DER of one SEQUENCE; the binding decodes it with all its checks.
	switch {
	case len(value) > 0 && value[0] != 0x30:
		return Record{}, ErrOtherFormat
	case len(value) < 2:
		return Record{}, ErrDamaged
	}
	return Record{DER: value}, nil
}
