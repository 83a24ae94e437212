package cshim

/*
#include "shim.h"
*/
import "C"

// Until says how far Conn.Handshake goes.
type Until int

// The ends of a handshake step.
const (
	UntilDone  Until = C.SC_UNTIL_DONE  // early data is kept for Read
	UntilEarly Until = C.SC_UNTIL_EARLY // until early data was accepted, else to the end
	UntilData  Until = C.SC_UNTIL_DATA  // until some was read; none: its end
)

// MostEarlyData bounds EnableEarlyData, in bytes.
const MostEarlyData = C.SC_MOST_EARLY_DATA

// Early is the status of a handshake that stopped as UntilEarly or UntilData
// says, and has not ended.
const Early Status = C.SC_EARLY

// Obstacle says why a client cannot send early data; 0: it can.
type Obstacle int

// The obstacles.
const (
	EarlyBegun        Obstacle = C.SC_EARLY_BEGUN // the handshake has begun
	EarlyNoSession    Obstacle = C.SC_EARLY_NO_SESSION
	EarlyNotPromised  Obstacle = C.SC_EARLY_NOT_PROMISED
	EarlyWrongVersion Obstacle = C.SC_EARLY_WRONG_VERSION
	EarlyPast         Obstacle = C.SC_EARLY_PAST
	EarlyOtherName    Obstacle = C.SC_EARLY_OTHER_NAME
	EarlyOtherALPN    Obstacle = C.SC_EARLY_OTHER_ALPN
)

// EnableEarlyData makes servers accept up to max bytes of early data, if the
// answers to the lookups allow it; libssl's own guard against replays is off.
func (c *Context) EnableEarlyData(max uint32) { C.sc_early_enable(c.p, C.uint32_t(max)) }

// StartEarlyData begins a client's handshake with a first record of early data
// (SSL_write_early_data), Result.N, which the next Write sends. With an
// obstacle, or if buf is longer than max, nothing was begun.
func (c *Conn) StartEarlyData(buf []byte) (r Result, max uint32, why Obstacle) {
	var m C.uint32_t
	why = Obstacle(C.sc_early_start(c.p, bytesPtr(buf), C.size_t(len(buf)), &m))
	c.result(&r)
	return r, uint32(m), why
}

// TakeEarlyData fills buf with early data that was read and not taken;
// Result.N is 0 when there is none.
func (c *Conn) TakeEarlyData(buf []byte) (r Result) {
	C.sc_early_rest(c.p, bytesPtr(buf), C.size_t(len(buf)))
	c.result(&r)
	return r
}

// EarlyDataOffered says whether the ClientHello comes with early data. It does
// not cross, as the next two.
func (c *Conn) EarlyDataOffered() bool { return c.p.early.offered != 0 }

// AllowEarlyData is the verdict for the sessions in the answers to AppendLookups;
// without it early data is refused.
func (c *Conn) AllowEarlyData(ok bool) { c.p.early.allowed = cFlag(ok) }

// EarlyDataAccepted is SSL_get_early_data_status of the last handshake step.
func (c *Conn) EarlyDataAccepted() bool { return c.p.early.accepted != 0 }
