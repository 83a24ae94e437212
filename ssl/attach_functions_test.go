package ssl

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// The six functions of the manual page, SSL_CTX_sess_set_{new,remove,get}_cb and
// SSL_CTX_sess_get_{new,remove,get}_cb: each callback in each state, on an
// SSL_CTX of ours and on one of C code. What was set is seen by the C getters
// and by the Go getters, and in what real handshakes call.
func TestSixFunctions(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, f := range sixFunctions {
			for _, row := range functionRows {
				t.Run(row.owner+"/"+f.name+"/"+row.state, func(t *testing.T) {
					balanced(t)
					row.run(t, version, f, row)
				})
			}
		}
	})
}

// callback is one of the three.
type callback struct {
	name  string
	bit   chost.Callbacks
	calls int // in two handshakes and a flush
	with  func(*sessioncb.Callbacks, *calls)
	of    func(sessioncb.Callbacks) bool
	in    func(chost.Pointers) uintptr
	count func(chost.Counts) uint64
}

// Two full handshakes, the second of which asks for the first one's session,
// and a flush of both.
var sixFunctions = []callback{
	{"New", chost.New, 2,
		func(cb *sessioncb.Callbacks, c *calls) { cb.New = c },
		func(cb sessioncb.Callbacks) bool { return cb.New != nil },
		func(p chost.Pointers) uintptr { return p.New },
		func(c chost.Counts) uint64 { return c.New }},
	{"Get", chost.Get, 1,
		func(cb *sessioncb.Callbacks, c *calls) { cb.Get = c },
		func(cb sessioncb.Callbacks) bool { return cb.Get != nil },
		func(p chost.Pointers) uintptr { return p.Get },
		func(c chost.Counts) uint64 { return c.Get }},
	{"Remove", chost.Remove, 2,
		func(cb *sessioncb.Callbacks, c *calls) { cb.Remove = c },
		func(cb sessioncb.Callbacks) bool { return cb.Remove != nil },
		func(p chost.Pointers) uintptr { return p.Remove },
		func(c chost.Counts) uint64 { return c.Remove }},
}

// calls is all three handlers, and counts.
type calls struct{ new, get, remove atomic.Int64 }

func (c *calls) NewSession(context.Context, sessioncb.Conn, sessioncb.Session) bool {
	c.new.Add(1)
	return false
}

func (c *calls) GetSession(context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
	c.get.Add(1)
	return sessioncb.Answer{}, nil
}

func (c *calls) RemoveSession(context.Context, sessioncb.Session, sessioncb.Removal) {
	c.remove.Add(1)
}

func (c *calls) list() map[string]int64 {
	return map[string]int64{"New": c.new.Load(), "Get": c.get.Load(), "Remove": c.remove.Load()}
}

// Whose function a C getter shows.
const (
	nobody  = "none"
	ours    = "the binding's"
	theirs  = "the C program's"
	strange = "somebody else's"
)

func whose(f callback, p chost.Pointers) string {
	switch {
	case f.in(p) == 0:
		return nobody
	case f.in(p) == f.in(chost.OwnPointers()):
		return theirs
	case cshim.IsTrampoline(f.in(p)):
		return ours
	}
	return strange
}

type functionRow struct {
	owner, state string
	run          func(t *testing.T, version uint16, f callback, row functionRow)

	existing Existing
	pointer  string // SSL_CTX_sess_get_*_cb before the first handshake
	handler  bool   // SessionCallbacks has it
	prior    bool   // Attachment.Prior has the C function
	inGo     bool   // the handler is called
	inC      bool   // the C function is called
}

var functionRows = []functionRow{
	{owner: "own", state: "set", run: ownFunction, pointer: ours, handler: true, inGo: true},
	{owner: "own", state: "not set", run: ownFunction, pointer: nobody},
	{owner: "own", state: "taken back", run: ownFunction, pointer: nobody},
	{owner: "own", state: "taken back and set", run: ownFunction, pointer: ours, handler: true, inGo: true},
	{owner: "own", state: "C function before", run: ownFunction, pointer: ours, handler: true, inGo: true},
	{owner: "own", state: "C function and no handler", run: ownFunction, pointer: theirs, inC: true},

	{owner: "attached", state: "set", run: attachedFunction, pointer: ours, handler: true, inGo: true},
	{owner: "attached", state: "not set", run: attachedFunction, pointer: nobody},
	{owner: "attached", state: "taken back", run: attachedFunction, pointer: ours},
	{owner: "attached", state: "closed", run: attachedFunction, pointer: ours, handler: true},
	{owner: "attached", state: "closed, exclusive", run: attachedFunction, pointer: nobody, handler: true},
	{owner: "attached", state: "C function before, refused", run: attachedFunction, pointer: theirs, inC: true},
	{owner: "attached", state: "C function before, chained", run: attachedFunction, existing: ChainExisting,
		pointer: ours, handler: true, prior: true, inGo: true, inC: true},
	{owner: "attached", state: "C function before, replaced", run: attachedFunction, existing: ReplaceExisting,
		pointer: ours, handler: true, prior: true, inGo: true},
	{owner: "attached", state: "C function before, taken back", run: attachedFunction, existing: ReplaceExisting,
		pointer: ours, prior: true},
	{owner: "attached", state: "C function before, closed", run: attachedFunction, existing: ReplaceExisting,
		pointer: ours, handler: true, inC: true},
	{owner: "attached", state: "C function before, closed, exclusive", run: attachedFunction, existing: ReplaceExisting,
		pointer: theirs, handler: true, inC: true},
	{owner: "attached", state: "C function before, not set", run: attachedFunction, existing: ReplaceExisting,
		pointer: theirs, prior: true, inC: true},
}

// check compares what happened with the row.
func (row functionRow) check(t *testing.T, f callback, pointer string, handler bool, inGo *calls, inC chost.Counts) {
	t.Helper()
	type seen struct {
		Pointer string
		Handler bool
		InGo    map[string]int64
		InC     uint64
	}
	want := seen{row.pointer, row.handler, map[string]int64{"New": 0, "Get": 0, "Remove": 0}, 0}
	if row.inGo {
		want.InGo[f.name] = int64(f.calls)
	}
	if row.inC {
		want.InC = uint64(f.calls)
	}
	if d := cmp.Diff(want, seen{pointer, handler, inGo.list(), f.count(inC)}); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// contextAndPointer makes a context and finds its SSL_CTX.
func contextAndPointer(t *testing.T, cfg Config) (*Context, chost.Context) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := newContext(t, cfg)
	return c, chost.LastContext()
}

func ownFunction(t *testing.T, version uint16, f callback, row functionRow) {
	cCode := newHost(t, chost.Options{Version: version})
	inGo := &calls{}
	var cb sessioncb.Callbacks
	f.with(&cb, inGo)
	cfg := serverConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheInternal, TicketsStateful, 1
	if row.state == "set" || row.state == "taken back" || row.state == "taken back and set" {
		cfg.SessionCallbacks = cb
	}
	server, sslCtx := contextAndPointer(t, cfg)
	// What Config refuses where no handler is asked: the lookup is the callback's alone.
	server.side.c.SetCache(cshim.SSL_SESS_CACHE_SERVER|cshim.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP, -1, -1, true, 1)
	set := func(cb sessioncb.Callbacks) {
		if err := server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}
	}
	setC := func() {
		if err := cCode.SetCallbacks(sslCtx, f.bit); err != nil {
			t.Fatal(err)
		}
	}
	switch row.state {
	case "set", "not set":
	case "taken back":
		set(sessioncb.Callbacks{})
	case "taken back and set":
		set(sessioncb.Callbacks{})
		set(cb)
	case "C function before":
		setC()
		set(cb)
	case "C function and no handler":
		setC()
	default:
		t.Fatalf("no state %q", row.state)
	}
	pointer := whose(f, sslCtx.Pointers())

	client, got := newClient(t, version)
	for i := range 2 {
		o := &ClientOptions{}
		if i > 0 {
			o.Session = got.last(t)
		}
		s, c := connect(t, server, client, o, nil)
		exchange(t, s, c)
		if c.ConnectionState().DidResume {
			t.Error("resumed, and nobody had the session")
		}
		c.Close()
		s.Close()
	}
	if err := server.FlushSessions(time.Time{}); err != nil {
		t.Fatal(err)
	}
	server.side.settle()
	row.check(t, f, pointer, f.of(server.SessionCallbacks()), inGo, cCode.Counts())
}

func attachedFunction(t *testing.T, version uint16, f callback, row functionRow) {
	o := chost.Options{Version: version, CacheMode: chost.NoLookup, Tickets: 1}
	before := len(row.state) > 10 && row.state[:10] == "C function"
	if before {
		o.Callbacks = f.bit
	}
	h := newHost(t, o)
	inGo := &calls{}
	var cb sessioncb.Callbacks
	f.with(&cb, inGo)
	handler := false
	ao := &AttachOptions{Existing: row.existing}
	switch row.state {
	case "not set", "C function before, not set":
		// A handler must be given: that of another callback, taken back at once.
		a := h.attach(otherThan(f, inGo), ao)
		if err := a.SetSessionCallbacks(sessioncb.Callbacks{}); err != nil {
			t.Fatal(err)
		}
		row.checkPrior(t, f, a)
	case "C function before, refused":
		a, err := Attach(h.SSLCTX(), cb, ao)
		want := "ssl: attach: the SSL_CTX has C callbacks already: " + map[string]string{"New": "new", "Get": "get", "Remove": "remove"}[f.name] +
			"; say what to do about them with AttachOptions.Existing"
		if a != nil || err == nil || err.Error() != want {
			t.Fatalf("attach: %v, want %s", err, want)
		}
	default:
		ao.Exclusive = row.state == "closed, exclusive" || row.state == "C function before, closed, exclusive"
		a := h.attach(cb, ao)
		if whose(f, h.Context().Pointers()) != ours {
			t.Fatal("Attach did not set the callback")
		}
		switch row.state {
		case "taken back", "C function before, taken back":
			if err := a.SetSessionCallbacks(sessioncb.Callbacks{}); err != nil {
				t.Fatal(err)
			}
		case "closed", "closed, exclusive", "C function before, closed", "C function before, closed, exclusive":
			a.Close()
		}
		row.checkPrior(t, f, a)
		handler = f.of(a.SessionCallbacks())
	}
	pointer := whose(f, h.Context().Pointers())

	h.start()
	client, got := newClient(t, version)
	h.finish(h.connect(client, nil))
	c := h.connect(client, got.last(t))
	if c.ConnectionState().DidResume {
		t.Error("resumed, and nobody had the session")
	}
	h.finish(c)
	h.Flush(0)
	for _, a := range h.attached {
		settleOf(a)
	}
	row.check(t, f, pointer, handler, inGo, h.Counts())
	if after := whose(f, h.Context().Pointers()); after != pointer {
		t.Errorf("the C function was %s and is %s after the handshakes", pointer, after)
	}
}

// checkPrior compares what the Attachment says of the C function before it.
func (row functionRow) checkPrior(t *testing.T, f callback, a *Attachment) {
	t.Helper()
	p := chost.Pointers(a.Prior())
	want := uintptr(0)
	if row.prior {
		want = f.in(chost.OwnPointers())
	}
	if got := f.in(p); got != want {
		t.Errorf("Prior shows %#x, want %#x", got, want)
	}
}

func otherThan(f callback, c *calls) (cb sessioncb.Callbacks) {
	if f.name == "New" {
		cb.Remove = c
	} else {
		cb.New = c
	}
	return cb
}
