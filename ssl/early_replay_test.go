package ssl

import (
	"context"
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// deadEnd is a net.Conn that keeps what is written, and from which nothing comes.
type deadEnd struct {
	net.Conn // nil: no other method is called
	sent     []byte
	writes   int
}

func (r *deadEnd) Write(b []byte) (int, error) {
	r.sent = append(r.sent, b...)
	r.writes++
	return len(b), nil
}
func (r *deadEnd) Close() error                      { return nil }
func (r *deadEnd) SetDeadline(time.Time) error       { return nil }
func (r *deadEnd) SetWriteDeadline(time.Time) error  { return nil }
func (r *deadEnd) LocalAddr() net.Addr               { return &net.TCPAddr{} }
func (r *deadEnd) RemoteAddr() net.Addr              { return &net.TCPAddr{} }
func (r *deadEnd) Read([]byte) (int, error)          { return 0, io.EOF }
func (r *deadEnd) SetReadDeadline(t time.Time) error { return nil }

// firstFlight records a client's ClientHello with early data.
func firstFlight(t testing.TB, client *Context, session *Session, data string) []byte {
	t.Helper()
	var wire deadEnd
	c, err := Client(&wire, client, &ClientOptions{ServerName: "localhost", Session: session})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	early(t, c, data)
	if wire.writes != 1 {
		t.Errorf("ClientHello and early data left in %d writes, want one", wire.writes)
	}
	return wire.sent
}

// replayed is what the nodes of a fleet made of one recorded flight.
type replayed struct {
	accepted atomic.Int32 // EarlyData returned, and it was accepted
	data     atomic.Int32 // the early data was read, whole
	bytes    atomic.Int32 // of early data, read anywhere
}

// play sends the flight to a node, and ends; it returns when the node is done
// with it. Nobody answers the node: this is a recording.
func (r *replayed) play(t testing.TB, node *Context, wrap func(net.Conn) net.Conn, flight []byte, data string, ready *sync.WaitGroup) {
	a, b := sockets(t)
	defer a.Close()
	s, err := Server(wrap(b), node)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(patience))
	go io.Copy(io.Discard, a)
	ready.Done()
	ready.Wait()
	a.Write(flight)
	a.(*net.TCPConn).CloseWrite()
	e, err := s.EarlyData(context.Background())
	if err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a node that refused: %v", err)
		}
		return
	}
	if s.EarlyDataAccepted() {
		r.accepted.Add(1)
	}
	got, err := io.ReadAll(e)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a node that accepted: %v", err)
	}
	if string(got) == data {
		r.data.Add(1)
	}
	r.bytes.Add(int32(len(got)))
}

// replayRounds makes a fleet of servers with one store, which is all that they
// have in common, and sends all of them the same recorded flight, at once and in
// each round another. In each, want of them must accept it and read it whole.
func replayRounds(t *testing.T, wrap func(net.Conn) net.Conn, store claimingStore, nodes, rounds, want int) {
	t.Helper()
	balanced(t)
	var fleet []*Context
	for range nodes {
		fleet = append(fleet, newContext(t, earlyConfig(&claims{store: store})))
	}
	client, got := newClient(t, tls.VersionTLS13)
	for round := range rounds {
		s, c := connect(t, fleet[round%nodes], client, nil, wrap)
		exchange(t, s, c)
		s.Close()
		c.Close()
		const data = "pay once"
		flight := firstFlight(t, client, got.last(t), data)
		got.forget()
		var r replayed
		var ready, done sync.WaitGroup
		ready.Add(nodes)
		for _, node := range fleet {
			done.Go(func() { r.play(t, node, wrap, flight, data, &ready) })
		}
		done.Wait()
		if r.accepted.Load() != int32(want) || r.data.Load() != int32(want) || r.bytes.Load() != int32(want*len(data)) {
			t.Fatalf("round %d: accepted by %d nodes, read whole by %d, %d bytes in all, want it %d times", round,
				r.accepted.Load(), r.data.Load(), r.bytes.Load(), want)
		}
	}
}

// A flight that is sent to eight servers at once is accepted by one.
func TestEarlyDataReplay(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		store, err := memoryStore()
		if err != nil {
			t.Fatal(err)
		}
		rounds := 200
		if testing.Short() {
			rounds = 20
		}
		replayRounds(t, wrap, store, 8, rounds, 1)
	})
}

// It is the claim that sees to that: with a store that only says so, all accept.
func TestEarlyDataReplayWithoutClaim(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		store, err := memoryStore()
		if err != nil {
			t.Fatal(err)
		}
		replayRounds(t, wrap, noClaim{store}, 8, 3, 8)
	})
}

// noClaim claims nothing.
type noClaim struct{ claimingStore }

func (s noClaim) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	return s.Get(ctx, key)
}

// A replay never reaches Read: whoever sends it cannot finish the handshake.
// The flight is good, as EarlyData shows.
func TestEarlyDataReplayStopsBeforeRead(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		for _, asked := range []bool{true, false} {
			flight := firstFlight(t, p.client, p.session(), "data")
			a, b := sockets(t)
			s, err := Server(wrap(b), p.server)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			go io.Copy(io.Discard, a)
			a.Write(flight)
			a.(*net.TCPConn).CloseWrite()
			buf := make([]byte, 64)
			var n int
			if asked {
				n, err = openEarly(t, s).Read(buf)
				if err != nil || string(buf[:n]) != "data" {
					t.Errorf("EarlyData.Read: %q, %v", buf[:n], err)
				}
				continue
			}
			n, err = s.Read(buf)
			if n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Read of a replay: %q, %v", buf[:n], err)
			}
			if !s.EarlyDataAccepted() {
				t.Error("it was refused: this shows nothing")
			}
		}
	})
}

// R44: who saw an identity can burn the session, for the claim precedes the
// binder's check. The forger gets nothing; the owner gets a full handshake.
func TestForgedBinderBurnsTheSession(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		p := newEarlyPair(t, wrap, nil)
		session := p.session()
		forged := withOtherSecret(t, session)
		defer forged.Close()
		s, c := pair(t, p.server, p.client, &ClientOptions{Session: forged}, wrap)
		early(t, c, "forged")
		gets := p.handlers.found.Load()
		go c.Handshake()
		_, err := s.EarlyData(context.Background())
		saysWhy(t, err, "binder does not verify")
		if p.handlers.found.Load() != gets+1 || s.EarlyDataAccepted() {
			t.Error("the session was not found: this shows nothing")
		}
		s.Close()
		c.Close()
		s, c = pair(t, p.server, p.client, &ClientOptions{Session: session}, wrap)
		early(t, c, "mine")
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatalf("the owner's handshake: server %v, client %v", serr, cerr)
		}
		outcome(t, s, c, false, false)
		if p.handlers.found.Load() != gets+1 {
			t.Error("the session was in the store still")
		}
	})
}

// withOtherSecret returns a session that is s but for its master secret, as
// somebody would make it who saw the ClientHello.
func withOtherSecret(t testing.TB, s *Session) *Session {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	// SEQUENCE: version, protocol, cipher suite, id, master secret
	var fields struct {
		Version, Protocol int
		Suite, ID, Secret []byte
		Rest              asn1.RawValue `asn1:"optional"`
	}
	rest := der
	var all asn1.RawValue
	if _, err := asn1.Unmarshal(rest, &all); err != nil {
		t.Fatal(err)
	}
	rest = all.Bytes
	for _, to := range []any{&fields.Version, &fields.Protocol, &fields.Suite, &fields.ID, &fields.Secret} {
		if rest, err = asn1.Unmarshal(rest, to); err != nil {
			t.Fatal(err)
		}
	}
	end := len(der) - len(rest)
	der[end-1] ^= 1
	forged, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	return forged
}
