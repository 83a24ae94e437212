package sessioncb

import (
	"bytes"
	"context"
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
type CacheOptions struct {
	// Keys seal the sessions in the store: AES-256-GCM, each under a key of
	// its own. Required, unless Codec is set; ProcessKey() will do for a
	// store that dies with the process.
	Keys *KeyRing

	// Codec, in place of Keys, makes values in another form, for a store
	// shared with C servers: InsecurePlaintext. nil seals.
	Codec Codec

	// LookupTimeout bounds a lookup; what takes longer is a miss. The
	// handshake waits for it, so it is short: 0 means DefaultLookupTimeout.
	LookupTimeout time.Duration

	// PutTimeout bounds the storing of a new session, which the handshake
	// waits for so that no client holds a session that the store does not
	// have yet; and the deletion of a removed one. 0 means DefaultPutTimeout.
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
	// so that it is used once in the whole fleet. The Store must be a Claimer.
	SingleUse bool

	// TagIDs mints session ids with a tag under a key of the ring, and asks
	// the store for no id without one. All writers of the store must do so:
	// C servers do not.
	TagIDs bool

	// Now is the clock. nil means time.Now.
	Now func() time.Time

	// RemoveOn says which removals delete from the store. The zero value
	// means DefaultRemovals().
	RemoveOn RemovalSet

	// Logger is told when the store begins to fail and when it works again,
	// never of single sessions. nil means slog.Default() at that time.
	Logger *slog.Logger
}

// A Cache is the policy between the callbacks and a Store: it implements
// NewHandler, GetHandler and RemoveHandler. What it cannot store, find or
// open costs a full handshake and nothing else. It may serve many Contexts
// and is used concurrently; it needs no Close, and does not close its Store.
type Cache struct {
	store         Store
	codec         Codec
	lookupTimeout time.Duration
	putTimeout    time.Duration
	maxValue      int
	removeOn      RemovalSet
	logger        *slog.Logger
	now           func() time.Time
	singleUse     bool

	lookups, writes                   gate
	lookupHealth, writeHealth, values health
	count                             counters
}

var (
	_ NewHandler    = (*Cache)(nil)
	_ GetHandler    = (*Cache)(nil)
	_ RemoveHandler = (*Cache)(nil)
	_ SingleUser    = (*Cache)(nil)
	_ IDMaker       = (*Cache)(nil)
)

// NewCache returns a Cache in front of store, or an error that says which
// option is wrong.
func NewCache(store Store, o CacheOptions) (*Cache, error) {
	if err := o.check(store); err != nil {
		return nil, fmt.Errorf("sessioncb: new cache: %w", err)
	}
	c := &Cache{
		store:         store,
		codec:         o.Codec,
		lookupTimeout: or(o.LookupTimeout, DefaultLookupTimeout),
		putTimeout:    or(o.PutTimeout, DefaultPutTimeout),
		maxValue:      or(o.MaxValue, DefaultMaxValue),
		removeOn:      o.RemoveOn,
		logger:        o.Logger,
		now:           o.Now,
		singleUse:     o.SingleUse,
		lookups:       gate{limit: int64(or(o.MaxCalls, DefaultMaxCalls))},
		writes:        gate{limit: int64(or(o.MaxCalls, DefaultMaxCalls))},
		lookupHealth:  health{bad: "session store lookups fail", good: "session store lookups work again"},
		writeHealth:   health{bad: "session store writes fail", good: "session store writes work again"},
		values:        health{bad: "values in the session store are bad", good: "values in the session store are good again"},
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.codec == nil {
		c.codec = o.Keys.Codec()
	}
	if !c.removeOn.chosen {
		c.removeOn = DefaultRemovals()
	}
	return c, nil
}

func (o *CacheOptions) check(store Store) error {
	switch {
	case isNil(store):
		return errors.New("the store is nil")
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

func or[T comparable](v, otherwise T) T {
	if v == *new(T) {
		return otherwise
	}
	return v
}

// Callbacks returns c in all three places.
func (c *Cache) Callbacks() Callbacks { return Callbacks{New: c, Get: c, Remove: c} }

// SingleUse returns CacheOptions.SingleUse.
func (c *Cache) SingleUse() bool { return c.singleUse }

// NewSessionID returns a new id with a tag under the newest key, or false
// without CacheOptions.TagIDs.
func (c *Cache) NewSessionID() (id [32]byte, ok bool) { return id, false }

// Close waits until all queued writes were made, or ctx ends. It is needed
// with CacheOptions.WriteBehind only, and harmless otherwise.
func (c *Cache) Close(ctx context.Context) error { return nil }

// GetSession looks the session up. A session of another session id context
// than conn's, an expired one and one that is not in the store are plain
// misses; what is wrong with the store or with the value is a miss with an
// error.
func (c *Cache) GetSession(ctx context.Context, conn Conn, id []byte) (Answer, error) {
	r, result, err := c.lookup(ctx, conn, Key{ID: id})
	c.count.lookups[result].Add(1)
	if result != hit {
		clear(r.DER)
		if err != nil {
			err = fmt.Errorf("sessioncb: lookup: %w", err)
		}
		return Answer{}, err
	}
	return DER(r.DER), nil
}

func (c *Cache) lookup(ctx context.Context, conn Conn, key Key) (Record, outcome, error) {
	if len(key.ID) == 0 || len(key.ID) > maxIDSize {
		return Record{}, failed, fmt.Errorf("a session id has 1 to %d bytes, not %d", maxIDSize, len(key.ID))
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, c.lookupTimeout)
	defer cancel()
	value, err := through(ctx, &c.lookups, func(ctx context.Context) ([]byte, error) {
		return c.store.Get(ctx, key)
	})
	absent := errors.Is(err, ErrNotFound)
	if absent {
		err = nil // the store works
	}
	switch result := c.judge(parent, &c.lookupHealth, err); {
	case result != hit:
		return Record{}, result, err
	case absent:
		return Record{}, miss, nil
	case len(value) > c.maxValue:
		err := fmt.Errorf("the value has %d bytes, more than MaxValue, %d", len(value), c.maxValue)
		c.values.failed(c.log(), c.now(), err)
		return Record{}, tooLarge, err
	}

	r, err := c.codec.Decode(key, value)
	if err == nil && len(r.DER) == 0 {
		err = ErrDamaged
	}
	if err != nil {
		c.values.failed(c.log(), c.now(), err)
		return r, wrongValue(err), err
	}
	c.values.worked(c.log(), c.now())
	want := conn.SessionIDContext()
	switch {
	case want != nil && r.IDContext != nil && !bytes.Equal(want, r.IDContext):
		return r, otherContext, nil
	case !r.Expires.IsZero() && !c.now().Before(r.Expires):
		return r, expired, nil
	}
	return r, hit, nil
}

// wrongValue names what Decode found wrong.
func wrongValue(err error) outcome {
	switch {
	case errors.Is(err, ErrOtherKey):
		return otherKey
	case errors.Is(err, ErrOtherID):
		return otherID
	}
	return damaged
}

// NewSession stores a server's session for the rest of its lifetime and
// returns false: it keeps nothing. A session without id or lifetime, and a
// client's, is not stored.
func (c *Cache) NewSession(ctx context.Context, conn Conn, s Session) (keep bool) {
	c.count.puts[c.put(ctx, conn, s)].Add(1)
	return false
}

func (c *Cache) put(ctx context.Context, conn Conn, s Session) outcome {
	key := Key{ID: s.ID()}
	expires := s.Time().Add(s.Timeout())
	ttl := expires.Sub(c.now())
	if !conn.IsServer() || len(key.ID) == 0 || ttl <= 0 {
		return skipped
	}
	value, result, err := c.encode(key, s, expires)
	if err != nil {
		c.writeHealth.failed(c.log(), c.now(), err)
	}
	if result != hit {
		return result
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, c.putTimeout)
	defer cancel()
	_, err = through(ctx, &c.writes, func(ctx context.Context) (struct{}, error) {
		defer clear(value) // here, because the store may still read it after the deadline
		return struct{}{}, c.store.Put(ctx, key, value, ttl)
	})
	return c.judge(parent, &c.writeHealth, err)
}

// encode makes the value to store.
func (c *Cache) encode(key Key, s Session, expires time.Time) ([]byte, outcome, error) {
	der, err := s.MarshalBinary()
	if errors.Is(err, ErrRemoved) {
		return nil, skipped, nil
	}
	if err != nil {
		return nil, failed, err
	}
	defer clear(der)
	value, err := c.codec.Encode(key, Record{DER: der, IDContext: s.IDContext(), Expires: expires})
	switch {
	case err != nil:
		return nil, failed, err
	case len(value) > c.maxValue:
		return nil, tooLarge, fmt.Errorf("a value of %d bytes is more than MaxValue, %d", len(value), c.maxValue)
	}
	return value, hit, nil
}

// RemoveSession deletes the session from the store, if RemoveOn has r.
func (c *Cache) RemoveSession(ctx context.Context, s Session, r Removal) {
	reason := r.Reason
	if reason < 0 || int(reason) >= len(reasons) {
		reason = Unknown
	}
	n := &c.count.removals[reason]
	key := Key{ID: s.ID()}
	if !c.removeOn.Has(r) || len(key.ID) == 0 {
		n.kept.Add(1)
		return
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, c.putTimeout)
	defer cancel()
	_, err := through(ctx, &c.writes, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.store.Delete(ctx, key)
	})
	if errors.Is(err, ErrNotFound) {
		err = nil // no error of a Delete, though some stores report it
	}
	if c.judge(parent, &c.writeHealth, err) != hit {
		n.failed.Add(1)
		return
	}
	n.deleted.Add(1)
}

// judge names the outcome of a call of the store and tells health of it. That
// the connection went away (parent was canceled) is no fault of the store.
func (c *Cache) judge(parent context.Context, h *health, err error) outcome {
	if err == nil {
		h.worked(c.log(), c.now())
		return hit
	}
	if errors.Is(parent.Err(), context.Canceled) {
		return canceled
	}
	h.failed(c.log(), c.now(), err)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, ErrStoreBusy):
		return busy
	case errors.As(err, &timeout) && timeout.Timeout():
		return timedOut
	}
	return failed
}

func (c *Cache) log() *slog.Logger {
	if c.logger != nil {
		return c.logger
	}
	return slog.Default()
}
