package sessioncb

import (
	"bytes"
	"encoding/binary"
	"time"
)

// An Envelope is what a sealed value says of itself to a reader without keys.
// None of it is proven: whoever writes the store can write this too.
type Envelope struct {
	// KeyID names the key that sealed the value, as KeyRing.IDs does.
	KeyID string
	// Expires is when the session stops being resumable, in whole seconds.
	Expires time.Time
	// IDContext is the session id context it was made under, 0 to 32 bytes.
	IDContext []byte
}

// ParseEnvelope reads what stands before the ciphertext of a value that a
// Cache with Keys stored: for tools that list a store. What is no such value
// is ErrDamaged. It keeps nothing of value.
func ParseEnvelope(value []byte) (Envelope, error) {
	if len(value) < offCtx || !bytes.Equal(value[:offKeyID], envelopeMagic) {
		return Envelope{}, ErrDamaged
	}
	n := int(value[offCtxLen])
	if n > maxIDContext || len(value) <= offCtx+n+tagSize {
		return Envelope{}, ErrDamaged
	}
	return Envelope{
		KeyID:     keyID(value[offKeyID:offSalt]).String(),
		Expires:   time.Unix(int64(binary.BigEndian.Uint64(value[offExpiry:])), 0),
		IDContext: bytes.Clone(value[offCtx : offCtx+n]),
	}, nil
}
