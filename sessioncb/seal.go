package sessioncb

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The envelope, in bytes; integers are big endian:
//
//	 4  "scb" and the format version, 1
//	 8  key id
//	32  salt, random
//	 8  id tag: the start of SHA-256(label, salt, session id)
//	 8  expiry, Unix seconds, signed
//	 1  n, the length of the id context, 0 to 32
//	 n  id context
//	 ..  AES-256-GCM of the DER, with its tag of 16 bytes, to the end
//
// Cipher key and nonce are HKDF-SHA256(ring key, salt): new ones for each
// value, so no number of values nears the limit of random nonces under one
// key. Associated data is all that stands before the ciphertext, then the
// session id behind its length. The id tag proves nothing; it tells a value
// that the store gave for the wrong id from one that was altered.
const (
	saltSize     = 32
	idTagSize    = 8
	maxIDSize    = 32
	maxIDContext = 32
	nonceSize    = 12
	tagSize      = 16

	offKeyID  = 4
	offSalt   = offKeyID + len(keyID{})
	offIDTag  = offSalt + saltSize
	offExpiry = offIDTag + idTagSize
	offCtxLen = offExpiry + 8
	offCtx    = offCtxLen + 1
)

var (
	envelopeMagic = []byte("scb\x01")
	sealInfo      = "sessioncb envelope 1 AES-256-GCM key and nonce"
)

// Codec returns what a Cache with the ring r encodes its values with: for a
// tool that reads a store without a Cache. It follows what becomes of r.
func (r *KeyRing) Codec() Codec { return sealer{r} }

// sealer is the Codec of a Cache with a key ring.
type sealer struct{ ring *KeyRing }

func (s sealer) Encode(key Key, r Record) ([]byte, error) {
	var salt [saltSize]byte
	rand.Read(salt[:]) // never fails: see crypto/rand
	return seal(s.ring.newest(), salt, key.ID, r)
}

func (s sealer) Decode(key Key, value []byte) (Record, error) {
	return openEnvelope(s.ring.find, key.ID, value)
}

// seal makes an envelope. It is a function of its arguments alone, so that
// the format can be held to recorded bytes.
func seal(key ringKey, salt [saltSize]byte, id []byte, r Record) ([]byte, error) {
	switch {
	case len(id) == 0 || len(id) > maxIDSize:
		return nil, fmt.Errorf("sessioncb: seal: a session id has 1 to %d bytes, not %d", maxIDSize, len(id))
	case len(r.IDContext) > maxIDContext:
		return nil, fmt.Errorf("sessioncb: seal: a session id context has at most %d bytes, not %d", maxIDContext, len(r.IDContext))
	case len(r.DER) == 0:
		return nil, errors.New("sessioncb: seal: the session is empty")
	}
	header := offCtx + len(r.IDContext)
	v := make([]byte, 0, header+len(r.DER)+tagSize)
	v = append(v, envelopeMagic...)
	v = append(v, key.id[:]...)
	v = append(v, salt[:]...)
	v = append(v, idTag(salt[:], id)...)
	v = binary.BigEndian.AppendUint64(v, uint64(r.Expires.Unix()))
	v = append(v, byte(len(r.IDContext)))
	v = append(v, r.IDContext...)

	aead, nonce, err := valueCipher(key, salt[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(v, nonce, r.DER, associated(v, id)), nil
}

// openEnvelope undoes seal, in place. Its errors are ErrOtherFormat,
// ErrOtherKey, ErrOtherID and ErrDamaged.
func openEnvelope(find func(keyID) (ringKey, bool), id, v []byte) (Record, error) {
	if n := min(len(v), offKeyID); !bytes.Equal(v[:n], envelopeMagic[:n]) {
		return Record{}, ErrOtherFormat
	}
	if len(v) < offCtx {
		return Record{}, ErrDamaged
	}
	n := int(v[offCtxLen])
	header := offCtx + n
	if n > maxIDContext || len(v) <= header+tagSize || len(id) == 0 || len(id) > maxIDSize {
		return Record{}, ErrDamaged
	}
	key, ok := find(keyID(v[offKeyID:offSalt]))
	if !ok {
		return Record{}, ErrOtherKey
	}
	salt := v[offSalt:offIDTag]
	if !bytes.Equal(v[offIDTag:offExpiry], idTag(salt, id)) {
		return Record{}, ErrOtherID
	}
	aead, nonce, err := valueCipher(key, salt)
	if err != nil {
		return Record{}, err
	}
	sealed := v[header:]
	der, err := aead.Open(sealed[:0], nonce, sealed, associated(v[:header], id))
	if err != nil {
		return Record{}, ErrDamaged
	}
	return Record{
		DER:       der,
		IDContext: v[offCtx:header:header],
		Expires:   time.Unix(int64(binary.BigEndian.Uint64(v[offExpiry:])), 0),
	}, nil
}

// valueCipher derives the cipher of one value.
func valueCipher(key ringKey, salt []byte) (cipher.AEAD, []byte, error) {
	secret, err := hkdf.Key(sha256.New, key.key[:], salt, sealInfo, KeySize+nonceSize)
	if err != nil {
		return nil, nil, fmt.Errorf("sessioncb: derive a value's key: %w", err)
	}
	defer clear(secret[:KeySize])
	block, err := aes.NewCipher(secret[:KeySize])
	if err != nil {
		return nil, nil, fmt.Errorf("sessioncb: derive a value's key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("sessioncb: derive a value's key: %w", err)
	}
	return aead, secret[KeySize:], nil
}

// associated returns the associated data: the header, then the id behind its
// length. It never writes behind the header.
func associated(header, id []byte) []byte {
	data := make([]byte, 0, len(header)+1+len(id))
	data = append(data, header...)
	data = append(data, byte(len(id)))
	return append(data, id...)
}

func idTag(salt, id []byte) []byte {
	h := sha256.New()
	h.Write([]byte("sessioncb id tag 1\x00"))
	h.Write(salt)
	h.Write(id)
	return h.Sum(nil)[:idTagSize]
}
