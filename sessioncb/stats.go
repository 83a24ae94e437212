package sessioncb

import "sync/atomic"

// Stats counts what a Cache did since it was made. Each call of a handler
// counts once: the fields of Lookups add up to the calls of GetSession that
// have returned, those of Puts to NewSession, those of Removals, over all
// reasons, to RemoveSession.
type Stats struct {
	Lookups  LookupStats
	Puts     PutStats
	Removals map[Reason]RemovalStats // only reasons that came up
	// LookupsInside and WritesInside are the calls inside the Store now,
	// those included that nobody waits for any more.
	LookupsInside, WritesInside int64
}

// LookupStats counts lookups by outcome. All but Hit are misses.
type LookupStats struct {
	Hit          uint64 // given to OpenSSL, which has the last word
	Miss         uint64 // not in the store
	Expired      uint64 // still in the store, but over
	OtherContext uint64 // made under another session id context
	OtherKey     uint64 // ErrOtherKey
	OtherID      uint64 // ErrOtherID
	Damaged      uint64 // ErrDamaged, or any other error of the Codec
	TooLarge     uint64 // longer than MaxValue
	Timeout      uint64 // no answer within LookupTimeout
	Canceled     uint64 // the connection ended before the answer
	Busy         uint64 // ErrStoreBusy
	Error        uint64 // any other error of the store, or no session id
}

// PutStats counts new sessions by outcome.
type PutStats struct {
	Stored   uint64 // and acknowledged by the store
	Skipped  uint64 // no id, no lifetime left, removed meanwhile, or a client's
	TooLarge uint64 // longer than MaxValue
	Timeout  uint64 // not acknowledged within PutTimeout; it may be stored all the same
	Canceled uint64 // the connection ended before the acknowledgement
	Busy     uint64 // ErrStoreBusy
	Error    uint64 // any other error, of the store or of encoding
}

// RemovalStats counts removals of one Reason.
type RemovalStats struct {
	Deleted uint64 // from the store, whether or not it was there
	Kept    uint64 // by CacheOptions.RemoveOn
	Failed  uint64 // the store did not acknowledge in time, or failed
}

// An outcome is one field of LookupStats or PutStats.
type outcome int

const (
	hit outcome = iota // or stored
	miss
	skipped
	expired
	otherContext
	otherKey
	otherID
	damaged
	tooLarge
	timedOut
	canceled
	busy
	failed
	outcomes
)

// counters are Stats while they are counted.
type counters struct {
	lookups, puts [outcomes]atomic.Uint64
	removals      [len(reasons)]struct{ deleted, kept, failed atomic.Uint64 }
}

// Stats returns the counters. Under concurrent calls each is exact, though
// not all of the same instant.
func (c *Cache) Stats() Stats {
	get := func(o outcome) uint64 { return c.count.lookups[o].Load() }
	put := func(o outcome) uint64 { return c.count.puts[o].Load() }
	s := Stats{
		Lookups: LookupStats{
			Hit: get(hit), Miss: get(miss), Expired: get(expired), OtherContext: get(otherContext),
			OtherKey: get(otherKey), OtherID: get(otherID), Damaged: get(damaged), TooLarge: get(tooLarge),
			Timeout: get(timedOut), Canceled: get(canceled), Busy: get(busy), Error: get(failed),
		},
		Puts: PutStats{
			Stored: put(hit), Skipped: put(skipped), TooLarge: put(tooLarge),
			Timeout: put(timedOut), Canceled: put(canceled), Busy: put(busy), Error: put(failed),
		},
		Removals:      make(map[Reason]RemovalStats),
		LookupsInside: c.lookups.inside.Load(),
		WritesInside:  c.writes.inside.Load(),
	}
	for i := range c.count.removals {
		n := &c.count.removals[i]
		r := RemovalStats{Deleted: n.deleted.Load(), Kept: n.kept.Load(), Failed: n.failed.Load()}
		if r != (RemovalStats{}) {
			s.Removals[Reason(i)] = r
		}
	}
	return s
}
