package ssl

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// viewer looks at the connection in each call, and again when the call is over.
type viewer struct {
	mu    sync.Mutex
	seen  map[string]view
	views []sessioncb.Conn
	kept  []sessioncb.Session
}

type view struct {
	ServerName string
	IsServer   bool
	Context    string
	NoAddr     bool
	NoSIDCtx   bool
}

func (v *viewer) look(handler string, c sessioncb.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen[handler] = view{c.ServerName(), c.IsServer(), c.Context().Name(), c.RemoteAddr() == nil, c.SessionIDContext() == nil}
	v.views = append(v.views, c)
}

func (v *viewer) NewSession(_ context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
	v.look("New", c)
	v.kept = append(v.kept, s)
	return false
}

func (v *viewer) GetSession(_ context.Context, c sessioncb.Conn, _ []byte) (sessioncb.Answer, error) {
	v.look("Get", c)
	return sessioncb.Answer{}, nil
}

// A handler sees the SSL of C code through a view that is dead after the call.
func TestAttachConnView(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.NoInternal, Tickets: 1})
		v := &viewer{seen: map[string]view{}}
		a := h.attach(sessioncb.Callbacks{New: v, Get: v}, &AttachOptions{Name: "the attachment"})
		h.start()
		client, got := newClient(t, version)
		h.finish(h.connect(client, nil))
		h.finish(h.connect(client, got.last(t)))
		alive := view{"localhost", true, "the attachment", true, true}
		if d := cmp.Diff(map[string]view{"New": alive, "Get": alive}, v.seen); d != "" {
			t.Errorf("inside the call (-want +got):\n%s", d)
		}
		for _, c := range v.views {
			if c.ServerName() != "" || c.IsServer() || c.Context() != sessioncb.Context(a) {
				t.Errorf("after the call: %q, %v, %v", c.ServerName(), c.IsServer(), c.Context())
			}
			if _, err := a.PriorGet(c, make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "is over") {
				t.Errorf("PriorGet after the call: %v", err)
			}
		}
		for _, s := range v.kept {
			if _, err := s.MarshalBinary(); err != sessioncb.ErrSessionClosed {
				t.Errorf("a session that was not kept, after the call: %v", err)
			}
		}
	})
}

// Attach refuses what it cannot do, and changes nothing then.
func TestAttachErrors(t *testing.T) {
	balanced(t)
	c := &calls{}
	all := sessioncb.Callbacks{New: c, Get: c, Remove: c}
	h := newHost(t, chost.Options{Version: 0x0304, CacheMode: chost.NoInternal})
	attached := newHost(t, chost.Options{Version: 0x0304})
	attached.attach(all, nil)
	closed := newHost(t, chost.Options{Version: 0x0304})
	closed.attach(all, nil).Close()
	withC := newHost(t, chost.Options{Version: 0x0304, Callbacks: chost.All})
	_, own := contextAndPointer(t, serverConfig())

	for _, x := range []struct {
		name string
		ctx  chost.Context
		cb   sessioncb.Callbacks
		o    *AttachOptions
		want string
	}{
		{"no SSL_CTX", chost.Context{}, all, nil, "the SSL_CTX is NULL"},
		{"no handler", h.Context(), sessioncb.Callbacks{}, nil, "no handler is given"},
		{"mode below", h.Context(), all, &AttachOptions{Existing: -1}, "Existing: unknown mode -1"},
		{"mode above", h.Context(), all, &AttachOptions{Existing: 3}, "Existing: unknown mode 3"},
		{"negative MaxHandlers", h.Context(), all, &AttachOptions{MaxHandlers: -1}, "MaxHandlers is negative: -1"},
		{"negative LookupTimeout", h.Context(), all, &AttachOptions{LookupTimeout: -1}, "LookupTimeout or StoreTimeout is negative"},
		{"negative StoreTimeout", h.Context(), all, &AttachOptions{StoreTimeout: -1}, "LookupTimeout or StoreTimeout is negative"},
		{"second", attached.Context(), all, nil, "the SSL_CTX has an attachment already"},
		{"second, replacing", attached.Context(), all, &AttachOptions{Existing: ReplaceExisting}, "the SSL_CTX has an attachment already"},
		{"after Close", closed.Context(), all, nil, "the SSL_CTX has an attachment already"},
		{"of a Context", own, all, nil, "the SSL_CTX is that of a Context"},
		{"C callbacks", withC.Context(), all, nil,
			"the SSL_CTX has C callbacks already: new, get, remove; say what to do about them with AttachOptions.Existing"},
		{"one C callback", withC.Context(), sessioncb.Callbacks{Get: c}, nil,
			"the SSL_CTX has C callbacks already: get; say what to do about them with AttachOptions.Existing"},
	} {
		t.Run(x.name, func(t *testing.T) {
			var before chost.Pointers
			if x.ctx != (chost.Context{}) {
				before = x.ctx.Pointers()
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			chost.PushError()
			a, err := Attach(x.ctx.SSLCTX(), x.cb, x.o)
			if !chost.ErrorIsMine() {
				t.Error("the error queue is not as it was")
			}
			chost.ClearErrors()
			if a != nil || err == nil || err.Error() != "ssl: attach: "+x.want {
				t.Errorf("got %v, %v; want %q", a, err, x.want)
			}
			if x.ctx != (chost.Context{}) && x.ctx.Pointers() != before {
				t.Error("a failed Attach changed the callbacks")
			}
		})
	}
}

// An SSL_CTX can be attached to again once it was restored.
func TestAttachAgain(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.NoLookup, Callbacks: chost.All, Tickets: 1})
		first, second := &calls{}, &calls{}
		o := &AttachOptions{Existing: ReplaceExisting, Exclusive: true}
		a := h.attach(sessioncb.Callbacks{New: first, Get: first, Remove: first}, o)
		a.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := a.Wait(ctx); err != nil {
			t.Errorf("Wait after Close: %v", err)
		}
		if h.Context().Pointers() != chost.OwnPointers() {
			t.Error("Close did not restore the C callbacks")
		}
		b := h.attach(sessioncb.Callbacks{New: second}, o)
		h.start()
		client, _ := newClient(t, version)
		h.finish(h.connect(client, nil))
		settleOf(b)
		if first.new.Load() != 0 || second.new.Load() != 1 || h.Counts().New != 0 {
			t.Errorf("first %v, second %v, C %+v", first.list(), second.list(), h.Counts())
		}
	})
}

// Attach, and what an Attachment does for its caller, leave the caller's error
// queue as it was.
func TestAttachErrorQueue(t *testing.T) {
	balanced(t)
	h := newHost(t, chost.Options{Version: 0x0304, CacheMode: chost.CacheServer, Tickets: 1})
	k := newKeeper(t)
	inGo := &calls{}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	chost.PushError()
	defer chost.ClearErrors()
	still := func(what string) {
		t.Helper()
		if !chost.ErrorIsMine() {
			t.Errorf("%s changed the error queue", what)
			chost.PushError()
		}
	}
	a := h.attach(sessioncb.Callbacks{New: k, Get: k, Remove: inGo}, &AttachOptions{Exclusive: true})
	still("Attach")
	h.start()
	client, got := newClient(t, 0x0304)
	h.finish(h.connect(client, nil))
	chost.PushError()
	h.Flush(0) // remove_session_cb on this thread
	still("a removal")
	settleOf(a)
	if n := inGo.remove.Load(); n != 1 {
		t.Errorf("%d removals, want 1", n)
	}
	s := got.last(t)
	if _, err := a.AddSession(s); err != nil {
		t.Error(err)
	}
	still("AddSession")
	if _, err := a.RemoveSession(s); err != nil {
		t.Error(err)
	}
	still("RemoveSession")
	if err := a.FlushSessions(time.Time{}); err != nil {
		t.Error(err)
	}
	still("FlushSessions")
	h.Stop()
	a.Close()
	still("Close")
}

// Methods of a closed Attachment say so.
func TestAttachClosed(t *testing.T) {
	balanced(t)
	h := newHost(t, chost.Options{Version: 0x0304})
	c := &calls{}
	a := h.attach(sessioncb.Callbacks{New: c}, nil)
	if err := a.SetSessionCallbacks(sessioncb.Callbacks{Get: c}); err == nil ||
		err.Error() != "ssl: set session callbacks: Attach did not register: get" {
		t.Errorf("a handler that was not registered: %v", err)
	}
	s := blankSession(t)
	a.Close()
	if err := a.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, addErr := a.AddSession(s)
	_, removeErr := a.RemoveSession(s)
	for name, err := range map[string]error{
		"AddSession": addErr, "RemoveSession": removeErr,
		"FlushSessions":       a.FlushSessions(time.Time{}),
		"SetSessionCallbacks": a.SetSessionCallbacks(sessioncb.Callbacks{}),
		"PriorRemove":         a.PriorRemove(s),
	} {
		if err != ErrAttachmentClosed {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a.Stats() != (Stats{}) || a.HandlerStats() != (HandlerStats{}) || a.Prior() != (CPointers{}) {
		t.Error("counters of a closed attachment")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := a.Wait(ctx); err != context.DeadlineExceeded {
		t.Errorf("Wait while C holds the SSL_CTX: %v", err)
	}
}
