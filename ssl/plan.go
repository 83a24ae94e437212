package ssl

import (
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// A plan is what a Config comes to for sessions, with all that its fields imply.
// Negative numbers leave OpenSSL's defaults.
type plan struct {
	mode          int  // SSL_SESS_CACHE_*
	none          bool // no session is resumed
	stateful      bool // SSL_OP_NO_TICKET
	tickets       int  // of TLS 1.3, for each handshake
	size, timeout int64
	maxAge        time.Duration // 0: no bound
	earlyData     uint32
}

func (cfg *Config) plan() plan {
	const both = cshim.SSL_SESS_CACHE_SERVER | cshim.SSL_SESS_CACHE_CLIENT
	p := plan{
		mode: cshim.SSL_SESS_CACHE_SERVER, stateful: cfg.Tickets == TicketsStateful,
		tickets: -1, size: -1, timeout: -1, maxAge: cfg.maxAge(), earlyData: cfg.MaxEarlyData,
	}
	if cfg.SessionCallbacks.New != nil {
		p.mode = both
	}
	switch {
	case cfg.NumTickets > 0:
		p.tickets = cfg.NumTickets
	case cfg.NumTickets < 0:
		p.tickets = 0
	}
	switch cfg.SessionCacheMode {
	case CacheOff:
		p.mode = cshim.SSL_SESS_CACHE_OFF
	case CacheInternal:
		p.mode = both
	case CacheExternal:
		p.mode = both | cshim.SSL_SESS_CACHE_NO_INTERNAL
	case CacheExternalLookup:
		p.mode = both | cshim.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
	}
	if cfg.MaxEarlyData > 0 {
		p.mode, p.stateful = both|cshim.SSL_SESS_CACHE_NO_INTERNAL, true
	}
	if cfg.SessionCache != nil {
		// A client's sessions are of no use to a store of server sessions.
		p.mode, p.stateful, p.tickets = cshim.SSL_SESS_CACHE_SERVER|cshim.SSL_SESS_CACHE_NO_INTERNAL, true, 1
	}
	if cfg.Tickets == TicketsNone {
		p.none, p.mode, p.stateful, p.tickets = true, cshim.SSL_SESS_CACHE_OFF, true, 0
	}
	if cfg.SessionCacheSize > 0 {
		p.size = int64(cfg.SessionCacheSize)
	}
	if cfg.SessionTimeout > 0 {
		p.timeout = int64(cfg.SessionTimeout / time.Second)
	}
	return p
}

func (p plan) apply(c *cshim.Context) {
	c.SetCache(p.mode, p.size, p.timeout, p.stateful, p.tickets)
	c.SetMaxAge(int64(p.maxAge / time.Second))
	if p.earlyData > 0 {
		c.EnableEarlyData(p.earlyData)
	}
}

// mostTickets is how many sessions a handshake may make.
func (p plan) mostTickets() int {
	if p.tickets < 0 {
		return 2 // OpenSSL's default
	}
	return max(p.tickets, 1) // TLS 1.2 makes one all the same
}

// defaultMaxAge bounds a chain of resumptions unless told otherwise.
const defaultMaxAge = 24 * time.Hour

// maxAge is MaxResumptionAge, or 0 for no bound.
func (cfg *Config) maxAge() time.Duration {
	if cfg.MaxResumptionAge == 0 {
		return defaultMaxAge
	}
	return max(cfg.MaxResumptionAge, 0)
}

// callbacks returns the handlers that the configuration means.
func (cfg *Config) callbacks() sessioncb.Callbacks {
	if cfg.SessionCache != nil {
		return sessioncb.Callbacks{New: cfg.SessionCache, Get: cfg.SessionCache, Remove: cfg.SessionCache}
	}
	return cfg.SessionCallbacks
}

func callbackBits(cb sessioncb.Callbacks) int {
	bits := 0
	if cb.New != nil {
		bits |= cshim.New
	}
	if cb.Get != nil {
		bits |= cshim.Get
	}
	if cb.Remove != nil {
		bits |= cshim.Remove
	}
	return bits
}
