package ssl

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// slowNew is a NewHandler that waits until it is let go.
type slowNew struct {
	called chan struct{}
	letGo  chan struct{}
	ctxErr chan error
}

func newSlowNew() *slowNew {
	return &slowNew{make(chan struct{}, 8), make(chan struct{}), make(chan error, 8)}
}

func (s *slowNew) NewSession(ctx context.Context, _ sessioncb.Conn, _ sessioncb.Session) bool {
	s.called <- struct{}{}
	select {
	case <-s.letGo:
		s.ctxErr <- nil
	case <-ctx.Done():
		s.ctxErr <- ctx.Err()
	}
	return false
}

// No client holds a session that is not stored yet: the ticket of TLS 1.3 and
// the server's Finished of TLS 1.2 leave after the New handler returned.
func TestNothingLeavesBeforeNewReturned(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		h := newSlowNew()
		cfg := serverConfig()
		cfg.SessionCallbacks.New = h
		cfg.Tickets = TicketsStateful
		cfg.NumTickets = 1
		server := newContext(t, cfg)
		client, got := newClient(t, version)
		s, c := pair(t, server, client, nil, wrap)
		serverDone, clientDone := make(chan error, 1), make(chan error, 1)
		go func() { serverDone <- s.Handshake() }()
		go func() {
			err := c.Handshake()
			if err == nil && version == 0x0304 {
				// TLS 1.3 is finished for the client before the ticket; the ticket
				// comes with a Read, which must wait.
				c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				_, err = c.Read(make([]byte, 1))
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					err = errors.New("the client's Read returned before the deadline: " + err.Error())
				} else {
					err = nil
				}
			}
			clientDone <- err
		}()
		<-h.called
		if version == 0x0303 {
			select {
			case err := <-clientDone:
				t.Fatalf("the client finished while the handler ran: %v", err)
			case <-time.After(300 * time.Millisecond):
			}
		} else if err := <-clientDone; err != nil {
			t.Fatal(err)
		}
		got.mu.Lock()
		early := len(got.list)
		got.mu.Unlock()
		if early != 0 {
			t.Fatalf("the client has %d sessions while the handler runs", early)
		}
		select {
		case err := <-serverDone:
			t.Fatalf("the server's Handshake returned while the handler ran: %v", err)
		default:
		}
		close(h.letGo)
		if err := <-serverDone; err != nil {
			t.Fatal(err)
		}
		if version == 0x0303 {
			if err := <-clientDone; err != nil {
				t.Fatal(err)
			}
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		exchange(t, s, c)
		got.last(t)
	})
}

// A New handler that does not return in time does not hold the connection, and
// goes on with a session of its own.
func TestNewHandlerLate(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Add(1) // one session is announced
		cfg := serverConfig()
		cfg.StoreTimeout = 50 * time.Millisecond
		cfg.Tickets = TicketsStateful
		cfg.NumTickets = 1
		cfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(func(ctx context.Context, _ sessioncb.Conn, v sessioncb.Session) bool {
			defer wg.Done()
			<-release
			if ctx.Err() == nil {
				t.Error("the handler's context has not ended")
			}
			if _, err := v.MarshalBinary(); err != nil {
				t.Errorf("encoding in a late handler: %v", err)
			}
			return false
		})
		server := newContext(t, cfg)
		client, _ := newClient(t, version)
		s, c := connect(t, server, client, nil, wrap)
		exchange(t, s, c)
		if n := server.HandlerStats().Late; n != 1 {
			t.Errorf("%d handlers were late, want 1", n)
		}
		s.Close()
		c.Close()
		close(release)
		wg.Wait()
	})
}

// A ticket that NewSessionTicket queues is stored before Write sends it.
func TestNewSessionTicket(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			st := newStore()
			cfg := serverConfig()
			cfg.SessionCallbacks = st.callbacks()
			cfg.Tickets = TicketsStateful
			cfg.NumTickets = 1
			cfg.SessionCacheMode = CacheExternal
			server := newContext(t, cfg)
			client, got := newClient(t, 0x0304)
			s, c := connect(t, server, client, nil, tr.wrap)
			exchange(t, s, c)
			if err := s.NewSessionTicket(); err != nil {
				t.Fatal(err)
			}
			exchange(t, s, c)
			if news, _, _ := st.counts(); news != 2 {
				t.Errorf("%d sessions stored, want 2", news)
			}
			got.mu.Lock()
			n := len(got.list)
			got.mu.Unlock()
			if n != 2 {
				t.Errorf("the client has %d sessions, want 2", n)
			}
			if err := c.NewSessionTicket(); err == nil {
				t.Error("a client could queue a ticket")
			}
		})
	}
}

// What a New handler keeps is a private object, alive after all else is gone.
func TestNewHandlerKeeps(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		var kept, refused *Session
		cfg := serverConfig()
		cfg.Tickets = TicketsStateful
		cfg.NumTickets = 2
		cfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(func(_ context.Context, _ sessioncb.Conn, v sessioncb.Session) bool {
			if kept == nil {
				kept = v.(*Session)
				return true
			}
			refused = v.(*Session)
			return false
		})
		server := newContext(t, cfg)
		client, _ := newClient(t, version)
		s, c := connect(t, server, client, nil, nil)
		exchange(t, s, c)
		c.Close()
		s.Close()
		server.Close()
		defer kept.Close()
		if der, err := kept.MarshalBinary(); err != nil || len(der) == 0 {
			t.Errorf("a kept session: %d bytes, %v", len(der), err)
		}
		if version == 0x0304 {
			if _, err := refused.MarshalBinary(); !errors.Is(err, sessioncb.ErrSessionClosed) {
				t.Errorf("a session that was not kept: %v, want ErrSessionClosed", err)
			}
			if len(refused.ID()) != 32 {
				t.Error("its snapshot is gone")
			}
		}
	})
}
