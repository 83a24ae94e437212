package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sessioncb/openssl/sessioncb"
)

const (
	queueSize  = 1024        // ops waiting; more wait in do, with their ctx
	sweepAlone = 1000        // expired sessions in one commit of their own
	sweepExtra = 64          // and beside a batch, with twice its ops
	sweepEvery = time.Minute // when nothing else is written
)

type opKind int

const (
	opPut opKind = iota
	opDelete
	opClaim
)

// An op is one write on its way through the queue. Whoever queued it may
// have left before it is done.
type op struct {
	kind   opKind
	ctx    context.Context // of a claim: one that nobody waits for is not made
	id     []byte
	record record
	result chan result // with room for one
}

type result struct {
	value []byte
	err   error
}

// do queues the op and waits for its commit.
func (s *Store) do(ctx context.Context, o *op) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.readOnly {
		return nil, ErrReadOnly
	}
	if len(o.id) == 0 || len(o.id) > maxID {
		return nil, fmt.Errorf("boltstore: an id has 1 to %d bytes, not %d", maxID, len(o.id))
	}
	o.ctx, o.result = ctx, make(chan result, 1)
	if err := s.enqueue(ctx, o); err != nil {
		return nil, err
	}
	select {
	case r := <-o.result:
		return r.value, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Store) enqueue(ctx context.Context, o *op) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.queue <- o:
		if s.hooks.queued != nil {
			s.hooks.queued()
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer: it commits what has queued, until Close.
func (s *Store) write() {
	defer close(s.done)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	s.commit(nil)
	for {
		select {
		case first, open := <-s.queue:
			if !open {
				return
			}
			s.commit(s.batch(first))
		case <-sweep.C:
			s.commit(nil)
		}
	}
}

// batch is the op and all that wait behind it.
func (s *Store) batch(first *op) []*op {
	batch := []*op{first}
	for len(batch) < queueSize {
		select {
		case o, open := <-s.queue:
			if !open {
				return batch
			}
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// errUnchanged rolls back a transaction that has nothing to write.
var errUnchanged = errors.New("unchanged")

// commit runs the ops in one transaction, in their order, drops some expired
// sessions on the way, and answers.
func (s *Store) commit(ops []*op) {
	results := make([]result, len(ops))
	var err error
	broken := s.broken.Load()
	if broken == nil {
		err = guarded(func() error {
			return s.db.Update(func(tx *bolt.Tx) error {
				b := buckets{tx.Bucket(bucketSessions), tx.Bucket(bucketExpiry)}
				return s.apply(b, ops, results)
			})
		})
	}
	var fault *faultError
	switch {
	case broken != nil:
		err = *broken
	case err == nil:
		if s.hooks.committed != nil {
			s.hooks.committed(len(ops))
		}
	case errors.Is(err, errUnchanged):
		err = nil
	case errors.As(err, &fault):
		// What bolt holds after a panic is not known; it is not asked again.
		err = fmt.Errorf("boltstore: %s: %w", s.path, err)
		s.broken.Store(&err)
	default:
		err = fmt.Errorf("boltstore: commit to %s: %w", s.path, err)
	}
	for i, o := range ops {
		if err != nil {
			results[i] = result{err: err}
		}
		o.result <- results[i]
	}
}

// apply does the work of a transaction. An error of one op is its own; an
// error of bolt ends all.
func (s *Store) apply(b buckets, ops []*op, results []result) error {
	now := s.hooks.now()
	limit := sweepAlone
	if len(ops) > 0 {
		limit = 2*len(ops) + sweepExtra
	}
	changed, err := b.sweep(now, limit)
	if err != nil {
		return err
	}
	for i, o := range ops {
		old := record(b.sessions.Get(o.id))
		switch o.kind {
		case opPut:
			err = b.put(o.id, old, o.record)
			changed = true
		case opDelete:
			if old != nil {
				err = b.remove(o.id, old)
				changed = true
			}
		case opClaim:
			switch {
			case o.ctx.Err() != nil:
				results[i].err = o.ctx.Err()
			case !old.alive(now):
				results[i].err = sessioncb.ErrNotFound
			default:
				results[i].value = append([]byte{}, old.value()...)
				err = b.remove(o.id, old)
				changed = true
			}
		}
		if err != nil {
			return err
		}
	}
	if !changed {
		return errUnchanged
	}
	return nil
}

// buckets keeps the sessions and their order of expiry in step.
type buckets struct{ sessions, expiry *bolt.Bucket }

func (b buckets) put(id []byte, old, r record) error {
	if len(old) >= expirySize {
		if err := b.expiry.Delete(old.indexKey(id)); err != nil {
			return err
		}
	}
	if err := b.sessions.Put(id, r); err != nil {
		return err
	}
	return b.expiry.Put(r.indexKey(id), nil)
}

func (b buckets) remove(id []byte, old record) error {
	if len(old) >= expirySize {
		if err := b.expiry.Delete(old.indexKey(id)); err != nil {
			return err
		}
	}
	return b.sessions.Delete(id)
}

// sweep drops up to limit sessions that are over, those first that were over
// first.
func (b buckets) sweep(now time.Time, limit int) (changed bool, err error) {
	var over [][]byte // collected first: a cursor does not like deletions
	c := b.expiry.Cursor()
	for k, _ := c.First(); k != nil && len(over) < limit; k, _ = c.Next() {
		if len(k) > expirySize && record(k).alive(now) {
			break
		}
		over = append(over, bytes.Clone(k))
	}
	for _, k := range over {
		if err := b.expiry.Delete(k); err != nil {
			return false, err
		}
		if len(k) > expirySize {
			if err := b.sessions.Delete(k[expirySize:]); err != nil {
				return false, err
			}
		}
	}
	return len(over) > 0, nil
}
