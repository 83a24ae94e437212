package ssl

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// closing is all three handlers, each of which takes a moment. It knows when
// Close has returned, and notes a call that runs after that.
type closing struct {
	running, late        atomic.Int64
	news, gets, removals atomic.Int64
	closed               atomic.Bool
}

func (c *closing) enter() func() {
	if c.closed.Load() {
		c.late.Add(1)
	}
	c.running.Add(1)
	time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
	return func() {
		if c.closed.Load() {
			c.late.Add(1)
		}
		c.running.Add(-1)
	}
}

func (c *closing) NewSession(ctx context.Context, conn sessioncb.Conn, s sessioncb.Session) bool {
	defer c.enter()()
	c.news.Add(1)
	return false
}

func (c *closing) GetSession(ctx context.Context, conn sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	defer c.enter()()
	c.gets.Add(1)
	return sessioncb.Answer{}, nil
}

func (c *closing) RemoveSession(ctx context.Context, s sessioncb.Session, r sessioncb.Removal) {
	defer c.enter()()
	c.removals.Add(1)
}

// Close while C threads shake hands: every session is announced to Go or to C,
// every id is asked of Go or of C, and Go sees no call once Close returned.
func TestAttachCloseUnderHandshakes(t *testing.T) {
	const threads, clients, visits = 8, 8, 12
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, mode := range []Existing{ReplaceExisting, ChainExisting} {
			t.Run(map[Existing]string{ReplaceExisting: "replaced", ChainExisting: "chained"}[mode], func(t *testing.T) {
				balanced(t)
				h := newHost(t, chost.Options{
					Version: version, CacheMode: chost.NoInternal, Tickets: 1,
					Callbacks: chost.All, Copy: chost.Copy1, Threads: threads,
				})
				in := &closing{}
				a := h.attach(sessioncb.Callbacks{New: in, Get: in, Remove: in}, &AttachOptions{Existing: mode})
				h.start()

				var offers, visited atomic.Int64
				var wg sync.WaitGroup
				half := make(chan struct{})
				var once sync.Once
				for i := range clients {
					client, got := newClient(t, version)
					wg.Add(1)
					go func() {
						defer wg.Done()
						for j := range visits {
							if visited.Add(1) == clients*visits/2 {
								once.Do(func() { close(half) })
							}
							var s *Session
							if j%3 > 0 {
								s = got.last(t)
								offers.Add(1)
							}
							c, err := h.tryConnect(client, s)
							if err != nil {
								t.Errorf("client %d, visit %d: %v; the C server says %q", i, j, err, h.LastError())
								return
							}
							if j%4 == 3 {
								c.Write([]byte{'F'}) // a removal
							}
							c.Close()
						}
					}()
				}
				<-half
				a.Close()
				in.closed.Store(true)
				if n := in.running.Load(); n != 0 {
					t.Errorf("%d handlers run after Close", n)
				}
				settled := h.Counts()
				wg.Wait()
				h.ends(clients * visits)
				h.Stop()

				if n := in.late.Load(); n != 0 {
					t.Errorf("%d calls of handlers after Close", n)
				}
				counts := h.Counts()
				full := counts.Accepted - counts.Resumed
				announced := int64(announcedBy(version, full, counts.Resumed))
				check := func(what string, inGo, inC, want int64) {
					t.Helper()
					t.Logf("%s: Go %d, C %d, expected %d", what, inGo, inC, want)
					// A call that ran while Close began can end in both, for Replace;
					// a chained one is always in C too.
					if mode == ChainExisting {
						if inC != want || inGo > want {
							t.Errorf("%s: C %d, want %d; Go %d", what, inC, want, inGo)
						}
						return
					}
					if inGo+inC < want || inGo+inC > want+threads {
						t.Errorf("%s: Go %d and C %d, want %d in all and at most %d twice", what, inGo, inC, want, threads)
					}
				}
				check("announced", in.news.Load(), int64(counts.New), announced)
				check("asked for", in.gets.Load(), int64(counts.Get), offers.Load())
				check("removed", in.removals.Load(), int64(counts.Remove), clients*visits/4)
				if in.news.Load() == 0 || counts.New == settled.New {
					t.Errorf("Close was not in the middle: Go %d; C %d before, %d after", in.news.Load(), settled.New, counts.New)
				}
				if counts.Failed != 0 {
					t.Errorf("%d handshakes failed: %s", counts.Failed, h.LastError())
				}
			})
		}
	})
}

// Handlers that use the Attachment while Close waits for them are not made to
// wait for Close.
func TestAttachCloseWaitsForBusyHandler(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.CacheServer, Tickets: 1})
		inside, goOn := make(chan struct{}), make(chan struct{})
		var a *Attachment
		var used error
		done := false
		handler := sessioncb.NewHandlerFunc(func(_ context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
			close(inside)
			<-goOn
			used = c.Context().FlushSessions(time.Now())
			a.Stats()
			done = true
			return false
		})
		a = h.attach(sessioncb.Callbacks{New: handler}, &AttachOptions{StoreTimeout: patience})
		h.start()
		client, _ := newClient(t, version)
		connected := make(chan error, 1)
		go func() {
			c, err := h.tryConnect(client, nil)
			if err == nil {
				c.Close()
			}
			connected <- err
		}()
		<-inside
		closed := make(chan struct{})
		go func() {
			a.Close()
			close(closed)
		}()
		eventually(t, "Close began", func() bool {
			a.side.foreign.mu.Lock()
			defer a.side.foreign.mu.Unlock()
			return a.side.foreign.closed
		})
		select {
		case <-closed:
			t.Error("Close did not wait for the handler")
		default:
		}
		close(goOn)
		select {
		case <-closed:
		case <-time.After(patience / 3):
			t.Fatal("the handler waits for Close, and Close for the handler")
		}
		if !done {
			t.Error("Close returned before the handler")
		}
		if used != nil && used != ErrAttachmentClosed {
			t.Errorf("FlushSessions while Close waits: %v", used)
		}
		if err := <-connected; err != nil {
			t.Errorf("the handshake: %v", err)
		}
	})
}

// The owner may drop its SSL_CTX before the Attachment is closed, and the last
// reference then goes with Close, with the removals of what is cached.
func TestAttachOutlivesOwner(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("exclusive %v", exclusive), func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				balanced(t)
				h := newHost(t, chost.Options{Version: version, CacheMode: chost.CacheServer, Tickets: 1})
				removed := &removals{}
				a := h.attach(sessioncb.Callbacks{Remove: removed}, &AttachOptions{Exclusive: exclusive})
				h.start()
				client, _ := newClient(t, version)
				h.finish(h.connect(client, nil))
				h.drop()
				if n := a.Stats().Number; n != 1 {
					t.Errorf("%d sessions are cached, want 1", n)
				}
				a.Close()
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := a.Wait(ctx); err != nil {
					t.Errorf("the SSL_CTX is not gone: %v", err)
				}
				// Detached first: what goes with the SSL_CTX is no event any more.
				if list := removed.list(); len(list) != 0 {
					t.Errorf("removals after Close: %v", list)
				}
			})
		})
	}
}
