package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// FuzzParseSession: bytes that no libssl wrote are an error, or a session that
// can be used in every way. The seeds are in testdata/fuzz: the recorded
// sessions of ../testdata, good and malformed.
func FuzzParseSession(f *testing.F) {
	f.Fuzz(func(t *testing.T, der []byte) {
		before := cshim.ReadGauges().SSLSession
		s, err := ParseSession(der)
		if err == nil {
			exercise(t, s)
			s.Close()
		} else if s != nil || !strings.HasPrefix(err.Error(), "ssl: parse session: ") {
			t.Errorf("%v, %v", s, err)
		}
		if after := cshim.ReadGauges().SSLSession; after != before {
			t.Errorf("%d sessions more are alive", after-before)
		}
	})
}

// FuzzServedSession: bytes that decode are served by a Get handler, and
// offered by a client, in real handshakes of both versions. Each handshake
// succeeds or fails with an error; nothing crashes, hangs or leaks.
func FuzzServedSession(f *testing.F) {
	for _, der := range sessionBytes(f) {
		f.Add(der)
	}
	malformed, err := filepath.Glob(filepath.Join("..", "testdata", "sessions", "malformed", "*.der"))
	if err != nil || len(malformed) == 0 {
		f.Fatalf("no malformed sessions: %v", err)
	}
	for _, name := range malformed {
		der, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	ends := map[uint16]*recordedEnds{}
	for _, version := range versions {
		ends[version] = newRecordedEnds(f, version)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		s, err := ParseSession(der)
		if err != nil {
			return
		}
		defer s.Close()
		for _, version := range versions {
			e := ends[version]
			adapted := e.adapt(t, s)
			e.shake(t, der, e.offer) // as it is: most are refused before libssl sees them
			if der, err := adapted.MarshalBinary(); err == nil {
				e.shake(t, der, e.offer)
			} else {
				t.Error(err)
			}
			e.shake(t, e.known, adapted)
			adapted.Close()
		}
	})
}

// recordedEnds are a server that answers lookups with bytes of the test's
// choice, and a client that holds a recorded session.
type recordedEnds struct {
	version        uint16
	server, client *Context
	answer         []byte
	known          []byte   // what the recording's server kept, made young
	offer          *Session // and its client
	id             []byte
}

func newRecordedEnds(f *testing.F, version uint16) *recordedEnds {
	e := &recordedEnds{version: version}
	scfg := serverConfig()
	scfg.SessionIDContext = []byte("recorded")
	scfg.Tickets, scfg.SessionCacheMode, scfg.NumTickets = TicketsStateful, CacheExternal, 1
	scfg.SessionCallbacks.Get = sessioncb.GetHandlerFunc(func(context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
		return sessioncb.DER(e.answer), nil
	})
	e.server = newContext(f, scfg)
	e.client = newContext(f, Config{Verify: VerifyNone, MinVersion: version, MaxVersion: version, SessionIDContext: []byte("recorded")})
	young := func(side string) *Session {
		s, err := ParseSession(recordedSession(f, version, side))
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { s.Close() })
		s.use(func(b cshim.Session) {
			// C's clock is coarser, and may still be in the second before: a session
			// of the future is not offered.
			b.SSL_SESSION_set_time(time.Now().Unix() - 1)
			b.SSL_SESSION_set_timeout(3600)
			b.SSL_SESSION_set1_id_context([]byte("recorded"))
		})
		return s
	}
	kept := young("server")
	e.id, e.offer = kept.ID(), young("client")
	var err error
	if e.known, err = kept.MarshalBinary(); err != nil {
		f.Fatal(err)
	}
	// Without this the target would show nothing.
	s, c, serr, cerr := e.handshake(f, e.known, e.offer)
	if serr != nil || cerr != nil || !s.ConnectionState().DidResume || !c.ConnectionState().DidResume {
		f.Fatalf("the recorded session is not resumed: %v, %v, %+v", serr, cerr, e.server.HandlerStats())
	}
	s.Close()
	c.Close()
	return e
}

// adapt makes of s a session that passes the checks before libssl: the right
// id, context and time.
func (e *recordedEnds) adapt(t *testing.T, s *Session) *Session {
	v, err := s.Dup()
	if err != nil {
		t.Fatal(err)
	}
	v.use(func(b cshim.Session) {
		b.SSL_SESSION_set1_id(e.id)
		b.SSL_SESSION_set1_id_context([]byte("recorded"))
		b.SSL_SESSION_set_time(time.Now().Unix() - 1)
		b.SSL_SESSION_set_timeout(3600)
	})
	return v
}

func (e *recordedEnds) handshake(t testing.TB, answer []byte, offer *Session) (s, c *Conn, serr, cerr error) {
	e.answer = answer
	s, c = pair(t, e.server, e.client, &ClientOptions{ServerName: "sessions.example", Session: offer}, nil)
	serr, cerr = handshake(s, c)
	return s, c, serr, cerr
}

// shake checks that a handshake ends, well or with an error that says why.
func (e *recordedEnds) shake(t *testing.T, answer []byte, offer *Session) {
	t.Helper()
	s, c, serr, cerr := e.handshake(t, answer, offer)
	if serr == nil && cerr == nil {
		if err := echo(s, c); err != nil {
			t.Errorf("%s: handshake, and then %v", tls.VersionName(e.version), err)
		}
	}
	for _, err := range []error{serr, cerr} {
		if own := (*Error)(nil); err != nil && (isTimeout(err) || !errors.As(err, &own) && !errors.Is(err, io.EOF)) {
			t.Errorf("%s: handshake ended with %v", tls.VersionName(e.version), err)
		}
	}
	for _, conn := range []*Conn{s, c} {
		conn.Close()
		if len(conn.HandlerErrors()) > 0 {
			t.Errorf("handlers: %v", conn.HandlerErrors())
		}
	}
}
