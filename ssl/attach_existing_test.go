package ssl

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// eachStore runs f for all ways in which a C program keeps and answers.
func eachStore(t *testing.T, f func(t *testing.T, version uint16, o chost.Options)) {
	keeps := map[chost.Keep]string{chost.References: "references", chost.DER: "DER"}
	copies := map[chost.Copy]string{chost.Copy0: "copy 0", chost.Copy1: "copy 1", chost.CopyUnwritten: "copy unwritten"}
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, keep := range []chost.Keep{chost.References, chost.DER} {
			for _, cp := range []chost.Copy{chost.Copy0, chost.Copy1, chost.CopyUnwritten} {
				t.Run(fmt.Sprintf("%s, %s", keeps[keep], copies[cp]), func(t *testing.T) {
					balanced(t)
					f(t, version, chost.Options{
						Version: version, CacheMode: chost.NoInternal, Tickets: 1,
						Callbacks: chost.All, Keep: keep, Copy: cp,
					})
				})
			}
		}
	})
}

// A resumption announces another session in TLS 1.3 alone.
func announcedBy(version uint16, full, resumed uint64) uint64 {
	if version == 0x0304 {
		return full + resumed
	}
	return full
}

// ChainExisting: Go first, then C, each with references of its own.
func TestAttachChain(t *testing.T) {
	eachStore(t, func(t *testing.T, version uint16, o chost.Options) {
		h := newHost(t, o)
		k := newKeeper(t)
		inGo := &calls{}
		a := h.attach(sessioncb.Callbacks{New: k, Get: k, Remove: inGo}, &AttachOptions{Existing: ChainExisting})
		h.start()
		client, got := newClient(t, version)
		h.finish(h.connect(client, nil))

		// The Go handler has nothing: the C program does.
		c := h.connect(client, got.last(t))
		if !c.ConnectionState().DidResume {
			t.Error("not resumed from the C program's store")
		}
		h.finish(c)
		if n := h.Counts().Get; n != 1 || k.lookups() != 1 {
			t.Errorf("C was asked %d times, Go %d times, want 1 and 1", n, k.lookups())
		}

		// The Go handler has it: the C program is not asked.
		k.play(getCase{answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.Live(k.session(t, id)), nil
		}})
		c = h.connect(client, got.last(t))
		if !c.ConnectionState().DidResume {
			t.Errorf("not resumed from the Go handler: %+v", a.HandlerStats())
		}
		if n := h.Counts().Get; n != 1 {
			t.Errorf("C was asked %d times, want 1", n)
		}
		stored := h.Counts().Stored
		h.order(c, 'F') // both are told of the removal
		settleOf(a)
		counts := h.Counts()
		want := chost.Counts{
			New: announcedBy(version, 1, 2), Get: 1, Remove: 1,
			Accepted: 3, Resumed: 2, Ended: 3, Stored: stored - 1,
		}
		if d := cmp.Diff(want, counts); d != "" {
			t.Errorf("the C program (-want +got):\n%s", d)
		}
		if n := inGo.remove.Load(); n != 1 {
			t.Errorf("Go was told of %d removals, want 1", n)
		}
	})
}

// A Go handler that finds something unusable does not hide what C has.
func TestAttachChainAfterRefusal(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		h := newHost(t, chost.Options{Version: version, CacheMode: chost.NoInternal, Tickets: 1, Callbacks: chost.New | chost.Get})
		k := newKeeper(t)
		a := h.attach(sessioncb.Callbacks{Get: k}, &AttachOptions{Existing: ChainExisting})
		h.start()
		client, got := newClient(t, version)
		h.finish(h.connect(client, nil))
		k.play(getCase{answer: func(testing.TB, *keeper, context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
			return sessioncb.DER([]byte("rubbish")), nil
		}})
		c := h.connect(client, got.last(t))
		if !c.ConnectionState().DidResume {
			t.Error("not resumed")
		}
		if d := cmp.Diff(HandlerStats{Malformed: 1}, a.HandlerStats()); d != "" {
			t.Errorf("handler stats (-want +got):\n%s", d)
		}
		if n := h.Counts().New; n != announcedBy(version, 1, 1) {
			t.Errorf("the C callback that was not attached to was called %d times", n)
		}
	})
}

// chainer calls the C functions itself, under ReplaceExisting.
type chainer struct {
	t        testing.TB
	a        *Attachment
	encode   bool // answers with bytes, else with the session itself
	k        *keeper
	kept     atomic.Int64
	removals atomic.Int64
}

func (c *chainer) NewSession(_ context.Context, conn sessioncb.Conn, s sessioncb.Session) bool {
	kept, err := c.a.PriorNew(conn, s)
	if err != nil {
		c.t.Errorf("PriorNew: %v", err)
	}
	if kept {
		c.kept.Add(1)
	}
	return false
}

func (c *chainer) GetSession(_ context.Context, conn sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	s, err := c.a.PriorGet(conn, id)
	if err != nil {
		c.t.Errorf("PriorGet: %v", err)
	}
	if s == nil {
		return sessioncb.Answer{}, err
	}
	if c.encode {
		defer s.Close()
		return sessioncb.DER(marshal(c.t, s)), nil
	}
	c.k.spareOne(s)
	return sessioncb.Live(s), nil
}

func (c *chainer) RemoveSession(_ context.Context, s sessioncb.Session, _ sessioncb.Removal) {
	if err := c.a.PriorRemove(s); err != nil {
		c.t.Errorf("PriorRemove: %v", err)
	}
	c.removals.Add(1)
}

// ReplaceExisting with handlers that call the C functions: the C store works
// as before, with its own rule of references.
func TestAttachPrior(t *testing.T) {
	eachStore(t, func(t *testing.T, version uint16, o chost.Options) {
		for _, encode := range []bool{false, true} {
			h := newHost(t, o)
			c := &chainer{t: t, k: newKeeper(t), encode: encode}
			c.a = h.attach(sessioncb.Callbacks{New: c, Get: c, Remove: c}, &AttachOptions{Existing: ReplaceExisting})
			h.start()
			client, got := newClient(t, version)
			h.finish(h.connect(client, nil))
			for range 2 {
				conn := h.connect(client, got.last(t))
				if !conn.ConnectionState().DidResume {
					t.Errorf("not resumed: %+v", c.a.HandlerStats())
				}
				h.finish(conn)
			}
			news := announcedBy(version, 1, 2)
			if n := h.Counts(); n.New != news || n.Get != 2 || n.Stored != int64(news) {
				t.Errorf("the C program: %+v", n)
			}
			want := int64(0)
			if o.Keep == chost.References {
				want = int64(news)
			}
			if n := c.kept.Load(); n != want {
				t.Errorf("PriorNew said %d times that C kept the session, want %d", n, want)
			}
			conn := h.connect(client, got.last(t))
			stored := h.Counts().Stored
			h.order(conn, 'F')
			settleOf(c.a)
			if n := h.Counts(); n.Remove != 1 || c.removals.Load() != 1 || n.Stored != stored-1 {
				t.Errorf("after a removal: %+v, Go %d", n, c.removals.Load())
			}
			if d := cmp.Diff(HandlerStats{}, c.a.HandlerStats()); d != "" {
				t.Errorf("handler stats (-want +got):\n%s", d)
			}
		}
	})
}

// Where there is no C function the calls do nothing.
func TestAttachPriorOfNothing(t *testing.T) {
	balanced(t)
	h := newHost(t, chost.Options{Version: 0x0303, CacheMode: chost.NoInternal})
	var a *Attachment
	asked := 0
	a = h.attach(sessioncb.Callbacks{
		New: sessioncb.NewHandlerFunc(func(_ context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
			asked++
			if kept, err := a.PriorNew(c, s); kept || err != nil {
				t.Errorf("PriorNew: %v, %v", kept, err)
			}
			if s, err := a.PriorGet(c, s.ID()); s != nil || err != nil {
				t.Errorf("PriorGet: %v, %v", s, err)
			}
			if err := a.PriorRemove(s); err != nil {
				t.Errorf("PriorRemove: %v", err)
			}
			for _, id := range [][]byte{nil, {}, make([]byte, 33)} {
				if s, err := a.PriorGet(c, id); s != nil || err == nil {
					t.Errorf("PriorGet of an id of %d bytes: %v, %v", len(id), s, err)
				}
			}
			if _, err := a.PriorNew(c, nil); err == nil {
				t.Error("PriorNew of no session gave no error")
			}
			if _, err := a.PriorNew(nil, s); err == nil {
				t.Error("PriorNew of no connection gave no error")
			}
			return false
		}),
	}, nil)
	h.start()
	client, _ := newClient(t, 0x0303)
	h.finish(h.connect(client, nil))
	if asked != 1 {
		t.Errorf("the handler was called %d times", asked)
	}
}
