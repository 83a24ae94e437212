package sessioncb

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets of a Histogram.
var latencyBounds = [...]time.Duration{
	10 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// A Histogram counts durations, in seconds, by size.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, each inclusive, rising. They
	// are the same in every Histogram of this package.
	Bounds []float64
	// Counts are how many durations fell into each bucket, and last how many
	// were above all bounds: one more than Bounds.
	Counts []uint64
	// Sum is the sum of all durations.
	Sum float64
}

// Count returns how many durations there were.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// histogram is a Histogram while it is counted.
type histogram struct {
	counts [len(latencyBounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// observe counts d; a clock that went back counts as no time at all.
func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) load() Histogram {
	s := Histogram{
		Bounds: make([]float64, len(latencyBounds)),
		Counts: make([]uint64, len(h.counts)),
		Sum:    time.Duration(h.sum.Load()).Seconds(),
	}
	for i, b := range latencyBounds {
		s.Bounds[i] = b.Seconds()
	}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
	}
	return s
}
