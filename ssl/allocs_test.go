//go:build !race && !asan

package ssl

import (
	"crypto/tls"
	"io"
	"testing"
)

// An allocRow is a kind of handshake, and what the operations on it may
// allocate in the server: more is a loss of speed that no clock on a shared
// machine shows. The numbers are what they cost.
type allocRow struct {
	server    countedServer
	handshake int64
	why       string
}

var allocRows = []allocRow{
	{countedServer{Version: only12}, 0, "nobody is asked"},
	{countedServer{Version: only13}, 0, "nobody is asked"},
	{countedServer{Version: only12, Resumed: true}, 0, "the ticket has the session"},
	{countedServer{Version: only13, Resumed: true}, 0, "the ticket has the session"},

	{countedServer{Version: only12, Store: "live"}, 15, "the Session, its finalizer, its entry in the store"},
	{countedServer{Version: only13, Store: "live"}, 15, "the same"},
	{countedServer{Version: only12, Resumed: true, Store: "live"}, 4, "the handler's copy of the id; the Cache's of the session's id and contexts"},
	{countedServer{Version: only13, Resumed: true, Store: "live"}, 19, "both"},

	// On goroutines of their own, with a limit of time, and encoded.
	{countedServer{Version: only12, Store: "map"}, 22, "the New handler"},
	{countedServer{Version: only13, Store: "map"}, 22, "the New handler"},
	{countedServer{Version: only12, Resumed: true, Store: "map"}, 16, "the Get handler"},
	{countedServer{Version: only13, Resumed: true, Store: "map"}, 36, "both"},
}

// What the operations of a server allocate. A buffer of the memory transport
// comes with its first input.
func TestAllocationCounts(t *testing.T) {
	for _, row := range allocRows {
		for _, transport := range countedTransports {
			o := row.server.over(transport)
			t.Run(o.String(), func(t *testing.T) {
				want := map[string]int64{"NewConn": 12, "Handshake": row.handshake, "ConnectionState": 2}
				switch {
				case o.Socket:
					want["NewConn"] = 8
				case o.Memory:
					want["NewConn"] = 9
					want["Handshake"]++ // the buffer of its input
					want["Close"] = 3   // the deadline of the transport
				}
				r := countCosts(t, o)
				for _, op := range countedOps {
					if got := r.Least[op].Allocs; got > want[op] {
						t.Errorf("%s allocates %d times, want %d at most", op, got, want[op])
					}
				}
				t.Logf("%+v", r.Least)
			})
		}
	}
}

// No step of a handshake allocates, wherever it is made. What handlers do is
// done between them.
func TestStepsDoNotAllocate(t *testing.T) {
	for _, row := range allocRows {
		for _, transport := range countedTransports {
			o := row.server.over(transport)
			o.Steps = true
			t.Run(o.String(), func(t *testing.T) {
				r := countCosts(t, o)
				if steps := r.Least["Steps"]; steps.Allocs != 0 || steps.Crossings < 2 {
					t.Errorf("the steps allocate %d times in %d crossings, want 0 in 2 or more", steps.Allocs, steps.Crossings)
				}
			})
		}
	}
}

// Read and Write allocate nothing, on either transport.
func TestReadAndWriteDoNotAllocate(t *testing.T) {
	eachSize(t, func(t *testing.T, s *Conn, c *tls.Conn, size int) {
		buf := make([]byte, size)
		go io.Copy(io.Discard, c)
		if n := testing.AllocsPerRun(200, func() {
			if _, err := s.Write(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Write allocates %v times", n)
		}
	})
	eachSize(t, func(t *testing.T, s *Conn, c *tls.Conn, size int) {
		// AllocsPerRun counts the whole process: the client has written it all before.
		const reads = 10
		if _, err := c.Write(make([]byte, (reads+2)*size)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, size)
		if n := testing.AllocsPerRun(reads, func() {
			if _, err := io.ReadFull(s, buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Read allocates %v times", n)
		}
	})
}
