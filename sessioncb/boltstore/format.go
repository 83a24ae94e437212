package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The file has three buckets:
//
//	meta      "application" -> "sessioncb", "format" -> "1"
//	sessions  id -> expiry, value
//	expiry    expiry, id -> nothing
//
// An expiry is Unix milliseconds in 8 bytes, big endian, so that the third
// bucket is in order of expiry. Sessions and expiry change together.
var (
	bucketMeta     = []byte("meta")
	bucketSessions = []byte("sessions")
	bucketExpiry   = []byte("expiry")

	metaApplication = []byte("application")
	metaFormat      = []byte("format")
)

const (
	application = "sessioncb"
	format      = "1"

	maxID    = 32
	maxValue = 16 << 20 // far above a session, far below what bolt takes
)

// checkFormat says whether the file is ours, or fresh: without any bucket.
func checkFormat(tx *bolt.Tx) (fresh bool, err error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		if name, _ := tx.Cursor().First(); name == nil {
			return true, nil
		}
		return false, errors.New("a bolt file of another application")
	}
	if a := meta.Get(metaApplication); string(a) != application {
		return false, errors.New("a bolt file of another application")
	}
	if f := meta.Get(metaFormat); string(f) != format {
		return false, fmt.Errorf("a session store of format %q; this program reads %q", f, format)
	}
	if tx.Bucket(bucketSessions) == nil || tx.Bucket(bucketExpiry) == nil {
		return false, errors.New("damaged: a bucket is missing")
	}
	return false, nil
}

func makeFormat(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketSessions, bucketExpiry} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if err := meta.Put(metaApplication, []byte(application)); err != nil {
		return err
	}
	return meta.Put(metaFormat, []byte(format))
}

// A record is what stands behind an id. nil, and what is too short to be
// one, has expired long ago.
type record []byte

const expirySize = 8

func newRecord(expires time.Time, value []byte) record {
	r := make(record, 0, expirySize+len(value))
	r = appendExpiry(r, expires)
	return append(r, value...)
}

// appendExpiry rounds up, so that nothing expires early.
func appendExpiry(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.Add(time.Millisecond-1).UnixMilli()))
}

func (r record) expires() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(r)))
}

func (r record) value() []byte { return r[expirySize:] }

func (r record) alive(now time.Time) bool {
	return len(r) >= expirySize && now.Before(r.expires())
}

// indexKey is r's key in the expiry bucket.
func (r record) indexKey(id []byte) []byte {
	k := make([]byte, 0, expirySize+len(id))
	k = append(k, r[:expirySize]...)
	return append(k, id...)
}

// A faultError is what a panic in bolt was: a file that is damaged, or was
// changed by somebody else while it was open.
type faultError struct{ cause any }

func (e *faultError) Error() string { return fmt.Sprintf("the file is damaged: %v", e.cause) }

// guarded calls f and makes its panics errors, also those of a memory map
// that lost its file.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &faultError{cause}
		}
	}()
	return f()
}
