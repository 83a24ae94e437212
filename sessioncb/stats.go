package sessioncb

import "sync/atomic"

// Stats counts what a Cache did since it was made.
//
// Each call of a handler counts once. The fields of Lookups add up to the
// calls of GetSession that have returned; those of Hits to Lookups.Hit, those
// of Misses to Lookups.Miss. The fields of Puts, with QueuedPuts, add up to
// the calls of NewSession; those of Removals over all reasons, with
// QueuedRemovals, to those of RemoveSession. LookupTime counts as many as
// Lookups, PutTime as many as Puts with QueuedPuts.
type Stats struct {
	Lookups  LookupStats
	Hits     HitStats
	Misses   MissStats
	Puts     PutStats
	Removals map[Reason]RemovalStats // only reasons that came up

	// Claimed is how many sessions were taken out of the store, those
	// included that nobody waited for any more: such a session is lost. What
	// is wrong with a claimed session is counted in Lookups too.
	Claimed uint64
	// Joined is how many lookups waited for the call of another one.
	Joined uint64

	// LookupTime and PutTime are how long GetSession and NewSession took, all
	// calls and outcomes.
	LookupTime, PutTime Histogram

	// Calls are the calls that were made of the Store.
	Calls CallStats
	// Breakers are the circuit breakers, one for each kind of call.
	Breakers BreakersStats

	// LookupsInside and WritesInside are the calls inside the Store now,
	// those included that nobody waits for any more.
	LookupsInside, WritesInside int64
	// IDsWaiting is for how many session ids lookups wait now.
	IDsWaiting int64
	// QueuedPuts and QueuedRemovals are the writes behind that have not ended.
	QueuedPuts, QueuedRemovals int64
	// NearSessions and NearBytes are what the near cache holds.
	NearSessions int
	NearBytes    int64
	// MissesRemembered is how many ids are remembered not to be in the store.
	MissesRemembered int
}

// LookupStats counts lookups by outcome. All but Hit are misses.
type LookupStats struct {
	Hit          uint64 // given to OpenSSL, which has the last word
	Miss         uint64 // not in the store
	Junk         uint64 // an id without a tag, see CacheOptions.TagIDs; nobody was asked
	Expired      uint64 // still in the store, but over
	OtherContext uint64 // made under another session id context
	OtherKey     uint64 // ErrOtherKey
	OtherID      uint64 // ErrOtherID
	OtherFormat  uint64 // ErrOtherFormat
	Damaged      uint64 // ErrDamaged, or any other error of the Codec
	TooLarge     uint64 // longer than MaxValue
	Timeout      uint64 // no answer within LookupTimeout
	Canceled     uint64 // the connection ended before the answer
	Busy         uint64 // ErrStoreBusy
	BreakerOpen  uint64 // ErrBreakerOpen
	Error        uint64 // any other error of the store, or no session id
}

// Offered returns the sum: how many sessions clients offered.
func (s LookupStats) Offered() uint64 {
	return s.Hit + s.Miss + s.Junk + s.Expired + s.OtherContext + s.OtherKey + s.OtherID + s.OtherFormat +
		s.Damaged + s.TooLarge + s.Timeout + s.Canceled + s.Busy + s.BreakerOpen + s.Error
}

// HitStats counts hits by where the session was.
type HitStats struct {
	Near    uint64 // in the near cache
	Queued  uint64 // in the queue of writes
	Store   uint64 // in the store, and is still there
	Claimed uint64 // in the store, and was taken out
}

// MissStats counts sessions that are not there by who said so.
type MissStats struct {
	Remembered uint64 // this process: it had asked just before, or has a removal queued
	Asked      uint64 // the store
}

// PutStats counts new sessions by outcome.
type PutStats struct {
	Stored      uint64 // and acknowledged by the store
	Skipped     uint64 // no id, no lifetime left, removed meanwhile, or a client's
	Untagged    uint64 // an id that this Cache would never look up, see CacheOptions.TagIDs
	TooLarge    uint64 // longer than MaxValue
	Dropped     uint64 // the queue was full, or given up by Close; or a LiveStore did not take it
	Overtaken   uint64 // removed, or put again, before the store had it
	Timeout     uint64 // not acknowledged within PutTimeout; it may be stored all the same
	Canceled    uint64 // the connection ended before the acknowledgement; it may be stored all the same
	Busy        uint64 // ErrStoreBusy
	BreakerOpen uint64 // ErrBreakerOpen
	Error       uint64 // any other error, of the store or of encoding
}

// Offered returns the sum: the new sessions whose fate is known.
func (s PutStats) Offered() uint64 {
	return s.Stored + s.Skipped + s.Untagged + s.TooLarge + s.Dropped + s.Overtaken + s.Timeout + s.Canceled +
		s.Busy + s.BreakerOpen + s.Error
}

// RemovalStats counts removals of one Reason.
type RemovalStats struct {
	Deleted uint64 // from the store, whether or not it was there
	Kept    uint64 // by CacheOptions.RemoveOn, or because its id has no tag (TagIDs)
	Failed  uint64 // the store did not acknowledge in time, failed, or was not asked
}

// CallStats counts calls that were made of the Store.
type CallStats struct{ Get, Claim, Put, Delete uint64 }

// BreakersStats are the circuit breakers by kind of call.
type BreakersStats struct{ Get, Claim, Put, Delete BreakerStats }

// BreakerStats is one circuit breaker.
type BreakerStats struct {
	State        BreakerState // now
	Opened       uint64       // how often it went from closed to open
	FailedProbes uint64       // how often a probe left it open
}

// An outcome is what became of a lookup or a put.
type outcome int

const (
	hit outcome = iota // or stored
	miss
	junk // or untagged
	skipped
	expired
	otherContext
	otherKey
	otherID
	otherFormat
	damaged
	tooLarge
	dropped
	overtaken
	queuedUp // what becomes of it is counted later
	timedOut
	canceled
	busy
	breakerOpen
	failed
	outcomes
)

// A source is where a lookup ended.
type source int

const (
	asked source = iota
	fromNear
	fromQueue
	remembered
	claimed
	sources
)

// counters are Stats while they are counted.
type counters struct {
	lookups, puts              [outcomes]atomic.Uint64
	hits, misses               [sources]atomic.Uint64
	removals                   [len(reasons)]removalCounters
	claimed                    atomic.Uint64
	queuedPuts, queuedRemovals atomic.Int64
	lookupTime, putTime        histogram
}

type removalCounters struct{ deleted, kept, failed atomic.Uint64 }

// Stats returns the counters. Under concurrent calls each is exact, though
// not all of the same instant.
func (c *Cache) Stats() Stats {
	get := func(o outcome) uint64 { return c.count.lookups[o].Load() }
	put := func(o outcome) uint64 { return c.count.puts[o].Load() }
	s := Stats{
		Lookups: LookupStats{
			Hit: get(hit), Miss: get(miss), Junk: get(junk), Expired: get(expired), OtherContext: get(otherContext),
			OtherKey: get(otherKey), OtherID: get(otherID), OtherFormat: get(otherFormat), Damaged: get(damaged),
			TooLarge: get(tooLarge), Timeout: get(timedOut), Canceled: get(canceled), Busy: get(busy),
			BreakerOpen: get(breakerOpen), Error: get(failed),
		},
		Hits: HitStats{
			Near: c.count.hits[fromNear].Load(), Queued: c.count.hits[fromQueue].Load(),
			Store: c.count.hits[asked].Load(), Claimed: c.count.hits[claimed].Load(),
		},
		Misses: MissStats{
			Remembered: c.count.misses[remembered].Load(),
			Asked:      c.count.misses[asked].Load() + c.count.misses[claimed].Load(),
		},
		Puts: PutStats{
			Stored: put(hit), Skipped: put(skipped), Untagged: put(junk), TooLarge: put(tooLarge), Dropped: put(dropped),
			Overtaken: put(overtaken), Timeout: put(timedOut), Canceled: put(canceled), Busy: put(busy),
			BreakerOpen: put(breakerOpen), Error: put(failed),
		},
		Removals:   make(map[Reason]RemovalStats),
		Claimed:    c.count.claimed.Load(),
		Joined:     c.flights.joiners.Load(),
		LookupTime: c.count.lookupTime.load(),
		PutTime:    c.count.putTime.load(),
		Calls: CallStats{
			Get: c.get.calls.Load(), Claim: c.claim.calls.Load(), Put: c.put.calls.Load(), Delete: c.delete.calls.Load(),
		},
		Breakers: BreakersStats{
			Get: c.get.breaker.stats(), Claim: c.claim.breaker.stats(), Put: c.put.breaker.stats(), Delete: c.delete.breaker.stats(),
		},
		LookupsInside:    c.lookups.inside.Load(),
		WritesInside:     c.writes.inside.Load(),
		IDsWaiting:       c.flights.calls.Load(),
		QueuedPuts:       c.count.queuedPuts.Load(),
		QueuedRemovals:   c.count.queuedRemovals.Load(),
		MissesRemembered: c.misses.size(),
	}
	s.NearSessions, s.NearBytes = c.near.size()
	for i := range c.count.removals {
		n := &c.count.removals[i]
		r := RemovalStats{Deleted: n.deleted.Load(), Kept: n.kept.Load(), Failed: n.failed.Load()}
		if r != (RemovalStats{}) {
			s.Removals[Reason(i)] = r
		}
	}
	return s
}
