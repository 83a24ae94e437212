package peer

import (
	"encoding/json"
	"sync/atomic"
)

// Counters count since the start of the process.
type Counters struct {
	Accepted   atomic.Int64 // connections
	Handshakes atomic.Int64 // that succeeded
	Resumed    atomic.Int64 // of them
	Failed     atomic.Int64 // handshakes
	Lookups    atomic.Int64 // in the external store
	Hits       atomic.Int64 // of them
	Stored     atomic.Int64 // sessions put into the external store
}

// line is the answer to "stats": one line of JSON.
func (n *Counters) line() []byte {
	b, err := json.Marshal(struct {
		Accepted   int64 `json:"accepted"`
		Handshakes int64 `json:"handshakes"`
		Resumed    int64 `json:"resumed"`
		Failed     int64 `json:"failed"`
		Lookups    int64 `json:"lookups"`
		Hits       int64 `json:"hits"`
		Stored     int64 `json:"stored"`
	}{
		n.Accepted.Load(), n.Handshakes.Load(), n.Resumed.Load(), n.Failed.Load(),
		n.Lookups.Load(), n.Hits.Load(), n.Stored.Load(),
	})
	if err != nil {
		panic(err) // seven integers always encode
	}
	return append(b, '\n')
}
