package ssl

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
)

// An inPlaceStore is a store whose calls never wait, some of which panic.
type inPlaceStore struct {
	*store
	newPanics, getPanics bool
}

func (s *inPlaceStore) Immediate() bool { return true }

func (s *inPlaceStore) NewSession(ctx context.Context, c sessioncb.Conn, v sessioncb.Session) bool {
	if s.newPanics {
		panic("of New")
	}
	return s.store.NewSession(ctx, c, v)
}

func (s *inPlaceStore) GetSession(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	if s.getPanics {
		panic("of Get")
	}
	return s.store.GetSession(ctx, c, id)
}

// An immediate handler is called on the handshake's goroutine. Its panic is a
// miss, or a session that is not kept, and reported as any handler's; the
// handshake goes on, and the next is sound.
func TestImmediateHandlerPanics(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		for _, of := range []string{"New", "Get"} {
			t.Run(of, func(t *testing.T) {
				balanced(t)
				st := &inPlaceStore{store: newStore()}
				var told []*HandlerPanicError
				cfg := serverConfig()
				cfg.SessionCallbacks = sessioncb.Callbacks{New: st, Get: st, Remove: st}
				cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
				cfg.OnHandlerPanic = func(e *HandlerPanicError) { told = append(told, e) }
				server := newContext(t, cfg)
				client, got := newClient(t, version)
				serve := func(offer *Session) *Conn {
					s, c := connect(t, server, client, &ClientOptions{Session: offer}, wrap)
					exchange(t, s, c)
					c.Close()
					return s
				}
				serve(nil).Close()
				offer := got.last(t)

				st.newPanics, st.getPanics = of == "New", of == "Get"
				if of == "New" {
					offer = nil
				}
				s := serve(offer)
				if s.ConnectionState().DidResume {
					t.Error("resumed after a panic")
				}
				report := s.HandlerErrors()
				s.Close()
				var e *HandlerPanicError
				if len(report) != 1 || !errors.As(report[0], &e) || e.Handler != of || e.Value != "of "+of {
					t.Errorf("HandlerErrors: %v", report)
				} else if len(told) != 1 || told[0] != e {
					t.Errorf("OnHandlerPanic was told %v", told)
				} else if !strings.Contains(string(e.Stack), "(*Conn).Handshake") {
					t.Errorf("not called on the handshake's goroutine:\n%s", e.Stack)
				}
				if n := server.HandlerStats(); n.Panics != 1 || of == "Get" && n.Errors != 1 {
					t.Errorf("%+v", n)
				}

				st.newPanics, st.getPanics = false, false
				serve(nil).Close()
				s = serve(got.last(t))
				if !s.ConnectionState().DidResume || len(s.HandlerErrors()) != 0 {
					t.Errorf("afterwards: resumed is %v, %v", s.ConnectionState().DidResume, s.HandlerErrors())
				}
				s.Close()
				gateIsFree(t)
				poolIsFree(t)
			})
		}
	})
}
