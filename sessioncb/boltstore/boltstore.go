// Package boltstore is a sessioncb.Store in one file, for one process at a
// time: sessions survive a restart, a kill -9 and a power cut. It is bbolt
// (go.etcd.io/bbolt) with a single writer that commits, and syncs to disk,
// all that queued up while its last commit ran: a lone Put waits for its own
// commit only, and a thousand at once for two.
//
// The file does not shrink; it grows to what the sessions of one lifetime
// need and is then reused.
package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/internal/durable"
)

// DefaultLockTimeout is used for Options.LockTimeout.
const DefaultLockTimeout = time.Second

var (
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("boltstore: store is closed")
	// ErrReadOnly: the store was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("boltstore: store is read-only")
)

// Options of Open. The zero value is a good choice.
type Options struct {
	// LockTimeout is how long to wait for another process that has the file
	// open. 0 means DefaultLockTimeout.
	LockTimeout time.Duration
	// ReadOnly opens a file that exists, to look at it: several processes
	// may, but none while another has it open for writing. Put, Delete and
	// Claim report ErrReadOnly.
	ReadOnly bool
}

// Store implements sessioncb.Store and sessioncb.Claimer. Its methods are
// called concurrently.
type Store struct {
	path     string
	file     *os.File // db's own; see abandon
	db       *bolt.DB
	readOnly bool
	hooks    hooks

	gate   sync.RWMutex // held for reading while an op is queued, for writing by Close
	closed bool
	queue  chan *op
	done   chan struct{}         // closed when the writer has ended
	broken atomic.Pointer[error] // why the writer gave up
	end    func() error          // Close, once
}

// hooks are what tests change.
type hooks struct {
	now       func() time.Time
	tune      func(*bolt.Options)
	queued    func()        // after each op that went into the queue
	committed func(ops int) // after each commit
}

var (
	_ sessioncb.Store   = (*Store)(nil)
	_ sessioncb.Claimer = (*Store)(nil)
)

// Open opens the file at path, and makes it with mode 0600 if there is none;
// its directory must exist. A file that another process has open, that is no
// bolt file, or that belongs to another application is an error, and is left
// as it was.
func Open(path string, o Options) (*Store, error) {
	return open(path, o, hooks{})
}

func open(path string, o Options, h hooks) (*Store, error) {
	if h.now == nil {
		h.now = time.Now
	}
	s := &Store{path: path, readOnly: o.ReadOnly, hooks: h, queue: make(chan *op, queueSize), done: make(chan struct{})}
	if err := s.open(o); err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	s.end = sync.OnceValue(s.close)
	if s.readOnly {
		close(s.done)
	} else {
		go s.write()
	}
	return s, nil
}

func (s *Store) open(o Options) error {
	switch {
	case o.LockTimeout < 0:
		return fmt.Errorf("LockTimeout is negative: %v", o.LockTimeout)
	case o.LockTimeout == 0:
		o.LockTimeout = DefaultLockTimeout
	}
	options := &bolt.Options{
		Timeout:      o.LockTimeout,
		ReadOnly:     o.ReadOnly,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		// bolt's file, known to us, can be closed after a panic of bolt's.
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			s.file, err = os.OpenFile(name, flag, mode)
			return s.file, err
		},
	}
	if s.hooks.tune != nil {
		s.hooks.tune(options)
	}
	err := guarded(func() (err error) {
		s.db, err = bolt.Open(s.path, 0o600, options)
		return err
	})
	if err != nil {
		return s.explain(err, o)
	}
	err = guarded(s.prepare)
	var fault *faultError
	switch {
	case errors.As(err, &fault):
		abandon(s.file) // bolt may hold its mutexes
	case err != nil:
		s.db.Close()
	}
	return err
}

// explain says what bolt's error means for the user, and releases the file if
// bolt did not.
func (s *Store) explain(err error, o Options) error {
	var fault *faultError
	var errno syscall.Errno
	switch {
	case errors.As(err, &fault):
		abandon(s.file)
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("in use by another process (waited %v for its lock)", o.LockTimeout)
	case errors.As(err, &errno): // no such file, permission denied
		return err
	}
	return fmt.Errorf("not a session store, or damaged: %w", err)
}

// prepare makes the buckets of a new file, and refuses another's.
func (s *Store) prepare() error {
	fresh := false
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		info, err := s.file.Stat()
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("cut short: it has %d bytes of %d", info.Size(), tx.Size())
		}
		fresh, err = checkFormat(tx)
		return err
	})
	switch {
	case err != nil || !fresh:
		return err
	case s.readOnly:
		return errors.New("empty: no session store was made of it yet")
	}
	if err := s.db.Update(makeFormat); err != nil {
		return err
	}
	return durable.SyncDirOf(s.path)
}

// Path returns the path given to Open.
func (s *Store) Path() string { return s.path }

// Close waits until what was queued is written, and releases the file. Calls
// after it report ErrClosed. A second Close returns what the first did.
func (s *Store) Close() error { return s.end() }

func (s *Store) close() error {
	s.gate.Lock() // all who were queuing have queued: the writer still runs
	s.closed = true
	s.gate.Unlock()
	close(s.queue)
	<-s.done
	if broken := s.broken.Load(); broken != nil {
		abandon(s.file) // bolt may hold its mutexes since the panic
		return *broken
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("boltstore: close %s: %w", s.path, err)
	}
	return nil
}

// Get returns the value, or sessioncb.ErrNotFound. It waits for no write.
func (s *Store) Get(ctx context.Context, key sessioncb.Key) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		r := record(tx.Bucket(bucketSessions).Get(key.ID))
		if !r.alive(s.hooks.now()) {
			return sessioncb.ErrNotFound
		}
		value = append([]byte{}, r.value()...)
		return nil
	})
	if err != nil && !errors.Is(err, sessioncb.ErrNotFound) {
		err = fmt.Errorf("boltstore: get: %w", err)
	}
	return value, err
}

// Put stores value; when it returns nil, the value is on disk. When ctx ends
// while the value waits for its commit, Put returns and the value is written
// all the same.
func (s *Store) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return s.Delete(ctx, key)
	}
	if len(value) > maxValue {
		return fmt.Errorf("boltstore: put: a value of %d bytes is more than %d", len(value), maxValue)
	}
	r := newRecord(s.hooks.now().Add(ttl), value)
	_, err := s.do(ctx, &op{kind: opPut, id: bytes.Clone(key.ID), record: r})
	return err
}

// Delete removes the value, in the way of Put.
func (s *Store) Delete(ctx context.Context, key sessioncb.Key) error {
	_, err := s.do(ctx, &op{kind: opDelete, id: bytes.Clone(key.ID)})
	return err
}

// Claim removes the value and returns it, in one transaction that is on disk
// when Claim returns; or sessioncb.ErrNotFound. When ctx ends while the claim
// waits for its commit, the value may be gone and nobody has it.
func (s *Store) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	// What is not there costs no fsync.
	if !s.readOnly {
		if _, err := s.Get(ctx, key); err != nil {
			return nil, err
		}
	}
	return s.do(ctx, &op{kind: opClaim, id: bytes.Clone(key.ID)})
}

// ForEach calls f for each session that has not expired, in the order of ids,
// until f returns an error, which ForEach returns. It holds no lock meanwhile,
// so f may call the store; what is written during the walk may be seen or
// not. f owns key and value.
func (s *Store) ForEach(f func(key sessioncb.Key, value []byte, expires time.Time) error) error {
	type item struct {
		id []byte
		r  record
	}
	var last []byte
	for {
		var items []item
		err := s.view(func(tx *bolt.Tx) error {
			c := tx.Bucket(bucketSessions).Cursor()
			id, v := c.Seek(last)
			if last != nil && bytes.Equal(id, last) {
				id, v = c.Next()
			}
			for ; id != nil && len(items) < walkStep; id, v = c.Next() {
				items = append(items, item{bytes.Clone(id), bytes.Clone(v)})
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("boltstore: walk: %w", err)
		}
		if len(items) == 0 {
			return nil
		}
		last = bytes.Clone(items[len(items)-1].id)
		for _, i := range items {
			if !i.r.alive(s.hooks.now()) {
				continue
			}
			if err := f(sessioncb.Key{ID: i.id}, i.r.value(), i.r.expires()); err != nil {
				return err
			}
		}
	}
}

// walkStep is how many sessions ForEach reads at a time.
const walkStep = 256

// view reads, and turns what a damaged file makes of it into an error.
func (s *Store) view(f func(*bolt.Tx) error) error {
	if broken := s.broken.Load(); broken != nil {
		return *broken
	}
	err := guarded(func() error { return s.db.View(f) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
