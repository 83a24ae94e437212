package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
)

// facts are what the accessors of a Session say.
type facts struct {
	ID, IDContext, Ticket, AppData []byte
	Version, Suite                 uint16
	Made                           time.Time
	Timeout, Hint                  time.Duration
	ServerName, ALPN               string
	HasTicket, Resumable           bool
	MaxEarlyData                   uint32
	Peer                           []byte
}

func factsOf(t testing.TB, s *Session) facts {
	t.Helper()
	f := facts{
		ID: s.ID(), IDContext: s.IDContext(), Ticket: s.Ticket(), AppData: s.TicketAppData(),
		Version: s.Version(), Suite: s.CipherSuite(), Made: s.Time(), Timeout: s.Timeout(), Hint: s.TicketLifetimeHint(),
		ServerName: s.ServerName(), ALPN: s.ALPN(), HasTicket: s.HasTicket(), Resumable: s.Resumable(),
		MaxEarlyData: s.MaxEarlyData(),
	}
	cert, err := s.PeerCertificate()
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		f.Peer = cert.Raw
	}
	return f
}

// bothSessions hand-shakes with all that a session can know, and returns both
// sides' newest session and connection. With stateful tickets the id is what
// travels; else the client has a ticket, in TLS 1.2 too.
func bothSessions(t *testing.T, version uint16, tickets TicketMode) (server, client *Session, s, c *Conn) {
	t.Helper()
	var mu sync.Mutex
	var kept []*Session
	appData := sessioncb.NewHandlerFunc(func(_ context.Context, _ sessioncb.Conn, v sessioncb.Session) bool {
		if err := v.(*Session).SetTicketAppData([]byte("application data")); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, v.(*Session))
		return true
	})
	t.Cleanup(func() {
		for _, k := range kept {
			k.Close()
		}
	})
	scfg := mutual()
	scfg.Name, scfg.NextProtos, scfg.Tickets, scfg.SessionTimeout = "here", []string{"proto"}, tickets, 1234*time.Second
	scfg.SessionCallbacks.New = appData
	got := &clientSessions{}
	t.Cleanup(got.close)
	ccfg := clientConfig()
	ccfg.MinVersion, ccfg.MaxVersion = version, version
	ccfg.NextProtos, ccfg.Certificates = []string{"other", "proto"}, files("client.pem", "client-key.pem")
	ccfg.SessionCallbacks.New = got
	s, c = connect(t, newContext(t, scfg), newContext(t, ccfg), nil, nil)
	exchange(t, s, c)
	mu.Lock()
	defer mu.Unlock()
	if len(kept) > 0 {
		server = kept[len(kept)-1]
	}
	return server, got.last(t), s, c
}

// Every accessor, against what the handshake had; and the same after a round
// trip through bytes and through PEM.
func TestSessionAccessors(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, tickets := range []TicketMode{TicketsStateful, TicketsStateless} {
			t.Run(map[TicketMode]string{TicketsStateful: "stateful", TicketsStateless: "stateless"}[tickets], func(t *testing.T) {
				server, client, s, c := bothSessions(t, version, tickets)
				st := s.ConnectionState()
				common := facts{Version: version, Suite: st.CipherSuite, Timeout: 1234 * time.Second, ServerName: "localhost", ALPN: "proto", Resumable: true}
				ticket := version == tls.VersionTLS13 || tickets == TicketsStateless
				now := time.Now()

				if hasServer := version == tls.VersionTLS13 || tickets == TicketsStateful; hasServer != (server != nil) {
					t.Fatalf("the server's New handler was told: %v, want %v", server != nil, hasServer)
				}
				if server != nil {
					got := factsOf(t, server)
					want := common
					want.ID, want.Made = got.ID, got.Made
					want.IDContext = s.SessionIDContext()
					want.Peer = leafOf(t, "client.pem").Raw
					want.AppData = []byte("application data")
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("the server's session (-want +got):\n%s", diff)
					}
					if len(got.ID) != 32 || got.Made.After(now) || got.Made.Before(now.Add(-time.Minute)) {
						t.Errorf("id %x, made %v", got.ID, got.Made)
					}
				}

				got := factsOf(t, client)
				want := common
				want.ID, want.Made, want.Ticket = got.ID, got.Made, got.Ticket
				want.IDContext = c.SessionIDContext()
				want.Peer = leafOf(t, "server.pem").Raw
				want.HasTicket = ticket
				if ticket {
					want.Hint = 1234 * time.Second
				}
				want.Timeout = 2 * time.Hour // the client context's own
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the client's session (-want +got):\n%s", diff)
				}
				if (len(got.Ticket) > 0) != ticket {
					t.Errorf("ticket of %d bytes", len(got.Ticket))
				}
				if server != nil {
					travels := got.ID
					if version == tls.VersionTLS13 {
						travels = got.Ticket
					}
					if tickets == TicketsStateful && !bytes.Equal(travels, server.ID()) {
						t.Errorf("the client offers %x, the server knows %x", travels, server.ID())
					}
				}

				for _, x := range []*Session{server, client} {
					if x != nil {
						roundTrips(t, x)
					}
				}
			})
		}
	})
}

// roundTrips checks that bytes and PEM carry all that s says.
func roundTrips(t *testing.T, s *Session) {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	fromDER, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	defer fromDER.Close()
	around := append(append([]byte("leading text\n"), readCert(t, "ca.pem")...), text...)
	fromPEM, err := ParseSessionPEM(around)
	if err != nil {
		t.Fatal(err)
	}
	defer fromPEM.Close()
	want := factsOf(t, s)
	for _, x := range []*Session{fromDER, fromPEM} {
		if diff := cmp.Diff(want, factsOf(t, x)); diff != "" {
			t.Errorf("after a round trip (-want +got):\n%s", diff)
		}
		again, err := x.MarshalBinary()
		if err != nil || !bytes.Equal(der, again) {
			t.Errorf("another encoding after a round trip, %v", err)
		}
	}
}

// Conn.Session is a copy of what the connection has; in TLS 1.2 it resumes.
func TestConnSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, version)
		s, c := pair(t, server, client, nil, nil)
		if v := c.Session(); v != nil {
			t.Errorf("before the handshake: %v", v)
			v.Close()
		}
		if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		exchange(t, s, c)
		v := c.Session()
		if v == nil {
			t.Fatal("no session")
		}
		defer v.Close()
		if got := v.Version(); got != version {
			t.Errorf("version %#x", got)
		}
		c.Close()
		s.Close()
		s, c = connect(t, server, client, &ClientOptions{Session: v}, nil)
		exchange(t, s, c)
		if !c.ConnectionState().DidResume || !s.ConnectionState().DidResume {
			t.Error("not resumed")
		}
	})
}

var masterKey = regexp.MustCompile(`(?:Master-Key|Resumption PSK): ([0-9A-F]+)`)

// The openssl command reads our PEM and we read its; its text, which shows
// the keys, tells which ones ours must not show.
func TestSessionCommand(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		_, client, _, _ := bothSessions(t, version, TicketsStateless)
		dir := t.TempDir()
		ours, theirs, der := filepath.Join(dir, "ours.pem"), filepath.Join(dir, "theirs.pem"), filepath.Join(dir, "theirs.der")
		text, err := client.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ours, text, 0o600); err != nil {
			t.Fatal(err)
		}
		said := command(t, "", "openssl", "sess_id", "-in", ours, "-noout", "-text")
		for _, want := range []string{"Protocol  : " + map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[version],
			fmt.Sprintf("Session-ID: %X", client.ID()), fmt.Sprintf("Session-ID-ctx: %X", client.IDContext()), "TLS session ticket:"} {
			if !bytes.Contains(said, []byte(want)) {
				t.Errorf("openssl does not say %q:\n%s", want, said)
			}
		}
		command(t, "", "openssl", "sess_id", "-in", ours, "-out", theirs)
		command(t, "", "openssl", "sess_id", "-in", ours, "-outform", "DER", "-out", der)
		want := factsOf(t, client)
		for _, x := range []struct {
			file  string
			parse func([]byte) (*Session, error)
		}{{theirs, ParseSessionPEM}, {der, ParseSession}} {
			data, err := os.ReadFile(x.file)
			if err != nil {
				t.Fatal(err)
			}
			v, err := x.parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, factsOf(t, v)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", x.file, diff)
			}
			v.Close()
		}

		m := masterKey.FindSubmatch(said)
		if m == nil || len(m[1]) < 64 {
			t.Fatalf("openssl shows no master key:\n%s", said)
		}
		key, err := hex.DecodeString(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := client.MarshalBinary()
		if err != nil || !bytes.Contains(encoded, key) {
			t.Fatalf("the encoding does not hold the key, %v: this test would find nothing", err)
		}
		showsNo(t, client, key, client.Ticket())
	})
}

// showsNo checks that nothing which describes s shows one of the secrets.
func showsNo(t *testing.T, s *Session, secrets ...[]byte) {
	t.Helper()
	shown := strings.Join([]string{s.Text(), s.String(), fmt.Sprintf("%v %+v %#v %s", s, s, s, s)}, "\n")
	low := strings.ToLower(shown)
	for _, secret := range secrets {
		if len(secret) < 16 {
			t.Fatalf("a secret of %d bytes: this test would find nothing", len(secret))
		}
		decimal := strings.Trim(fmt.Sprint(secret[:8]), "[]")
		for _, form := range []string{string(secret), hex.EncodeToString(secret[:8]), decimal, strings.ReplaceAll(decimal, " ", ", ")} {
			if strings.Contains(shown, form) || strings.Contains(low, form) {
				t.Errorf("a secret is shown:\n%s", shown)
			}
		}
	}
}

// What Text says, line by line.
func TestSessionText(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		server, client, s, _ := bothSessions(t, version, TicketsStateful)
		suite := tls.CipherSuiteName(s.ConnectionState().CipherSuite)
		lines := []string{
			"protocol: " + tls.VersionName(version), "cipher suite: " + suite, fmt.Sprintf("session id: %x", server.ID()),
			fmt.Sprintf("session id context: %x", server.IDContext()), "time: " + server.Time().UTC().Format(time.RFC3339),
			"timeout: 20m34s", "expires: " + server.Time().Add(1234*time.Second).UTC().Format(time.RFC3339),
			"server name: localhost", "alpn: proto", "peer certificate: " + leafOf(t, "client.pem").Subject.String(),
			"ticket appdata: 16 bytes", "resumable: true",
		}
		if diff := cmp.Diff(strings.Join(lines, "\n")+"\n", server.Text()); diff != "" {
			t.Errorf("the server's session (-want +got):\n%s", diff)
		}
		if ticket := strings.Contains(client.Text(), "\nticket: 32 bytes, lifetime hint 20m34s\n"); ticket != (version == tls.VersionTLS13) {
			t.Errorf("the client's session:\n%s", client.Text())
		}
		if got, want := server.String(), fmt.Sprintf("session %x %s", server.ID(), tls.VersionName(version)); got != want {
			t.Errorf("String %q, want %q", got, want)
		}
		server = parsed(t, server)
		server.Close()
		for _, v := range []*Session{server, new(Session)} {
			if text := v.Text(); !strings.HasSuffix(text, "resumable: false\n") || strings.Contains(text, "cipher") {
				t.Errorf("of a closed session:\n%s", text)
			}
		}
	})
}

// parsed is a copy of s through its bytes.
func parsed(t *testing.T, s *Session) *Session {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// After Close the snapshot is readable, all else is zero or an error, and the
// second Close does nothing.
func TestSessionClosed(t *testing.T) {
	for _, version := range versions {
		noLeaks(t)
		der := recordedSession(t, version, "server")
		s, err := ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		open := factsOf(t, s)
		for range 3 {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		want := facts{ID: open.ID, IDContext: open.IDContext, Version: open.Version, Made: open.Made, Timeout: open.Timeout}
		if diff := cmp.Diff(want, factsOf(t, s)); diff != "" {
			t.Errorf("after Close (-want +got):\n%s", diff)
		}
		for name, err := range map[string]error{
			"MarshalBinary": second(s.MarshalBinary()), "MarshalPEM": second(s.MarshalPEM()), "Retain": second(s.Retain()),
			"Dup": second(s.Dup()), "SetTicketAppData": s.SetTicketAppData([]byte("x")),
		} {
			if !errors.Is(err, sessioncb.ErrSessionClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	}
}

// Retain makes a second owner of one object, Dup an object of its own; each
// owner's Close is its own.
func TestSessionOwners(t *testing.T) {
	noLeaks(t)
	first, err := ParseSession(recordedSession(t, tls.VersionTLS13, "server"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := first.Retain()
	if err != nil {
		t.Fatal(err)
	}
	dup, err := first.Dup()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.SetTicketAppData([]byte("shared")); err != nil {
		t.Fatal(err)
	}
	if got := second.(*Session).TicketAppData(); string(got) != "shared" {
		t.Errorf("the second owner sees %q", got)
	}
	if got := dup.TicketAppData(); string(got) == "shared" {
		t.Error("the copy sees what changed in the original")
	}
	if err := dup.SetTicketAppData([]byte("private")); err != nil {
		t.Fatal(err)
	}
	want := factsOf(t, second.(*Session))
	first.Close()
	if diff := cmp.Diff(want, factsOf(t, second.(*Session))); diff != "" {
		t.Errorf("after the first owner's Close (-want +got):\n%s", diff)
	}
	second.Close()
	if got := dup.TicketAppData(); string(got) != "private" {
		t.Errorf("the copy has %q", got)
	}
	dup.Close()
	// What accessors returned is a copy.
	id := dup.ID()
	clear(id)
	if bytes.Equal(id, dup.ID()) {
		t.Error("ID is no copy")
	}
}

// Appdata of any size goes with the session.
func TestTicketAppData(t *testing.T) {
	s, err := ParseSession(recordedSession(t, tls.VersionTLS13, "server"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, n := range []int{1, 100, 1 << 20, 0} {
		data := bytes.Repeat([]byte{7}, n)
		if err := s.SetTicketAppData(data); err != nil {
			t.Fatal(err)
		}
		if v := parsed(t, s); !bytes.Equal(v.TicketAppData(), data) {
			t.Errorf("%d of %d bytes came back", len(v.TicketAppData()), n)
		}
	}
	if err := s.SetTicketAppData(nil); err != nil || s.TicketAppData() != nil {
		t.Errorf("nil: %v %q", err, s.TicketAppData())
	}
}

// All methods, from many goroutines and two owners of one object, while the
// owners close.
func TestSessionConcurrency(t *testing.T) {
	noLeaks(t)
	der := recordedSession(t, tls.VersionTLS12, "server")
	for range 20 {
		first, err := ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		retained, err := first.Retain()
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 6 {
			s := []*Session{first, retained.(*Session)}[i%2]
			wg.Go(func() {
				for range 10 {
					factsOf(t, s)
					s.Text()
					if r, err := s.Retain(); err == nil {
						r.Close()
					}
					if d, err := s.Dup(); err == nil {
						d.Close()
					}
					if _, err := s.MarshalBinary(); err != nil && err != sessioncb.ErrSessionClosed {
						t.Error(err)
					}
					if err := s.SetTicketAppData(bytes.Repeat([]byte{byte(i)}, 100*(i+1))); err != nil && err != sessioncb.ErrSessionClosed {
						t.Error(err)
					}
				}
			})
		}
		for _, s := range []sessioncb.Session{first, retained} {
			wg.Go(func() { s.Close() })
		}
		wg.Wait()
	}
}

// Appdata that is set while others read it: one object, two owners, no Close.
func TestTicketAppDataConcurrency(t *testing.T) {
	s, err := ParseSession(recordedSession(t, tls.VersionTLS13, "server"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	retained, err := s.Retain()
	if err != nil {
		t.Fatal(err)
	}
	defer retained.Close()
	var wg sync.WaitGroup
	for i := range 4 {
		s := []*Session{s, retained.(*Session)}[i%2]
		wg.Go(func() {
			for range 2000 {
				if err := s.SetTicketAppData(bytes.Repeat([]byte{byte(i)}, 3000)); err != nil {
					t.Error(err)
				}
				if data := s.TicketAppData(); len(data) != 3000 || bytes.Count(data, data[:1]) != 3000 {
					t.Error("the data of two writers are mixed")
				}
			}
		})
	}
	wg.Wait()
}
