package sessioncb

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// quiet is how long nothing must have failed before a success counts as
// recovery, so that a store that fails now and then does not fill the log.
const quiet = 10 * time.Second

// health logs when a thing starts to fail and when it works again, never the
// single failure: those are counted.
type health struct {
	bad, good string      // "session store lookups fail", "... work again"
	failing   atomic.Bool // read without the lock by the many successes
	mu        sync.Mutex  // guards what follows, and changes of failing
	last      time.Time   // of the last failure
	since     time.Time   // of the first
	count     uint64      // of failures since then
}

func (h *health) failed(log *slog.Logger, now time.Time, err error) {
	h.mu.Lock()
	first := !h.failing.Load()
	if first {
		h.failing.Store(true)
		h.since, h.count = now, 0
	}
	h.last = now
	h.count++
	h.mu.Unlock()
	if first {
		log.Warn("sessioncb: "+h.bad, "error", err)
	}
}

func (h *health) worked(log *slog.Logger, now time.Time) {
	if !h.failing.Load() {
		return
	}
	h.mu.Lock()
	recovered := h.failing.Load() && now.Sub(h.last) >= quiet
	if recovered {
		h.failing.Store(false)
	}
	count, since := h.count, h.since
	h.mu.Unlock()
	if recovered {
		log.Info("sessioncb: "+h.good, "failures", count, "since", since)
	}
}
