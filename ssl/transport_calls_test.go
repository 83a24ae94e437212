package ssl

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
)

// A callCounter counts the calls that a Conn makes of its net.Conn.
type callCounter struct {
	net.Conn
	reads, writes, deadlines atomic.Int64
}

func (c *callCounter) Read(b []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(b)
}

func (c *callCounter) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func (c *callCounter) SetWriteDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

// transportCalls are calls of a net.Conn.
type transportCalls struct{ Reads, Writes, Deadlines int64 }

// during returns the calls that f makes.
func (c *callCounter) during(f func()) transportCalls {
	before := transportCalls{c.reads.Load(), c.writes.Load(), c.deadlines.Load()}
	f()
	return transportCalls{c.reads.Load() - before.Reads, c.writes.Load() - before.Writes, c.deadlines.Load() - before.Deadlines}
}

// Each flight is one Write and, as the peer sends it at once, one Read; so is
// each record. Close has a deadline for what it sends.
func TestTransportCalls(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, resumed := range []bool{false, true} {
			name := map[bool]string{false: "full", true: "resumed"}[resumed]
			t.Run(name, func(t *testing.T) {
				store, err := livestore.New(livestore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer store.Close()
				cfg := serverConfig()
				if cfg.SessionCache, err = sessioncb.NewCache(store, sessioncb.CacheOptions{}); err != nil {
					t.Fatal(err)
				}
				server := newContext(t, cfg)
				client, got := newClient(t, version)
				var offer *Session
				if resumed {
					visit(t, server, client, nil)
					offer = got.last(t)
				}
				calls, sees := &callCounter{}, &callCounter{}
				s, c := pair(t, server, client, &ClientOptions{Session: offer}, func(nc net.Conn) net.Conn {
					// The client's end comes first.
					if sees.Conn == nil {
						sees.Conn = nc
						return sees
					}
					calls.Conn = nc
					return calls
				})
				var serverErr, clientErr error
				made := calls.during(func() { serverErr, clientErr = handshake(s, c) })
				if serverErr != nil || clientErr != nil {
					t.Fatal(serverErr, clientErr)
				}
				if s.ConnectionState().DidResume != resumed {
					t.Fatalf("resumed is %v", !resumed)
				}
				want := transportCalls{Reads: 2, Writes: 2}
				if version == tls.VersionTLS12 && resumed {
					want.Writes = 1
				}
				check := func(op string, made, want transportCalls) {
					t.Helper()
					if made != want {
						t.Errorf("%s: %+v, want %+v", op, made, want)
					}
				}
				check("Handshake", made, want)

				buf := make([]byte, 16<<10)
				check("Write of 64 bytes", calls.during(func() { s.Write(buf[:64]) }), transportCalls{Writes: 1})
				check("Write of 16 KiB", calls.during(func() { s.Write(buf) }), transportCalls{Writes: 1})
				if _, err := io.ReadFull(c, make([]byte, 64+len(buf))); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write(buf[:64]); err != nil {
					t.Fatal(err)
				}
				check("Read of 64 bytes", calls.during(func() { s.Read(buf) }), transportCalls{Reads: 1})
				check("Close", calls.during(func() { s.Close() }), transportCalls{Writes: 1, Deadlines: 1})
				c.Close()
			})
		}
	})
}
