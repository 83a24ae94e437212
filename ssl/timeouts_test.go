package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// Those that end in time leave the list, wherever they are in it, and the others are
// closed when theirs is over, one after the other.
func TestTimeouts(t *testing.T) {
	const each = 200 * time.Millisecond
	l := &timeouts{each: each}
	var all [5]timeout
	var peers [5]net.Conn
	var began [5]time.Time
	for i := range all {
		var nc net.Conn
		nc, peers[i] = net.Pipe()
		defer nc.Close()
		began[i] = time.Now()
		l.start(&all[i], nc)
		time.Sleep(each / 20)
	}
	for _, i := range []int{0, 2, 4} {
		if !l.stop(&all[i]) {
			t.Errorf("%d was over before its time", i)
		}
	}
	for _, i := range []int{1, 3} {
		peers[i].SetReadDeadline(time.Now().Add(patience))
		if _, err := peers[i].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d was not closed: %v", i, err)
		}
		if d := time.Since(began[i]); d < each {
			t.Errorf("%d was closed after %v", i, d)
		}
		if l.stop(&all[i]) {
			t.Errorf("%d was not over", i)
		}
	}
	for _, i := range []int{0, 2, 4} {
		peers[i].SetReadDeadline(time.Now())
		if _, err := peers[i].Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("%d was closed: %v", i, err)
		}
	}
	if l.first != nil || l.last != nil {
		t.Error("the list is not empty")
	}

	// The timer is set again for the next one.
	nc, peer := net.Pipe()
	l.start(&all[0], nc)
	peer.SetReadDeadline(time.Now().Add(patience))
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one after a pause was not closed: %v", err)
	}
}

// The handshake that ends by HandshakeTimeout says so; ConnectionState does
// not report a connection that has none.
func TestHandshakeTimeout(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			cfg := serverConfig()
			cfg.HandshakeTimeout = 50 * time.Millisecond
			_, b := sockets(t)
			s, err := Server(tr.wrap(b), newContext(t, cfg))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if st := s.ConnectionState(); st.HandshakeComplete || st.Version != 0 {
				t.Errorf("ConnectionState %+v", st)
			}
			if err := s.Handshake(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Handshake: %v", err)
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
		})
	}
}

// exitingStore's first lookup ends the goroutine that it is made on.
type exitingStore struct {
	*store
	exits bool
}

func (s *exitingStore) Immediate() bool { return true }

func (s *exitingStore) GetSession(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	if s.exits {
		s.exits = false
		goexit()
	}
	return s.store.GetSession(ctx, c, id)
}

// A handler in place that ends the handshake's goroutine takes it out of the list, and
// the next call goes on.
func TestTimeoutOfGoroutineThatEnded(t *testing.T) {
	st := &exitingStore{store: newStore()}
	cfg := serverConfig()
	cfg.SessionCallbacks = sessioncb.Callbacks{New: st, Get: st, Remove: st}
	cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
	cfg.HandshakeTimeout = 300 * time.Millisecond
	server := newContext(t, cfg)
	client, got := newClient(t, tls.VersionTLS13)
	s, c := connect(t, server, client, nil, func(c net.Conn) net.Conn { return c })
	exchange(t, s, c)
	c.Close()
	s.Close()

	st.exits = true
	a, b := sockets(t)
	s, err := Server(b, server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if c, err = Client(a, client, &ClientOptions{ServerName: "localhost", Session: got.last(t)}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	shook := make(chan error, 1)
	go func() { shook <- c.Handshake() }()
	ended := make(chan struct{})
	go func() { defer close(ended); s.Handshake() }()
	<-ended
	if st.exits {
		t.Fatal("the handler was not called")
	}
	if server.running.first != nil {
		t.Error("it is in the list")
	}
	if err := s.Handshake(); err != nil || !s.ConnectionState().DidResume {
		t.Errorf("the handshake that goes on: %v, resumed %v", err, s.ConnectionState().DidResume)
	}
	if err := <-shook; err != nil {
		t.Error(err)
	}
	time.Sleep(2 * cfg.HandshakeTimeout)
	exchange(t, s, c)
}
