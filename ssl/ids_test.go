package ssl

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// numbered is a store whose sessions have the ids 1, 2, 3 ...
type numbered struct {
	*store
	made  atomic.Uint32
	what  func() // before each
	stops uint32 // after so many; 0: never
}

func (n *numbered) NewSessionID() (id [32]byte, ok bool) {
	if n.what != nil {
		n.what()
	}
	i := n.made.Add(1)
	binary.BigEndian.PutUint32(id[:], i)
	return id, n.stops == 0 || i <= n.stops
}

func (n *numbered) ids(t testing.TB) (list []uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.values {
		if len(id) != 32 {
			t.Errorf("an id of %d bytes", len(id))
		}
		if bytes.Equal([]byte(id)[4:], make([]byte, 28)) {
			list = append(list, binary.BigEndian.Uint32([]byte(id)))
		}
	}
	return list
}

// Every session of a server has an id that the handler made: of the handshake,
// of each ticket, and of tickets that are sent later. The sessions resume.
func TestSessionIDs(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		for _, tickets := range []int{1, 3} {
			n := &numbered{store: newStore()}
			cfg := serverConfig()
			cfg.SessionCallbacks = sessioncb.Callbacks{New: n.store, Get: n, Remove: n.store}
			cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, tickets
			server := newContext(t, cfg)
			client, got := newClient(t, version)
			s, c := connect(t, server, client, nil, wrap)
			exchange(t, s, c)
			want := tickets
			if version == versions[0] {
				want = 1
			} else if err := s.NewSessionTicket(); err != nil {
				t.Fatal(err)
			} else {
				exchange(t, s, c)
				want++
			}
			if list := n.ids(t); len(list) != want || len(n.values) != want {
				t.Errorf("%d tickets: %d sessions, with ids %v", tickets, len(n.values), list)
			}
			s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, wrap)
			exchange(t, s, c)
			if !s.ConnectionState().DidResume {
				t.Error("not resumed")
			}
		}
	})
}

// A handler that makes no id leaves it to OpenSSL, and one that panics does no
// harm.
func TestSessionIDsOfOpenSSL(t *testing.T) {
	for _, x := range []struct {
		name   string
		what   func()
		stops  uint32
		panics int32
	}{
		{"no more ids", nil, 1, 0},
		{"a panic", func() { panic("ouch") }, 0, 3},
		{"Goexit", goexit, 0, 3},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				n := &numbered{store: newStore(), what: x.what, stops: x.stops}
				var panics atomic.Int32
				cfg := serverConfig()
				cfg.SessionCallbacks = sessioncb.Callbacks{New: n.store, Get: n}
				cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
				cfg.OnHandlerPanic = func(e *HandlerPanicError) {
					if e.Handler == "NewSessionID" {
						panics.Add(1)
					}
				}
				server := newContext(t, cfg)
				client, got := newClient(t, version)
				var offer *Session
				for i := range 3 {
					s, c := connect(t, server, client, &ClientOptions{Session: offer}, nil)
					exchange(t, s, c)
					if resumed := s.ConnectionState().DidResume; resumed != (i > 0) {
						t.Errorf("connection %d: resumed %v", i, resumed)
					}
					offer = got.last(t)
				}
				if panics.Load() != x.panics {
					t.Errorf("%d panics, want %d", panics.Load(), x.panics)
				}
				if n := len(n.ids(t)); n != int(x.stops) {
					t.Errorf("%d sessions have ids of the handler, want %d", n, x.stops)
				}
			})
		})
	}
}

// Of several sessions that a client offers the first good one is looked up, and
// none behind it: a handler that takes what it answers with loses one.
func TestLookupsOneByOne(t *testing.T) {
	e := newHelloEnds(t)
	good := e.kept[1]
	other := bytes.Clone(good) // decodes, and has another id than any that is asked for
	hello := e.hellos[2]       // of TLS 1.3, with a session
	ids := [][]byte{bytes.Repeat([]byte("c"), 32), bytes.Repeat([]byte("b"), 32), bytes.Repeat([]byte("a"), 32)}
	for _, id := range ids {
		hello = withIdentity(t, hello, id) // each goes before the others
	}
	own := func() string {
		for id, der := range e.byID {
			if bytes.Equal(der, good) {
				return id
			}
		}
		return ""
	}()
	for _, x := range []struct {
		name   string
		answer map[string]sessioncb.Answer // by id
		asked  []string
	}{
		{"all absent", nil, []string{"a", "b", "c", own}},
		{"the last", map[string]sessioncb.Answer{own: sessioncb.DER(good)}, []string{"a", "b", "c", own}},
		{"one that is not for its id", map[string]sessioncb.Answer{"a": sessioncb.DER(other)}, []string{"a", "b", "c", own}},
		{"one that does not decode", map[string]sessioncb.Answer{"b": sessioncb.DER([]byte("0"))}, []string{"a", "b", "c", own}},
		{"a good one, bytes", map[string]sessioncb.Answer{"b": sessioncb.DER(renamed(t, good, ids[1]))}, []string{"a", "b"}},
		{"a good one, live", map[string]sessioncb.Answer{"a": sessioncb.Live(decoded(t, renamed(t, good, ids[2])))}, []string{"a"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			var asked []string
			cb := e.server.SessionCallbacks()
			cb.Get = sessioncb.GetHandlerFunc(func(_ context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
				if c.Version() != versions[1] {
					t.Errorf("version %#x", c.Version())
				}
				name := string(id)
				if bytes.Count(id, id[:1]) == 32 {
					name = name[:1]
				}
				asked = append(asked, name)
				return x.answer[name], nil
			})
			if err := e.server.SetSessionCallbacks(cb); err != nil {
				t.Fatal(err)
			}
			e.shake(t, hello)
			if len(asked) != len(x.asked) {
				t.Fatalf("asked for %q, want %q", asked, x.asked)
			}
			for i := range asked {
				if asked[i] != x.asked[i] {
					t.Errorf("asked for %q, want %q", asked, x.asked)
				}
			}
		})
	}
}

func decoded(t testing.TB, der []byte) *Session {
	t.Helper()
	v, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// renamed is the session under another id.
func renamed(t testing.TB, der, id []byte) []byte {
	t.Helper()
	v := decoded(t, der)
	v.use(func(b cshim.Session) { b.SSL_SESSION_set1_id(id) })
	return marshal(t, v)
}
