//go:build !race && !asan

package ssl

import "testing"

// The crossings of every operation of a server, in a process that does nothing
// else, with all there that it waits for. TestCrossings looks at the steps of a
// handshake one by one. On memory a step finds out first that it wants input;
// on a descriptor one more is made to hand the handshake to the pool.
var crossingCounts = []struct {
	server     countedServer
	descriptor int64
	memory     int64
	why        string
}{
	{countedServer{Version: only12}, 3, 3, "the ClientHello; on the pool its answer, and the client's key"},
	{countedServer{Version: only13}, 3, 3, "the ClientHello; on the pool its answer; the client's Finished"},
	{countedServer{Version: only12, Resumed: true}, 3, 3, "a ticket is not told from none before it is opened"},
	{countedServer{Version: only13, Resumed: true}, 3, 3, "the same"},

	{countedServer{Version: only12, Store: "map"}, 5, 5, "the encoding, and the release of what is held"},
	{countedServer{Version: only13, Store: "map"}, 5, 5, "the same"},
	{countedServer{Version: only12, Store: "map", Resumed: true}, 3, 4, "the lookup adds a step; no pool"},
	{countedServer{Version: only13, Store: "map", Resumed: true}, 5, 6, "the lookup adds a step; a session of its own"},

	{countedServer{Version: only12, Store: "live"}, 5, 5, "the duplicate that is kept, and the release"},
	{countedServer{Version: only13, Store: "live"}, 5, 5, "the same"},
	{countedServer{Version: only12, Store: "live", Resumed: true}, 4, 5, "the duplicate that is resumed"},
	{countedServer{Version: only13, Store: "live", Resumed: true}, 6, 7, "both duplicates"},

	{countedServer{Version: only12, Store: "live", Mutual: true}, 5, 5, "a client's certificate adds none"},
	{countedServer{Version: only13, Store: "live", Mutual: true}, 5, 5, "the same"},
	{countedServer{Version: only12, Store: "live", Mutual: true, Resumed: true}, 4, 5, "the same"},
	{countedServer{Version: only13, Store: "live", Mutual: true, Resumed: true}, 6, 7, "the same"},
}

func TestCrossingCounts(t *testing.T) {
	for _, row := range crossingCounts {
		for _, transport := range countedTransports {
			o := row.server.over(transport)
			t.Run(o.String(), func(t *testing.T) {
				want := map[string]int64{"NewConn": 1, "Handshake": row.descriptor, "ConnectionState": 1,
					"Write": 1, "Read": 1, "Write16K": 1, "ReadWaits": 2, "Close": 2}
				switch {
				case o.Socket:
					want["ReadWaits"] = 1 // the poller knows when there is nothing
				case o.Memory:
					want["Handshake"], want["Read"] = row.memory, 2
				}
				if o.Mutual {
					want["ConnectionState"] = 2 // what it copied is freed
				}
				r := countCosts(t, o)
				for _, op := range countedOps {
					if got := r.Least[op].Crossings; got > want[op] {
						t.Errorf("%s makes %d crossings, want %d", op, got, want[op])
					}
				}
				t.Logf("%+v", r.Least)
			})
		}
	}
}
