package ssl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// host is a C server that a test attaches to.
type host struct {
	*chost.Server
	t        testing.TB
	attached []*Attachment
	dropped  bool
}

// patience bounds waits that end at once when all is well.
const patience = 30 * time.Second

// putIn is a fault that another test puts into this process; see TestFaultsAreNoticed.
func putIn() chost.Fault {
	switch f := os.Getenv("SESSIONCB_TEST_FAULT"); f {
	case "":
		return chost.NoFault
	case "connection leaks":
		return chost.ConnectionLeaks
	case "connection double frees":
		return chost.ConnectionDoubleFrees
	case "store leaks":
		return chost.StoreLeaks
	case "store double frees":
		return chost.StoreDoubleFrees
	default:
		panic("SESSIONCB_TEST_FAULT: " + f)
	}
}

// newHost makes a C server, not started. At the test's end it and what was
// attached to it are gone, or the test fails.
func newHost(t testing.TB, o chost.Options) *host {
	t.Helper()
	o.ChainFile, o.KeyFile = cert("server.pem"), cert("server-key.pem")
	if o.SessionIDContext == "" {
		o.SessionIDContext = "chost"
	}
	if o.Fault == chost.NoFault {
		o.Fault = putIn()
	}
	s, err := chost.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Server: s, t: t}
	t.Cleanup(h.close)
	return h
}

func (h *host) start() *host {
	h.t.Helper()
	if err := h.Start(); err != nil {
		h.t.Fatal(err)
	}
	return h
}

// attach attaches, and closes at the test's end.
func (h *host) attach(cb sessioncb.Callbacks, o *AttachOptions) *Attachment {
	h.t.Helper()
	a, err := Attach(h.SSLCTX(), cb, o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.attached = append(h.attached, a)
	return a
}

// drop stops the C server and gives up its reference on the SSL_CTX.
func (h *host) drop() {
	if h.dropped {
		return
	}
	h.dropped = true
	h.Stop()
	if c := h.Counts(); c.Dirty != 0 {
		h.t.Errorf("%d steps of the C server succeeded and left an error in its queue", c.Dirty)
	}
	h.Server.Close()
}

func (h *host) close() {
	if !h.dropped {
		h.Stop()
	}
	for _, a := range h.attached {
		a.Close()
	}
	h.drop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, a := range h.attached {
		if err := a.Wait(ctx); err != nil {
			h.t.Errorf("attachment %q: the SSL_CTX is not gone: %v", a.Name(), err)
		}
	}
}

// connect makes a connection, offers s, and sends a byte there and back, so
// that a client has read its tickets.
func (h *host) connect(client *Context, s *Session) *Conn {
	h.t.Helper()
	c, err := h.tryConnect(client, s)
	if err != nil {
		h.t.Fatalf("%v; the C server says %q", err, h.LastError())
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

func (h *host) tryConnect(client *Context, s *Session) (*Conn, error) {
	nc, err := h.Dial()
	if err != nil {
		return nil, err
	}
	c, err := Client(nc, client, &ClientOptions{ServerName: "localhost", Session: s})
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	if err := tell(c, 'x'); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// tell sends one byte to the C server and reads it back.
func tell(c net.Conn, order byte) error {
	b := []byte{order}
	if _, err := c.Write(b); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if b[0] != order {
		return fmt.Errorf("sent %q and got %q", order, b)
	}
	return nil
}

// order sends an order that ends the connection, and waits for the end.
func (h *host) order(c *Conn, what byte) {
	h.t.Helper()
	ended := h.Counts().Ended
	if _, err := c.Write([]byte{what}); err != nil {
		h.t.Fatal(err)
	}
	h.ends(ended + 1)
}

// ends waits until n connections have ended.
func (h *host) ends(n uint64) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("%d connections ended", n), func() bool { return h.Counts().Ended >= n })
}

// finish closes a client's connection and waits for the server's end.
func (h *host) finish(c *Conn) {
	h.t.Helper()
	ended := h.Counts().Ended
	c.Close()
	h.ends(ended + 1)
}

func (h *host) eventually(what string, ok func() bool) {
	h.t.Helper()
	eventually(h.t, what, ok)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// settleOf waits until the removals of a are delivered.
func settleOf(a *Attachment) { a.side.settle() }

// balanced fails the test if, after all its other cleanups, more or fewer
// objects are alive than now, or if libssl destroyed a session that C code
// still owned. Call it first.
func balanced(t testing.TB) {
	t.Helper()
	before := cshim.ReadGauges()
	broken := chost.Violations()
	rounds := 300
	if putIn() != chost.NoFault {
		rounds = 50 // there is nothing to wait for
	}
	t.Cleanup(func() {
		var now cshim.Gauges
		for range rounds {
			if now = cshim.ReadGauges(); now == before {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if now != before {
			t.Errorf("gauge: alive before %+v, after %+v", before, now)
		}
		if n := chost.Violations() - broken; n != 0 {
			t.Errorf("ledger: %d sessions were destroyed under their owner", n)
		}
	})
}

// blankSession returns a session without a cipher, which only C code can make.
// It is closed at the test's end.
func blankSession(t testing.TB) *Session {
	t.Helper()
	k := newKeeper(t)
	// A client that offers what the server cannot know makes it ask.
	first := newHost(t, chost.Options{Version: 0x0303, CacheMode: chost.NoInternal}).start()
	client, got := newClient(t, 0x0303)
	first.finish(first.connect(client, nil))
	h := newHost(t, chost.Options{Version: 0x0303, CacheMode: chost.NoInternal, Callbacks: chost.Get, Keep: chost.Blank})
	var a *Attachment
	var blank *Session
	a = h.attach(sessioncb.Callbacks{Get: sessioncb.GetHandlerFunc(
		func(_ context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			s, err := a.PriorGet(c, id)
			if err != nil || s == nil {
				return sessioncb.Answer{}, fmt.Errorf("no blank session: %w", err)
			}
			if !bytes.Equal(s.ID(), id) || s.CipherSuite() != 0 {
				t.Errorf("not blank: %v, suite %#x", s, s.CipherSuite())
			}
			k.spareOne(s)
			blank = s
			return sessioncb.Answer{}, nil
		})}, &AttachOptions{Existing: ReplaceExisting})
	h.start()
	h.finish(h.connect(client, got.last(t)))
	if blank == nil {
		t.Fatalf("the C program was not asked for its session: %+v", a.HandlerStats())
	}
	return blank
}
