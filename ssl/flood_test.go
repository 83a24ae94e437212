package ssl

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/cshim"
)

// Peers that ask for answers and read none: each KeyUpdate of theirs asks for
// one of ours.

// mostKept is above what a connection may keep of answers: 64 KiB, and those
// that one crossing makes out of the bytes it reads.
const mostKept = 96 << 10

// keyUpdates makes n KeyUpdates of c that ask for an answer, each with a byte
// of data behind it if data is set. They are not sent.
func keyUpdates(t *testing.T, c *Conn, n int, data bool) (flood []byte) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	lent := &cshim.Memory{Out: make([]byte, 1<<10)}
	tr := cshim.IO{Memory: lent}
	for range n {
		if !c.ssl.SSL_key_update(true) {
			t.Fatal("SSL_key_update failed")
		}
		var r cshim.Result
		if data {
			c.ssl.Write(tr, []byte("x"), &r)
		} else {
			c.ssl.Handshake(tr, nil, cshim.UntilDone, nil, &r)
		}
		if r.Status != cshim.Done || r.Out == 0 {
			t.Fatalf("a KeyUpdate was not made: %+v", r)
		}
		flood = append(flood, lent.Out[:r.Out]...)
	}
	return flood
}

// flooded is a connection whose peer makes it answer: with data between the
// requests, or none. held: a New handler that runs holds the answers.
func flooded(t *testing.T, wrap func(net.Conn) net.Conn, held, data bool) {
	const updates = 20_000 // 540 kB of answers

	var sockets []tcpConn // the client's, the server's
	x := newTicketed(t, func(c net.Conn) net.Conn {
		c = wrap(c)
		sockets = append(sockets, beneath(c))
		return c
	})
	// There is room for all the requests, and for few answers.
	sockets[0].SetWriteBuffer(1 << 20)
	sockets[1].SetReadBuffer(1 << 20)
	sockets[0].SetReadBuffer(1)
	sockets[1].SetWriteBuffer(1)
	wrote := make(chan error, 1)
	if held {
		if err := x.s.NewSessionTicket(); err != nil {
			t.Fatal(err)
		}
		go func() { _, err := x.s.Write([]byte("y")); wrote <- err }()
		<-x.called
	}
	flood := keyUpdates(t, x.c, updates, data)
	sent := make(chan struct{})
	go func() { x.c.NetConn().Write(flood); close(sent) }()
	ended, read, err := reading(x.s)
	<-ended
	if own := (*Error)(nil); !errors.As(*err, &own) ||
		!strings.HasSuffix((*err).Error(), "the peer asks for answers and does not read them") {
		t.Errorf("Read: %v", *err)
	}
	if len(*read) >= updates {
		t.Errorf("all was read, %d bytes", len(*read))
	}
	if n := x.s.rd.result.Pending; n < 64<<10 || n > mostKept {
		t.Errorf("%d bytes are kept, want 64 KiB and little more", n)
	}
	if _, again := x.s.Read(make([]byte, 1)); again != *err {
		t.Errorf("a later Read: %v, want the same error", again)
	}
	x.c.NetConn().Close() // else Close waits for the peer
	<-sent
	if held {
		x.held("Write", wrote)
		close(x.letGo)
		<-wrote
	}
}

// The peer's requests end the connection, with an error that says so, before
// much is kept for it: whether the answers wait for the peer, or for a New
// handler to return.
func TestFlood(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Run("unread", func(t *testing.T) { flooded(t, tr.wrap, false, true) })
			t.Run("held", func(t *testing.T) { flooded(t, tr.wrap, true, true) })
		})
	}
}
