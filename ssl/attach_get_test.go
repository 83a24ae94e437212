package ssl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// Whatever a GetHandler does on an attached SSL_CTX, the C server's handshake
// succeeds, and no reference is left or lost.
func TestAttachGet(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		blank := blankSession(t)
		for _, c := range getCases(version, blank) {
			for _, mode := range []struct {
				name string
				mode int
			}{{"external", chost.NoInternal}, {"internal", chost.NoLookup}} {
				t.Run(c.name+"/"+mode.name, func(t *testing.T) {
					balanced(t)
					attachedGet(t, version, c, mode.mode)
				})
			}
		}
	})
}

func attachedGet(t *testing.T, version uint16, c getCase, mode int) {
	k := newKeeper(t)
	h := newHost(t, chost.Options{Version: version, CacheMode: mode, Tickets: 1})
	panics := 0
	a := h.attach(sessioncb.Callbacks{New: k, Get: k}, &AttachOptions{
		Name: "get", LookupTimeout: c.lookup,
		OnHandlerPanic: func(e *HandlerPanicError) {
			panics++
			if e.Handler != "Get" {
				t.Errorf("the panic is said to be of %s", e.Handler)
			}
		},
	})
	h.start()
	client, got := newClient(t, version)
	h.finish(h.connect(client, nil))

	k.play(c)
	for i := range 2 {
		conn := h.connect(client, got.last(t))
		if resumed := conn.ConnectionState().DidResume; resumed != c.resumed {
			t.Errorf("round %d: resumed is %v, want %v: %+v", i, resumed, c.resumed, a.HandlerStats())
		}
		h.finish(conn)
		if i == 0 {
			want := c.stats
			if c.attached != nil {
				want = *c.attached
			}
			if d := cmp.Diff(want, a.HandlerStats()); d != "" {
				t.Errorf("handler stats (-want +got):\n%s", d)
			}
			if uint64(panics) != want.Panics {
				t.Errorf("OnHandlerPanic was called %d times, want %d", panics, want.Panics)
			}
		}
	}
	if n := k.lookups(); n != 2 {
		t.Errorf("the handler was asked %d times, want 2", n)
	}
	counts := h.Counts()
	resumed := uint64(0)
	if c.resumed {
		resumed = 2
	}
	if counts.Accepted != 3 || counts.Failed != 0 || counts.Resumed != resumed {
		t.Errorf("the C server: %+v, %q", counts, h.LastError())
	}
	k.finish()
}
