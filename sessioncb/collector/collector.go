// Package collector shows the counters of a sessioncb.Cache to Prometheus.
//
//	sessioncb_lookups_total{outcome}      lookups: "hit near", "hit store", "miss asked", "timeout", ...
//	sessioncb_puts_total{outcome}         new sessions: "stored", "dropped", ...
//	sessioncb_removals_total{reason,result}
//	sessioncb_claims_total                sessions taken out of the store
//	sessioncb_lookups_joined_total        lookups that waited for the call of another one
//	sessioncb_lookup_duration_seconds     histogram
//	sessioncb_put_duration_seconds        histogram
//	sessioncb_store_calls_total{kind}     calls made of the store: get, claim, put, delete
//	sessioncb_store_calls_inside{kind}    calls inside the store now: lookup, write
//	sessioncb_breaker_open{kind}          1 open, 0.5 half-open, 0 closed
//	sessioncb_breaker_opened_total{kind}  how often it went from closed to open
//	sessioncb_breaker_failed_probes_total{kind}
//	sessioncb_near_sessions, sessioncb_near_bytes
//	sessioncb_misses_remembered           ids remembered not to be in the store
//	sessioncb_ids_waiting                 ids that lookups wait for now
//	sessioncb_queued{kind}                writes behind that have not ended: put, removal
//
// What each outcome means stands with the fields of sessioncb.Stats.
package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sessioncb/openssl/sessioncb"
)

// New returns a collector of cache's counters, with labels on each of them
// that tell this cache from others in the process; nil for none. It reads
// Cache.Stats when it is collected, and is used concurrently.
func New(cache *sessioncb.Cache, labels prometheus.Labels) prometheus.Collector {
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("sessioncb_"+name, help, variable, labels)
	}
	return &collector{
		cache:        cache,
		lookups:      desc("lookups_total", "Lookups of sessions by outcome.", "outcome"),
		puts:         desc("puts_total", "New sessions by outcome.", "outcome"),
		removals:     desc("removals_total", "Removed sessions by reason and by what was done about them.", "reason", "result"),
		claims:       desc("claims_total", "Sessions taken out of the store, to be used once."),
		joined:       desc("lookups_joined_total", "Lookups that waited for the store call of another lookup."),
		lookupTime:   desc("lookup_duration_seconds", "Time that lookups took, of all outcomes."),
		putTime:      desc("put_duration_seconds", "Time that handshakes waited for their new sessions, of all outcomes."),
		calls:        desc("store_calls_total", "Calls made of the session store.", "kind"),
		inside:       desc("store_calls_inside", "Calls inside the session store now.", "kind"),
		open:         desc("breaker_open", "Circuit breakers: 1 is open, 0.5 half-open, 0 closed.", "kind"),
		opened:       desc("breaker_opened_total", "How often a circuit breaker opened.", "kind"),
		probes:       desc("breaker_failed_probes_total", "Probes that left a circuit breaker open.", "kind"),
		nearSessions: desc("near_sessions", "Sessions in the near cache."),
		nearBytes:    desc("near_bytes", "Bytes in the near cache."),
		misses:       desc("misses_remembered", "Session ids remembered not to be in the store."),
		waiting:      desc("ids_waiting", "Session ids that lookups wait for now."),
		queued:       desc("queued", "Writes behind that have not ended.", "kind"),
	}
}

type collector struct {
	cache *sessioncb.Cache

	lookups, puts, removals, claims, joined, lookupTime, putTime, calls, inside,
	open, opened, probes, nearSessions, nearBytes, misses, waiting, queued *prometheus.Desc
}

// Describe sends the descriptions of all metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.lookups, c.puts, c.removals, c.claims, c.joined, c.lookupTime, c.putTime, c.calls, c.inside,
		c.open, c.opened, c.probes, c.nearSessions, c.nearBytes, c.misses, c.waiting, c.queued,
	} {
		ch <- d
	}
}

// Collect sends the counters as they are now.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.cache.Stats()
	send := func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		send(prometheus.CounterValue, d, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		send(prometheus.GaugeValue, d, v, labels...)
	}

	for _, o := range lookupOutcomes(s) {
		count(c.lookups, o.n, o.name)
	}
	for _, o := range putOutcomes(s.Puts) {
		count(c.puts, o.n, o.name)
	}
	for reason, r := range s.Removals {
		count(c.removals, r.Deleted, reason.String(), "deleted")
		count(c.removals, r.Kept, reason.String(), "kept")
		count(c.removals, r.Failed, reason.String(), "failed")
	}
	count(c.claims, s.Claimed)
	count(c.joined, s.Joined)
	ch <- histogram(c.lookupTime, s.LookupTime)
	ch <- histogram(c.putTime, s.PutTime)

	for _, k := range []struct {
		kind    string
		calls   uint64
		breaker sessioncb.BreakerStats
	}{
		{"get", s.Calls.Get, s.Breakers.Get},
		{"claim", s.Calls.Claim, s.Breakers.Claim},
		{"put", s.Calls.Put, s.Breakers.Put},
		{"delete", s.Calls.Delete, s.Breakers.Delete},
	} {
		count(c.calls, k.calls, k.kind)
		gauge(c.open, openness(k.breaker.State), k.kind)
		count(c.opened, k.breaker.Opened, k.kind)
		count(c.probes, k.breaker.FailedProbes, k.kind)
	}
	gauge(c.inside, float64(s.LookupsInside), "lookup")
	gauge(c.inside, float64(s.WritesInside), "write")
	gauge(c.nearSessions, float64(s.NearSessions))
	gauge(c.nearBytes, float64(s.NearBytes))
	gauge(c.misses, float64(s.MissesRemembered))
	gauge(c.waiting, float64(s.IDsWaiting))
	gauge(c.queued, float64(s.QueuedPuts), "put")
	gauge(c.queued, float64(s.QueuedRemovals), "removal")
}

// An outcome is a counter and its label.
type outcome struct {
	name string
	n    uint64
}

// lookupOutcomes has hits and misses by source; the sum is all lookups.
func lookupOutcomes(s sessioncb.Stats) []outcome {
	l := s.Lookups
	return []outcome{
		{"hit near", s.Hits.Near}, {"hit queued", s.Hits.Queued}, {"hit store", s.Hits.Store}, {"hit claimed", s.Hits.Claimed},
		{"miss remembered", s.Misses.Remembered}, {"miss asked", s.Misses.Asked},
		{"junk", l.Junk}, {"expired", l.Expired}, {"other context", l.OtherContext}, {"other key", l.OtherKey},
		{"other id", l.OtherID}, {"other format", l.OtherFormat}, {"damaged", l.Damaged}, {"too large", l.TooLarge},
		{"timeout", l.Timeout}, {"canceled", l.Canceled}, {"busy", l.Busy}, {"breaker open", l.BreakerOpen}, {"error", l.Error},
	}
}

func putOutcomes(p sessioncb.PutStats) []outcome {
	return []outcome{
		{"stored", p.Stored}, {"skipped", p.Skipped}, {"untagged", p.Untagged}, {"too large", p.TooLarge},
		{"dropped", p.Dropped}, {"overtaken", p.Overtaken}, {"timeout", p.Timeout}, {"canceled", p.Canceled},
		{"busy", p.Busy}, {"breaker open", p.BreakerOpen}, {"error", p.Error},
	}
}

func openness(s sessioncb.BreakerState) float64 {
	switch s {
	case sessioncb.BreakerOpen:
		return 1
	case sessioncb.BreakerHalfOpen:
		return 0.5
	}
	return 0
}

func histogram(d *prometheus.Desc, h sessioncb.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var below uint64
	for i, bound := range h.Bounds {
		below += h.Counts[i]
		buckets[bound] = below
	}
	return prometheus.MustNewConstHistogram(d, h.Count(), h.Sum, buckets)
}
