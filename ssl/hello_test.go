package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// A flight is a transport on which one flight comes, and then the end. What is
// written to it is counted, or with keep set kept and refused.
type flight struct {
	in   []byte
	out  int
	keep bool
	kept []byte
}

var errKept = errors.New("kept")

func (f *flight) Read(b []byte) (int, error) {
	if len(f.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, f.in)
	f.in = f.in[n:]
	return n, nil
}

func (f *flight) Write(b []byte) (int, error) {
	if f.keep {
		f.kept = append(f.kept, b...)
		return 0, errKept
	}
	f.out += len(b)
	return len(b), nil
}

func (f *flight) Close() error                     { return nil }
func (f *flight) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (f *flight) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (f *flight) SetDeadline(time.Time) error      { return nil }
func (f *flight) SetReadDeadline(time.Time) error  { return nil }
func (f *flight) SetWriteDeadline(time.Time) error { return nil }

// recordHello returns the ClientHello with which client offers the session, in
// its record.
func recordHello(t testing.TB, client *Context, offer *Session) []byte {
	t.Helper()
	f := &flight{keep: true}
	c, err := Client(f, client, &ClientOptions{ServerName: "localhost", Session: offer})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Handshake(); !errors.Is(err, errKept) {
		t.Fatalf("a handshake with nobody: %v", err)
	}
	if len(f.kept) < 100 || f.kept[0] != 22 || f.kept[5] != 1 {
		t.Fatalf("no ClientHello was written: %x", f.kept)
	}
	return f.kept
}

// Where things are in a ClientHello: five bytes of record header, four of
// message header, version and random, the session id with its length ...
const helloSessionID = 5 + 4 + 2 + 32

// setLengths makes the record and the message as long as the bytes are.
func setLengths(b []byte) {
	if len(b) < 9 {
		return
	}
	copy(b, []byte{22, 3, 1})
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))
	b[5], b[6] = 1, 0
	binary.BigEndian.PutUint16(b[7:], uint16(len(b)-9))
}

// withIdentity names one more session in the pre_shared_key extension, before
// those that are there; its binder is zeros.
func withIdentity(t testing.TB, hello, id []byte) []byte {
	t.Helper()
	skip := func(b []byte, size int) int { // a vector with a length of size bytes
		n := 0
		for _, x := range b[:size] {
			n = n<<8 | int(x)
		}
		return size + n
	}
	at := helloSessionID
	at += skip(hello[at:], 1) // session id
	at += skip(hello[at:], 2) // cipher suites
	at += skip(hello[at:], 1) // compression methods
	extensions := at
	for at += 2; at < len(hello) && binary.BigEndian.Uint16(hello[at:]) != 41; {
		at += 2 + skip(hello[at+2:], 2)
	}
	if at >= len(hello) {
		t.Fatal("the ClientHello offers no session")
	}
	identities := at + 4
	binders := identities + skip(hello[identities:], 2)
	binder := int(hello[binders+2])
	grow := func(at, by int) {
		binary.BigEndian.PutUint16(hello[at:], binary.BigEndian.Uint16(hello[at:])+uint16(by))
	}
	hello = bytes.Clone(hello)
	identity := append(append([]byte{0, byte(len(id))}, id...), 0, 0, 0, 0)
	entry := append([]byte{byte(binder)}, make([]byte, binder)...)
	grow(extensions, len(identity)+len(entry))
	grow(at+2, len(identity)+len(entry))
	grow(identities, len(identity))
	grow(binders, len(entry))
	hello = bytes.Join([][]byte{hello[:identities+2], identity, hello[identities+2 : binders+2], entry, hello[binders+2:]}, nil)
	setLengths(hello)
	return hello
}

// helloEnds are a server whose lookups find recorded sessions, or what a bad
// store makes of them, and the ClientHellos of a client that has those sessions.
type helloEnds struct {
	server *Context
	hellos [][]byte
	kept   [][]byte          // encoded sessions
	byID   map[string][]byte // the same

	mu     sync.Mutex
	rng    *rand.Rand     // what the store does; nil: it answers well
	owners sync.WaitGroup // of live answers
}

func newHelloEnds(t testing.TB) *helloEnds {
	e := &helloEnds{byID: map[string][]byte{}}
	cfg := serverConfig()
	cfg.SessionIDContext = []byte("recorded")
	cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
	cfg.LookupTimeout = patience
	cfg.SessionCallbacks = newStore().callbacks()
	cfg.SessionCallbacks.Get = sessioncb.GetHandlerFunc(e.get)
	// Asked for each, so that what a ClientHello says is read in Go too.
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*Context, error) {
		if len(h.SupportedProtos) > 0 && len(h.SupportedProtos[0]) == 0 {
			t.Errorf("an empty protocol: %q", h.SupportedProtos)
		}
		return nil, nil
	}
	e.server = newContext(t, cfg)
	for _, version := range versions {
		client := newContext(t, Config{
			Verify: VerifyNone, MinVersion: version, MaxVersion: version, SessionIDContext: []byte("recorded"),
		})
		young := func(side string) *Session {
			v, err := ParseSession(recordedSession(t, version, side))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { v.Close() })
			v.use(func(b cshim.Session) {
				// A second ago: the C library's clock may be a tick behind Go's.
				b.SSL_SESSION_set_time(time.Now().Unix() - 1)
				b.SSL_SESSION_set_timeout(3600)
				b.SSL_SESSION_set1_id_context([]byte("recorded"))
			})
			return v
		}
		kept := young("server")
		der := marshal(t, kept)
		e.kept = append(e.kept, der)
		e.byID[string(kept.ID())] = der
		hello := recordHello(t, client, young("client"))
		e.hellos = append(e.hellos, hello, recordHello(t, client, nil))
		if version == versions[1] {
			e.hellos = append(e.hellos, withIdentity(t, hello, bytes.Repeat([]byte("a"), 32)))
		}
		// Without this the ClientHellos would show nothing.
		hits := e.server.Stats().CallbackHits
		e.shake(t, hello)
		if n := e.server.Stats().CallbackHits - hits; n != 1 {
			t.Fatalf("a ClientHello as it was: %d sessions were found, want 1: %+v", n, e.server.HandlerStats())
		}
	}
	return e
}

// get answers well, with bytes or a live session whose owner closes it soon, or
// as a store that mixes sessions up or has lost some bits.
func (e *helloEnds) get(_ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	der := e.byID[string(id)]
	if e.rng == nil {
		return sessioncb.DER(der), nil
	}
	if der == nil || e.rng.IntN(4) == 0 {
		der = e.kept[e.rng.IntN(len(e.kept))]
	}
	switch e.rng.IntN(3) {
	case 0:
		der = mutated(e.rng, der)
	case 1:
		if v, err := ParseSession(der); err == nil {
			e.owners.Go(func() { time.Sleep(100 * time.Microsecond); v.Close() })
			return sessioncb.Live(v), nil
		}
	}
	return sessioncb.DER(der), nil
}

// shake gives the server one flight and the end of the transport. The
// handshake must end with an error that says so, and leave nothing behind.
func (e *helloEnds) shake(t testing.TB, hello []byte) (answered bool) {
	t.Helper()
	before := cshim.ReadGauges()
	f := &flight{in: hello}
	s, err := Server(f, e.server)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Handshake(); err == nil {
		t.Error("the handshake succeeded with one flight")
	} else if own := (*Error)(nil); !errors.As(err, &own) {
		t.Errorf("Handshake: %v, want an *Error", err)
	}
	if errs := s.HandlerErrors(); len(errs) != 0 {
		t.Errorf("handlers: %v", errs)
	}
	s.ServerName()
	s.ConnectionState()
	if v := s.Session(); v != nil {
		v.Text()
		v.Close()
	}
	s.Close()
	e.owners.Wait()
	after := cshim.ReadGauges()
	for end := time.Now().Add(patience); after != before && time.Now().Before(end); after = cshim.ReadGauges() {
		time.Sleep(100 * time.Microsecond) // removals are delivered later
	}
	if after != before {
		t.Errorf("gauge: alive before %+v, after %+v", before, after)
	}
	return f.out > 100
}

// seeded makes what the store does a matter of the seed.
func (e *helloEnds) seeded(seed uint64) *rand.Rand {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rng = rand.New(rand.NewPCG(seed, 1))
	return rand.New(rand.NewPCG(seed, 2))
}

// mutated returns b with a few mistakes, as they come: bits, bytes, counts,
// pieces lost, put in or repeated.
func mutated(rng *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + rng.IntN(6) {
		if len(b) == 0 {
			break
		}
		i := rng.IntN(len(b))
		switch rng.IntN(7) {
		case 0:
			b[i] ^= 1 << rng.IntN(8)
		case 1:
			b[i] = byte(rng.IntN(256))
		case 2: // what means something: counts, versions, extension numbers
			b[i] = []byte{0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x20, 0x29, 0x2b}[rng.IntN(10)]
		case 3:
			b = append(b[:i], b[min(len(b), i+1+rng.IntN(8)):]...)
		case 4:
			b = append(b[:i], append(make([]byte, 1+rng.IntN(8)), b[i:]...)...)
		case 5:
			copy(b[i:], b[rng.IntN(len(b)):])
		case 6:
			if i+1 < len(b) {
				b[i], b[i+1] = 0, byte(rng.IntN(64))
			}
		}
	}
	return b
}

// ClientHellos with mistakes in them, answered by a store that makes mistakes:
// every handshake ends with an error, nothing crashes, hangs or leaks. There is
// more of it in FuzzClientHello.
func TestMutatedClientHellos(t *testing.T) {
	e := newHelloEnds(t)
	rounds := 1500
	if testing.Short() {
		rounds = 300
	}
	answered := 0
	for i := range rounds {
		rng := e.seeded(uint64(i))
		hello := mutated(rng, e.hellos[rng.IntN(len(e.hellos))])
		if rng.IntN(8) != 0 {
			setLengths(hello) // else most end at the record
		}
		if e.shake(t, hello) {
			answered++
		}
		if t.Failed() {
			t.Fatalf("round %d: ClientHello %x", i, hello)
		}
	}
	// Not all of them ended before they came to anything.
	stats, refused := e.server.Stats(), e.server.HandlerStats()
	t.Logf("%d of %d were answered; %+v; %+v", answered, rounds, stats, refused)
	if answered < rounds/10 || stats.CallbackHits < int64(rounds)/50 || refused.Malformed == 0 || refused.WrongID == 0 {
		t.Errorf("only %d of %d were answered; %+v; %+v", answered, rounds, stats, refused)
	}
	gateIsFree(t)
}

// FuzzClientHello: as TestMutatedClientHellos, with the bytes as they are and
// with the lengths of record and message set right. The seed is the store's.
func FuzzClientHello(f *testing.F) {
	e := newHelloEnds(f)
	for i, hello := range e.hellos {
		f.Add(hello, uint64(i))
	}
	f.Fuzz(func(t *testing.T, hello []byte, seed uint64) {
		e.seeded(seed)
		e.shake(t, hello)
		hello = bytes.Clone(hello)
		setLengths(hello)
		e.shake(t, hello)
	})
}
