package ssl

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// removals notes each removal. hook, if any, runs in the handler.
type removals struct {
	mu   sync.Mutex
	got  []removal
	hook func(s sessioncb.Session, r sessioncb.Removal)
}

type removal struct {
	ID     string
	Reason sessioncb.Reason
	Done   bool
	Fault  string
	Owner  string
}

func (l *removals) RemoveSession(_ context.Context, s sessioncb.Session, r sessioncb.Removal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := removal{ID: fmt.Sprintf("%x", s.ID()), Reason: r.Reason, Done: r.HandshakeDone, Owner: r.Context.Name()}
	if r.Err != nil {
		x.Fault = r.Err.Error()
	}
	if _, err := s.MarshalBinary(); err != sessioncb.ErrRemoved {
		x.Fault += fmt.Sprintf(" and it can be encoded: %v", err)
	}
	l.got = append(l.got, x)
	if l.hook != nil {
		l.hook(s, r)
	}
}

func (l *removals) list() []removal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]removal(nil), l.got...)
}

// announced is a NewHandler that notes ids, oldest first.
type announced struct {
	mu  sync.Mutex
	ids []string
}

func (l *announced) NewSession(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, fmt.Sprintf("%x", s.ID()))
	return false
}

func (l *announced) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ids[len(l.ids)-1]
}

// What OpenSSL itself removes on an SSL_CTX of C code, and what the binding can
// say of why: the C code's calls leave no trace but the error queue. Each is
// delivered once.
func TestAttachRemoval(t *testing.T) {
	vanish := func(h *host, c *Conn) {
		ended := h.Counts().Ended
		c.NetConn().Close() // without a close_notify
		h.ends(ended + 1)
	}
	for _, x := range []struct {
		name      string
		ignoreEOF bool
		end       func(h *host, c *Conn)
		removed   int
		reason    sessioncb.Reason
		fault     string // in TLS 1.2 and 1.3
	}{
		{name: "clean, by the client", end: func(h *host, c *Conn) { h.finish(c) }},
		{name: "clean, by the server", end: func(h *host, c *Conn) { h.order(c, 'Q') }},
		{name: "the peer vanishes", end: vanish, removed: 1, reason: sessioncb.Faulty, fault: "unexpected eof while reading"},
		{name: "the peer vanishes, SSL_OP_IGNORE_UNEXPECTED_EOF", ignoreEOF: true, end: vanish},
		{name: "SSL_free without SSL_shutdown", removed: 1,
			end: func(h *host, c *Conn) { h.order(c, 'F') }},
		{name: "SSL_free without SSL_shutdown, an old error in the queue", removed: 1,
			reason: sessioncb.Faulty, fault: "bad length", // it cannot be told from the error of this call
			end: func(h *host, c *Conn) { h.order(c, 'X') }},
		{name: "SSL_clear", removed: 1, end: func(h *host, c *Conn) { h.order(c, 'L') }},
		{name: "SSL_set_session", removed: 1, end: func(h *host, c *Conn) { h.order(c, 'S') }},
		{name: "SSL_CTX_remove_session", removed: 1, end: func(h *host, c *Conn) {
			if err := tell(c, 'R'); err != nil {
				h.t.Error(err)
			}
			h.finish(c)
		}},
		{name: "fatal alert received", removed: 1, reason: sessioncb.Faulty, fault: "alert",
			end: func(h *host, c *Conn) {
				ended := h.Counts().Ended
				c.Write([]byte{'G'})
				c.Read(make([]byte, 1)) // garbage: the client sends an alert
				h.ends(ended + 1)
			}},
		{name: "fatal alert sent", removed: 1, reason: sessioncb.Faulty,
			end: func(h *host, c *Conn) {
				ended := h.Counts().Ended
				c.NetConn().Write([]byte("this is no record of TLS, and long enough to be seen"))
				h.ends(ended + 1)
			}},
		{name: "SSL_CTX_flush_sessions of all", removed: 1,
			end: func(h *host, c *Conn) { h.finish(c); h.Flush(0) }},
		{name: "SSL_CTX_flush_sessions of what expired", removed: 1,
			end: func(h *host, c *Conn) { h.finish(c); h.Flush(time.Now().Unix() + 100000) }},
		{name: "SSL_CTX_flush_sessions of nothing",
			end: func(h *host, c *Conn) { h.finish(c); h.Flush(time.Now().Unix()) }},
		{name: "evicted", removed: 1, end: func(h *host, c *Conn) {
			h.finish(c)
			if n := h.Crowd(4); n != 4 {
				h.t.Errorf("%d sessions were added", n)
			}
		}},
		{name: "Attachment.RemoveSession", removed: 1, reason: sessioncb.Explicit, end: func(h *host, c *Conn) {
			h.finish(c)
			k := h.attached[0].SessionCallbacks().Get.(*keeper)
			for _, s := range k.kept {
				if ok, err := h.attached[0].RemoveSession(s); !ok || err != nil {
					h.t.Errorf("RemoveSession: %v, %v", ok, err)
				}
			}
		}},
		{name: "Attachment.FlushSessions of all", removed: 1, reason: sessioncb.Flushed, end: func(h *host, c *Conn) {
			h.finish(c)
			h.attached[0].FlushSessions(time.Time{})
		}},
		{name: "Attachment.FlushSessions", removed: 1, reason: sessioncb.Expired, end: func(h *host, c *Conn) {
			h.finish(c)
			h.attached[0].FlushSessions(time.Now().Add(24 * time.Hour))
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				balanced(t)
				h := newHost(t, chost.Options{
					Version: version, CacheMode: chost.CacheServer, CacheSize: 5, Tickets: 1,
					IgnoreUnexpectedEOF: x.ignoreEOF,
				})
				ids, list, k := &announced{}, &removals{}, newKeeper(t)
				a := h.attach(sessioncb.Callbacks{
					New: sessioncb.NewHandlerFunc(func(ctx context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
						ids.NewSession(ctx, c, s)
						return k.NewSession(ctx, c, s)
					}),
					Get: k, Remove: list,
				}, &AttachOptions{Name: "host"})
				h.start()
				client, _ := newClient(t, version)
				x.end(h, h.connect(client, nil))
				settleOf(a)

				var want []removal
				for range x.removed {
					want = append(want, removal{ID: ids.last(), Reason: x.reason, Fault: x.fault, Owner: "host"})
				}
				got := list.list()
				for i := range got {
					// The library words an alert by its kind.
					if x.reason == sessioncb.Faulty && got[i].Fault != "" && strings.Contains(got[i].Fault, x.fault) {
						got[i].Fault = x.fault
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("removals (-want +got):\n%s", d)
				}
			})
		})
	}
}

// Sessions that leave together are each delivered once.
func TestAttachRemovalsOnce(t *testing.T) {
	const sessions = 40
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.CacheServer, Tickets: 1, Threads: 4})
		ids, list := &announced{}, &removals{}
		a := h.attach(sessioncb.Callbacks{New: ids, Remove: list}, nil)
		h.start()
		client, _ := newClient(t, version)
		var wg sync.WaitGroup
		for range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range sessions / 4 {
					c, err := h.tryConnect(client, nil)
					if err != nil {
						t.Error(err)
						return
					}
					c.Close()
				}
			}()
		}
		// Two flushes race for the same sessions, on threads of their own.
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 20 {
					h.Flush(0)
					time.Sleep(time.Millisecond)
				}
			}()
		}
		wg.Wait()
		h.ends(sessions)
		h.Flush(0)
		settleOf(a)
		count := map[string]int{}
		for _, r := range list.list() {
			count[r.ID]++
		}
		want := map[string]int{}
		for _, id := range ids.ids {
			want[id] = 1
		}
		if len(want) != sessions {
			t.Errorf("%d sessions were announced, want %d", len(want), sessions)
		}
		if d := cmp.Diff(want, count); d != "" {
			t.Errorf("deliveries by session (-want +got):\n%s", d)
		}
	})
}

// A RemoveHandler may use the Attachment: no lock of OpenSSL is held, though
// the removal came from inside a flush by C code.
func TestAttachRemoveHandlerUsesContext(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.CacheServer, Tickets: 1})
		k := newKeeper(t)
		list := &removals{}
		var did []string
		list.hook = func(s sessioncb.Session, r sessioncb.Removal) {
			note := func(what string, ok bool, err error) {
				did = append(did, fmt.Sprintf("%s: %v, %v", what, ok, err))
			}
			if len(did) > 0 {
				return // the removal that RemoveSession below makes
			}
			kept := k.session(t, s.ID())
			ok, err := r.Context.AddSession(kept)
			note("add", ok, err)
			ok, err = r.Context.AddSession(kept) // another duplicate replaces the first
			note("add again", ok, err)
			ok, err = r.Context.RemoveSession(kept)
			note("remove", ok, err)
			err = r.Context.FlushSessions(time.Time{})
			note("flush", true, err)
		}
		a := h.attach(sessioncb.Callbacks{New: k, Remove: list}, nil)
		h.start()
		client, _ := newClient(t, version)
		h.finish(h.connect(client, nil))
		h.Flush(0)
		settleOf(a)
		want := []string{"add: true, <nil>", "add again: true, <nil>", "remove: true, <nil>", "flush: true, <nil>"}
		if d := cmp.Diff(want, did); d != "" {
			t.Errorf("inside the handler (-want +got):\n%s", d)
		}
		if n := h.Cached(); n != 0 {
			t.Errorf("%d sessions are cached", n)
		}
		var reasons []sessioncb.Reason
		for _, r := range list.list() {
			reasons = append(reasons, r.Reason)
		}
		if d := cmp.Diff([]sessioncb.Reason{sessioncb.Unknown, sessioncb.Explicit}, reasons); d != "" {
			t.Errorf("reasons (-want +got):\n%s", d)
		}
	})
}

// A RemoveHandler that panics or leaves its goroutine does not stop the others.
func TestAttachRemoveHandlerPanics(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.CacheServer, Tickets: 1})
		list := &removals{}
		n := 0
		list.hook = func(sessioncb.Session, sessioncb.Removal) {
			switch n++; n {
			case 1:
				panic("the handler fell over")
			case 2:
				goexit()
			}
		}
		var panics []string
		a := h.attach(sessioncb.Callbacks{Remove: list}, &AttachOptions{
			OnHandlerPanic: func(e *HandlerPanicError) { panics = append(panics, e.Error()) },
		})
		h.start()
		client, _ := newClient(t, version)
		for range 4 {
			h.finish(h.connect(client, nil))
		}
		h.Flush(0)
		settleOf(a)
		if len(list.list()) != 4 {
			t.Errorf("%d removals, want 4", len(list.list()))
		}
		want := []string{"ssl: Remove handler panicked: the handler fell over", "ssl: Remove handler called runtime.Goexit"}
		if d := cmp.Diff(want, panics); d != "" {
			t.Errorf("panics (-want +got):\n%s", d)
		}
		if d := cmp.Diff(HandlerStats{Panics: 2}, a.HandlerStats()); d != "" {
			t.Errorf("handler stats (-want +got):\n%s", d)
		}
	})
}
