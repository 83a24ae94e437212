package sessioncb

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"
)

// Defaults of CacheOptions.
const (
	DefaultLookupTimeout = 50 * time.Millisecond
	DefaultPutTimeout    = time.Second
	DefaultMaxValue      = 16 << 10
	DefaultMaxCalls      = 1024
	DefaultNearTTL       = time.Minute
	DefaultMissTTL       = time.Second

	DefaultBreakerFailures = 8
	DefaultBreakerPause    = time.Second
)

// The bounds of CacheOptions.MaxValue: less fits no session, more fits no
// common store.
const (
	minMaxValue = 1 << 10
	maxMaxValue = 1 << 20
)

const minNearBytes = 4 << 10

// CacheOptions say how a Cache treats its Store. The zero value of each field
// but Keys is a good choice.
//
// With a LiveStore, which keeps no bytes and never waits, these alone may be
// set: SingleUse, RemoveOn, Now, Logger, and TagIDs with Keys.
type CacheOptions struct {
	// Keys seal the sessions in the store: AES-256-GCM, each under a key of
	// its own. Required, unless Codec is set; ProcessKey() will do for a
	// store that dies with the process. A LiveStore needs none, but for TagIDs.
	Keys *KeyRing

	// Codec, in place of Keys, makes values in another form, for a store
	// shared with C servers: InsecurePlaintext. nil seals.
	Codec Codec

	// LookupTimeout bounds a lookup; what takes longer is a miss. The
	// handshake waits for it, so it is short: 0 means DefaultLookupTimeout.
	LookupTimeout time.Duration

	// PutTimeout bounds the storing of a new session, which the handshake
	// waits for so that no client holds a session that the store does not
	// have yet; and the deletion of a removed one. If the connection ends
	// first the Put goes on. 0 means DefaultPutTimeout.
	PutTimeout time.Duration

	// MaxValue is the length, in bytes, above which a value is neither
	// stored nor accepted from the store, 1 KiB to 1 MiB. It must hold a
	// client's certificate. 0 means DefaultMaxValue.
	MaxValue int

	// MaxCalls is how many lookups, and apart from them how many writes, may
	// be inside the Store at once. More are misses, or not stored, without a
	// wait: a store that hangs ties up this many goroutines and no
	// handshake. 0 means DefaultMaxCalls.
	MaxCalls int

	// NearBytes is how much memory keeps values in front of the Store, bytes
	// of ids, values and 192 more for each; at least 4 KiB. For a store that
	// is reached over a network. 0 means none.
	NearBytes int64

	// NearTTL is how long a value in memory is believed, never beyond the
	// session's lifetime: so long may a session that another server removed
	// still be resumed here. 0 means DefaultNearTTL.
	NearTTL time.Duration

	// MissTTL is how long it is believed that a session is not in the store.
	// 0 means DefaultMissTTL, a negative value: never believed.
	MissTTL time.Duration

	// BreakerFailures is how many calls of one kind (Get, Claim, Put, Delete)
	// must fail in a row to open the circuit breaker of that kind: then no
	// such call is made. 0 means DefaultBreakerFailures, a negative value: no
	// breakers.
	BreakerFailures int

	// BreakerPause is how long a breaker stays open before one call probes
	// whether the store works again. 0 means DefaultBreakerPause.
	BreakerPause time.Duration

	// WriteBehind is how many writes may queue, so that no handshake waits
	// for the store to acknowledge its session; Cache.Close writes what is
	// queued. 0: the handshake waits, up to PutTimeout.
	WriteBehind int

	// SingleUse takes a session of TLS 1.3 out of the store as it is found,
	// so that it is used once in the whole fleet. The Store must be a Claimer
	// or a LiveStore.
	SingleUse bool

	// TagIDs mints session ids with a tag under a key of the ring, and asks
	// the store for no id without one. All writers of the store must do so:
	// C servers do not.
	TagIDs bool

	// Now is the clock of lifetimes, of NearTTL and MissTTL, and of the times
	// in Stats; deadlines and breakers go by time.Now. It is called
	// concurrently. nil means time.Now.
	Now func() time.Time

	// RemoveOn says which removals delete from the store. The zero value
	// means DefaultRemovals().
	RemoveOn RemovalSet

	// Logger is told when the store begins to fail and when it works again,
	// never of single sessions. nil means slog.Default() at that time.
	Logger *slog.Logger
}

func (o *CacheOptions) check(store Store) error {
	switch {
	case isNil(store):
		return errors.New("the store is nil")
	case isLive(store):
		return o.checkLive()
	case o.Codec != nil && o.Keys != nil:
		return errors.New("both Keys and Codec are set: a Codec does not seal")
	case isNil(o.Codec) && o.Codec != nil:
		return errors.New("the Codec is a nil pointer")
	case o.Codec == nil && o.Keys == nil:
		return errors.New("no Keys: load them with LoadKeyFile, or use ProcessKey() for a store in memory")
	case o.Codec == nil && len(o.Keys.load()) == 0:
		return errors.New("the key ring is empty: make it with NewKeyRing")
	case o.LookupTimeout < 0:
		return fmt.Errorf("LookupTimeout is negative: %v", o.LookupTimeout)
	case o.PutTimeout < 0:
		return fmt.Errorf("PutTimeout is negative: %v", o.PutTimeout)
	case o.MaxValue != 0 && (o.MaxValue < minMaxValue || o.MaxValue > maxMaxValue):
		return fmt.Errorf("MaxValue is %d, not between %d and %d", o.MaxValue, minMaxValue, maxMaxValue)
	case o.MaxCalls < 0:
		return fmt.Errorf("MaxCalls is negative: %d", o.MaxCalls)
	case o.NearBytes != 0 && o.NearBytes < minNearBytes:
		return fmt.Errorf("NearBytes is %d, less than %d: no session fits", o.NearBytes, minNearBytes)
	case o.NearTTL < 0:
		return fmt.Errorf("NearTTL is negative: %v", o.NearTTL)
	case o.BreakerPause < 0:
		return fmt.Errorf("BreakerPause is negative: %v", o.BreakerPause)
	case o.WriteBehind < 0:
		return fmt.Errorf("WriteBehind is negative: %d", o.WriteBehind)
	case o.TagIDs && o.Codec != nil:
		return errors.New("TagIDs needs Keys: a Codec has no key to tag ids with")
	}
	if _, ok := store.(Claimer); o.SingleUse && !ok {
		return fmt.Errorf("SingleUse needs a store that claims: %T is no Claimer", store)
	}
	return nil
}

func isLive(store Store) bool {
	_, live := store.(LiveStore)
	return live
}

// checkLive is check for a LiveStore.
func (o *CacheOptions) checkLive() error {
	for _, option := range []struct {
		name string
		set  bool
		why  string
	}{
		{"Codec", o.Codec != nil, keepsNoBytes},
		{"MaxValue", o.MaxValue != 0, keepsNoBytes},
		{"NearBytes", o.NearBytes != 0, keepsNoBytes},
		{"NearTTL", o.NearTTL != 0, keepsNoBytes},
		{"LookupTimeout", o.LookupTimeout != 0, neverWaits},
		{"PutTimeout", o.PutTimeout != 0, neverWaits},
		{"MaxCalls", o.MaxCalls != 0, neverWaits},
		{"WriteBehind", o.WriteBehind != 0, neverWaits},
		{"MissTTL", o.MissTTL != 0, "a LiveStore is asked as fast as a memory of misses"},
		{"BreakerFailures", o.BreakerFailures != 0, "a LiveStore has no circuit breakers"},
		{"BreakerPause", o.BreakerPause != 0, "a LiveStore has no circuit breakers"},
		{"Keys", o.Keys != nil && !o.TagIDs, "a LiveStore keeps no bytes to seal, and without TagIDs there is no other use"},
	} {
		if option.set {
			return fmt.Errorf("%s is set: %s", option.name, option.why)
		}
	}
	switch {
	case o.TagIDs && o.Keys == nil:
		return errors.New("TagIDs needs Keys to tag ids with: ProcessKey() will do for a store in memory")
	case o.TagIDs && len(o.Keys.load()) == 0:
		return errors.New("the key ring is empty: make it with NewKeyRing")
	}
	return nil
}

const (
	keepsNoBytes = "a LiveStore keeps no bytes"
	neverWaits   = "a LiveStore never waits"
)

// isNil finds a typed nil too, which would panic in the first handshake.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan, reflect.Slice:
		return r.IsNil()
	}
	return false
}
