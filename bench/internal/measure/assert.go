package measure

import (
	"fmt"

	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// Check says, in a sentence each, in what a run was not what its row says:
// the load's view of it first, then the server's. The numbers of such a run
// mean nothing.
func Check(r *rows.Row, p rows.Peer, run record.Run) []string {
	c := checker{peer: p.Name}
	c.load(r, run.Load)
	if r.Metric == rows.Memory {
		c.idle(r, run)
		return c.failures
	}
	switch {
	case r.Load == "resume":
		c.resumed(r, p, run)
	default:
		c.unresumed(r, run)
	}
	return c.failures
}

type checker struct {
	peer     string
	failures []string
}

func (c *checker) expect(ok bool, format string, args ...any) {
	if !ok {
		c.failures = append(c.failures, c.peer+": "+fmt.Sprintf(format, args...))
	}
}

func (c *checker) load(r *rows.Row, l record.Load) {
	c.expect(l.Failed == 0, "%d operations failed at the load", l.Failed)
	if r.Load == "idle" {
		return
	}
	c.expect(l.Ops > 0, "no operation was done")
	c.expect(!r.Bulk() || l.Bytes > 0, "no data was moved")
	c.expect(l.Seconds > 0 && l.ServerCPU > 0, "the load measured no time: %v s, server %v s", l.Seconds, l.ServerCPU)
	switch r.Load {
	case "resume":
		c.expect(l.Full == 0, "%d handshakes of the window were full, and all were to be resumed", l.Full)
		c.expect(l.Resumed == l.Ops, "the load saw %d of %d handshakes resumed", l.Resumed, l.Ops)
	case "full":
		c.expect(l.Resumed == 0, "%d handshakes were resumed, and all were to be full", l.Resumed)
		c.expect(l.Full == l.Ops, "the load saw %d of %d handshakes full", l.Full, l.Ops)
	default:
		c.expect(l.Resumed == 0, "%d connections were resumed, and all were to be full", l.Resumed)
	}
}

// resumed checks that the server resumed as often, and by the path that its
// store is: each session out of the external store, or none.
func (c *checker) resumed(r *rows.Row, p rows.Peer, run record.Run) {
	s, l := run.Stats, run.Load
	// A connection of each slot may be under way when the load ends.
	slots := int64(r.Conns)
	c.expect(s.Resumed >= l.Resumed, "the server counts %d resumed handshakes, and the load %d", s.Resumed, l.Resumed)
	full := s.Handshakes - s.Resumed
	c.expect(full >= 0 && full <= 2*slots, "the server counts %d full handshakes beside %d resumed ones; the warm-up has %d", full, s.Resumed, slots)
	c.expect(s.Failed <= slots, "the server counts %d failed handshakes", s.Failed)
	if !external(p.Store) {
		c.expect(s.Lookups == 0 && s.Hits == 0 && s.Stored == 0,
			"its store is %s, but the external one counts %d lookups, %d hits, %d stored", p.Store, s.Lookups, s.Hits, s.Stored)
		return
	}
	c.expect(s.Hits >= s.Resumed && s.Hits <= s.Resumed+slots, "%d handshakes were resumed, and %d sessions found in the store", s.Resumed, s.Hits)
	c.expect(s.Lookups >= s.Hits && s.Lookups <= s.Hits+slots, "%d lookups found %d sessions", s.Lookups, s.Hits)
	// TLS 1.2 goes on with its session; TLS 1.3 makes one at each handshake.
	least, most := full, full+slots
	if r.Version == "1.3" {
		least, most = s.Handshakes-slots, s.Handshakes+slots
	}
	c.expect(s.Stored >= least && s.Stored <= most, "%d sessions were stored, at %d handshakes, %d of them full", s.Stored, s.Handshakes, full)
}

// unresumed checks that the server made full handshakes only, and stored
// nothing.
func (c *checker) unresumed(r *rows.Row, run record.Run) {
	s, want := run.Stats, int64(r.Conns)
	if r.Full() {
		want = run.Load.Ops
	}
	c.expect(s.Handshakes >= want, "the server counts %d handshakes, and the load %d", s.Handshakes, want)
	c.expect(s.Failed <= int64(r.Conns), "the server counts %d failed handshakes", s.Failed)
	c.expect(s.Resumed == 0, "the server counts %d resumed handshakes, and all were to be full", s.Resumed)
	c.expect(s.Lookups == 0 && s.Hits == 0 && s.Stored == 0,
		"it has no store, but counts %d lookups, %d hits, %d stored", s.Lookups, s.Hits, s.Stored)
}

// idle checks that the connections whose memory was measured are there.
func (c *checker) idle(r *rows.Row, run record.Run) {
	want := int64(First + r.Conns)
	c.expect(run.Stats.Handshakes == want, "the server counts %d handshakes of %d connections", run.Stats.Handshakes, want)
	c.expect(run.Stats.Resumed == 0, "the server counts %d resumed handshakes, and all were to be full", run.Stats.Resumed)
	c.expect(run.KiBPerConn > 0, "its memory did not grow")
}

// Enough reports whether as many lookups waited at once as a row of threads is
// about.
func Enough(r *rows.Row, run record.Run) bool {
	return r.Metric != rows.Threads || run.Waiting >= rows.Waiting
}

// CheckWaiting says whether enough lookups waited at once in a row of threads,
// in the best of its rounds: how many they are depends on how fast the machine
// is at the moment.
func CheckWaiting(r *rows.Row, rounds []record.Round) []string {
	if r.Metric != rows.Threads {
		return nil
	}
	best := 0.0
	for _, round := range rounds {
		for _, run := range round.Runs {
			best = max(best, run.Waiting)
		}
	}
	c := checker{peer: rows.Ours}
	c.expect(best >= rows.Waiting, "at most %.1f lookups waited at once, and %d were to", best, rows.Waiting)
	return c.failures
}

// external reports whether a store is outside OpenSSL, behind the callbacks.
func external(store string) bool {
	return store == "der" || store == "ref" || store == "cache"
}
