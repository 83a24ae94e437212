package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
)

// keptSession is a server that has made one session, and the client's end of it.
func keptSession(t *testing.T, version uint16, get sessioncb.GetHandlerFunc) (server, client *Context, st *store, offer *Session) {
	t.Helper()
	st = newStore()
	cfg := serverConfig()
	cfg.SessionCallbacks = st.callbacks()
	cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
	cfg.LookupTimeout = patience
	server = newContext(t, cfg)
	client, got := newClient(t, version)
	s, c := connect(t, server, client, nil, nil)
	exchange(t, s, c)
	s.Close()
	c.Close()
	cb := st.callbacks()
	cb.Get = get
	if err := server.SetSessionCallbacks(cb); err != nil {
		t.Fatal(err)
	}
	return server, client, st, got.last(t)
}

// parsed returns the stored session of this id, or nil. The caller owns it.
func (s *store) parsed(t *testing.T, id []byte) *Session {
	s.mu.Lock()
	der := s.values[string(id)]
	s.mu.Unlock()
	if der == nil {
		return nil
	}
	v, err := ParseSession(der)
	if err != nil {
		t.Error(err)
	}
	return v
}

// A live answer is the handler's, who may close it while the handshake waits
// to use it, after a deadline too.
func TestLiveAnswerIsClosedEarly(t *testing.T) {
	for _, row := range []struct {
		name string
		// cut makes the step after the lookup meet a deadline; it runs in the handler.
		cut func(s *Conn) (goOn func())
	}{
		{"at the transport", func(s *Conn) func() {
			s.NetConn().SetReadDeadline(time.Now().Add(-time.Second))
			return func() {}
		}},
		{"at the gate", func(s *Conn) func() {
			free := steps.fill()
			return func() {
				waiters(t, &steps, 1)
				s.NetConn().SetReadDeadline(time.Now().Add(-time.Second))
				free()
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
				balanced(t)
				var live *Session
				var st *store
				var goOn func()
				asked := make(chan struct{})
				get := func(_ context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
					live = st.parsed(t, id)
					goOn = row.cut(c.(*Conn))
					close(asked)
					return sessioncb.Live(live), nil
				}
				var server, client *Context
				var offer *Session
				server, client, st, offer = keptSession(t, version, get)
				s, c := pair(t, server, client, &ClientOptions{Session: offer}, wrap)
				serverDone, clientDone := make(chan error, 1), make(chan error, 1)
				go func() { clientDone <- c.Handshake() }()
				go func() { serverDone <- s.Handshake() }()
				<-asked
				goOn()
				if err := <-serverDone; !isTimeout(err) {
					t.Fatalf("Handshake at the deadline: %v", err)
				}
				if err := live.Close(); err != nil {
					t.Error(err)
				}
				if _, err := live.MarshalBinary(); !errors.Is(err, sessioncb.ErrSessionClosed) {
					t.Errorf("the owner's session after Close: %v", err)
				}
				s.SetReadDeadline(time.Now().Add(patience))
				if err := s.Handshake(); err != nil {
					t.Fatalf("the handshake that goes on: %v", err)
				}
				if err := <-clientDone; err != nil {
					t.Fatal(err)
				}
				exchange(t, s, c)
				if !s.ConnectionState().DidResume || !c.ConnectionState().DidResume {
					t.Errorf("not resumed: %+v", server.HandlerStats())
				}
				gateIsFree(t)
			})
		})
	}
}

// A ClientHello can name several sessions, and a handler can have one live
// session as the answer to all: each id gets a copy, and the owner's Close
// waits for nothing.
func TestLiveAnswerToSeveralIDs(t *testing.T) {
	strange := [][]byte{bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 32)}
	for _, row := range []struct {
		name     string
		closeAt  int // the call of the handler in which the owner closes; 0: none
		hits     int64
		expected string // the handshake's error
	}{
		// The binder of a ClientHello that was changed is wrong; it is checked
		// when a session was found.
		{"owned throughout", 0, 1, "binder does not verify"},
		// A closed session is a miss, and nobody answers the full handshake.
		{"closed in the first call", 1, 0, "unexpected EOF"},
		{"closed in the second call", 2, 0, "unexpected EOF"},
		{"closed in the third call", 3, 0, "unexpected EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			balanced(t)
			var live *Session
			var st *store
			var ids []string
			get := func(ctx context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
				ids = append(ids, string(id))
				if len(ids) == row.closeAt {
					closed := make(chan struct{})
					go func() { live.Close(); close(closed) }()
					select {
					case <-closed:
					case <-ctx.Done():
						t.Error("the owner's Close waits for the handshake")
					}
				}
				return sessioncb.Live(live), nil
			}
			var server, client *Context
			var offer *Session
			server, client, st, offer = keptSession(t, tls.VersionTLS13, get)
			id := onlyKey(t, st)
			live = st.parsed(t, id)
			defer live.Close()
			hello := recordHello(t, client, offer)
			for _, x := range strange {
				hello = withIdentity(t, hello, x)
			}
			s, err := Server(&flight{in: hello}, server)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			err = s.Handshake()
			if err == nil || !strings.Contains(err.Error(), row.expected) {
				t.Errorf("Handshake: %v, want %q", err, row.expected)
			}
			if d := cmp.Diff([]string{string(strange[1]), string(strange[0]), string(id)}, ids); d != "" {
				t.Errorf("asked for (-want +got):\n%s", d)
			}
			if got := server.HandlerStats(); row.closeAt == 0 {
				if d := cmp.Diff(HandlerStats{WrongID: 2}, got); d != "" {
					t.Errorf("handler stats (-want +got):\n%s", d)
				}
			}
			if n := server.Stats().CallbackHits; n != row.hits {
				t.Errorf("%d sessions were found, want %d", n, row.hits)
			}
		})
	}
}

// onlyKey returns the id of the only session that is stored.
func onlyKey(t *testing.T, s *store) []byte {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.values) != 1 {
		t.Fatalf("%d sessions are stored, want 1", len(s.values))
	}
	for id := range s.values {
		return []byte(id)
	}
	return nil
}

// Owners of one SSL_SESSION use it from several goroutines: what one writes the
// others see whole.
func TestSessionFromManyGoroutines(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		client, got := newClient(t, version)
		s, c := connect(t, newContext(t, serverConfig()), client, nil, nil)
		exchange(t, s, c)
		first := got.last(t)
		second, err := first.Retain()
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		owners := []*Session{first, second.(*Session)}

		// One byte, again and again, and never the same length in a row.
		value := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%7)}, 50+i%7*3000) }
		whole := func(data []byte) error {
			if len(data) == 0 || !bytes.Equal(data, value(int(data[0]-'a'))) {
				return fmt.Errorf("%d bytes of %.1q", len(data), data)
			}
			return nil
		}
		if err := first.SetTicketAppData(value(0)); err != nil {
			t.Fatal(err)
		}
		// check closes v.
		check := func(v *Session, err error) error {
			if err != nil {
				return err
			}
			defer v.Close()
			return whole(v.TicketAppData())
		}
		var wg sync.WaitGroup
		const rounds = 400
		for _, v := range owners {
			for _, op := range []struct {
				name string
				f    func(i int) error
			}{
				{"SetTicketAppData", func(i int) error { return v.SetTicketAppData(value(i)) }},
				{"TicketAppData", func(int) error { return whole(v.TicketAppData()) }},
				{"MarshalBinary", func(int) error {
					der, err := v.MarshalBinary()
					if err != nil {
						return err
					}
					return check(ParseSession(der))
				}},
				{"Dup", func(int) error { return check(v.Dup()) }},
				{"Retain", func(i int) error {
					r, err := v.Retain()
					if err != nil {
						return err
					}
					return errors.Join(r.(*Session).SetTicketAppData(value(i)), check(r.(*Session), nil))
				}},
			} {
				wg.Go(func() {
					for i := range rounds {
						if err := op.f(i); err != nil {
							t.Errorf("%s: %v", op.name, err)
							return
						}
					}
				})
			}
		}
		wg.Wait()
	})
}
