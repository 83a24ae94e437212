package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// A session made without verification is not resumed by a client that
// verifies: neither under derived session id contexts, nor under one given.
func TestUnverifiedSessionIsNotOffered(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, id := range []string{"", "the same for both"} {
			// Of a CA that the client does not trust.
			server := newContext(t, Config{Certificates: []Certificate{{ChainFile: cert("server2.pem"), KeyFile: cert("server2-key.pem")}}})
			got := &clientSessions{}
			t.Cleanup(got.close)
			client := func(v VerifyMode) *Context {
				cfg := clientConfig()
				cfg.Verify = v
				cfg.MinVersion, cfg.MaxVersion = version, version
				cfg.SessionIDContext = []byte(id)
				cfg.SessionCallbacks.New = got
				return newContext(t, cfg)
			}
			lax, strict := client(VerifyNone), client(VerifyDefault)
			if id == "" && bytes.Equal(lax.SessionIDContext(), strict.SessionIDContext()) {
				t.Error("VerifyNone and VerifyDefault have one session id context")
			}
			s, c := connect(t, server, lax, nil, nil)
			exchange(t, s, c)
			s.Close()
			c.Close()
			s, c = pair(t, server, strict, &ClientOptions{Session: got.last(t)}, nil)
			_, err := handshake(s, c)
			var verify *VerifyError
			if !errors.As(err, &verify) {
				t.Errorf("a client that verifies: %v, resumed %v, want a VerifyError", err, c.ConnectionState().DidResume)
			}
			s.Close()
			c.Close()
		}
	})
}

// Each CA that OpenSSL reads counts in the derived context, in whatever form
// of PEM: encoding/pem passes over some of these.
func TestContextCountsEveryCA(t *testing.T) {
	contextOf := func(ca []byte) []byte {
		cfg := serverConfig()
		cfg.CAPEM, cfg.Verify = ca, VerifyPeer
		c, err := NewContext(cfg)
		if err != nil {
			return nil
		}
		defer c.Close()
		return c.SessionIDContext()
	}
	ca, ca2 := readCert(t, "ca.pem"), readCert(t, "ca2.pem")
	one := contextOf(ca)
	both := contextOf(append(bytes.Clone(ca), ca2...))
	for _, x := range []struct{ name, old, new string }{
		{"plain", "\n", "\n"},
		{"carriage returns", "\n", "\r\r\n"},
		{"CRLF", "\n", "\r\n"},
		{"form feeds", "\n", "\f\n"},
		{"trailing blanks", "\n", " \t\n"},
		{"another name", "BEGIN CERTIFICATE", "BEGIN X509 CERTIFICATE"},
	} {
		odd := bytes.ReplaceAll(ca2, []byte(x.old), []byte(x.new))
		if x.name == "another name" {
			odd = bytes.ReplaceAll(odd, []byte("END CERTIFICATE"), []byte("END X509 CERTIFICATE"))
		}
		got := contextOf(append(bytes.Clone(ca), odd...))
		switch {
		case got == nil: // OpenSSL refuses it: nothing is trusted
		case bytes.Equal(got, one):
			t.Errorf("%s: OpenSSL trusts the second CA, and the context is that of the first alone", x.name)
		case !bytes.Equal(got, both):
			t.Errorf("%s: the context is that of neither set", x.name)
		}
	}
	if both == nil || bytes.Equal(one, both) {
		t.Error("two CAs have the context of one")
	}
}

// stingy gives only some bytes until it is allowed to read on.
type stingy struct {
	net.Conn
	allow chan struct{}
	some  int
}

func (s *stingy) Read(b []byte) (int, error) {
	if s.some > 0 {
		n, err := s.Conn.Read(b[:min(len(b), s.some)])
		s.some -= n
		return n, err
	}
	<-s.allow
	return s.Conn.Read(b)
}

// What a net.Conn did not take before its deadline is lost: no later
// handshake may go on as if it had been sent.
func TestHandshakeAfterLostBytes(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		server := newContext(t, serverConfig())
		a, b := net.Pipe()
		s, err := Server(a, server)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		st := &stingy{b, make(chan struct{}), 10}
		c := tls.Client(st, &tls.Config{InsecureSkipVerify: true, MaxVersion: version, MinVersion: version})
		done := make(chan error, 1)
		go func() { done <- c.Handshake() }()
		s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		first := s.Handshake()
		if !isTimeout(first) {
			t.Fatal(first)
		}
		s.SetWriteDeadline(time.Time{})
		close(st.allow)
		if err := s.Handshake(); err == nil {
			t.Error("the second handshake succeeded")
		}
		b.Close()
		<-done
	})
}

// A flight larger than the buffer of the memory transport, with a hold in it.
func TestLargeChain(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		st := newStore()
		chain := readCert(t, "server.pem")
		for inter := readCert(t, "intermediate.pem"); len(chain) < 125<<10; {
			chain = append(chain, inter...)
		}
		cfg := Config{Certificates: []Certificate{{ChainPEM: chain, KeyFile: cert("server-key.pem")}}}
		cfg.SessionCallbacks = st.callbacks()
		cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
		server := newContext(t, cfg)
		client, got := newClient(t, version)
		var o *ClientOptions
		for i := range 2 {
			s, c := connect(t, server, client, o, wrap)
			exchange(t, s, c)
			if c.ConnectionState().DidResume != (i == 1) {
				t.Errorf("round %d: resumed is %v", i, c.ConnectionState().DidResume)
			}
			s.Close()
			c.Close()
			o = &ClientOptions{Session: got.last(t)}
		}
	})
}

// A ticket that is built by a Read leaves while the Read goes on waiting.
func TestTicketOfAReadThatWaits(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			st := newStore()
			cfg := serverConfig()
			cfg.SessionCallbacks = st.callbacks()
			cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
			server := newContext(t, cfg)
			client, got := newClient(t, tls.VersionTLS13)
			s, c := connect(t, server, client, nil, tr.wrap)
			exchange(t, s, c)
			for range 2 {
				if err := s.NewSessionTicket(); err != nil {
					t.Fatal(err)
				}
			}
			read := make(chan error, 1)
			go func() { _, err := s.Read(make([]byte, 1)); read <- err }()
			has := func() int {
				got.mu.Lock()
				defer got.mu.Unlock()
				return len(got.list)
			}
			for limit := time.Now().Add(10 * time.Second); has() < 3 && time.Now().Before(limit); {
				c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				c.Read(make([]byte, 1))
			}
			if news, _, _ := st.counts(); has() != 3 || news != 3 {
				t.Errorf("the client has %d sessions, %d are stored, want 3", has(), news)
			}
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := <-read; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Answers that no step took are freed by whatever comes next: another
// handshake, Close, the collector.
func TestAnswersThatNoStepTook(t *testing.T) {
	for _, how := range []string{"again", "close", "forgotten"} {
		t.Run(how, func(t *testing.T) {
			k := newKeeper(t)
			cfg := serverConfig()
			cfg.SessionCallbacks = sessioncb.Callbacks{New: k, Get: k}
			cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
			server := newContext(t, cfg)
			client, got := newClient(t, tls.VersionTLS13)
			s, c := connect(t, server, client, nil, nil)
			exchange(t, s, c)
			s.Close()
			c.Close()
			k.answer = func(_ context.Context, conn sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
				// Below the Conn, so that the handler is not cut off, but the next step is.
				conn.(*Conn).NetConn().SetReadDeadline(time.Now().Add(-time.Second))
				return sessioncb.Live(k.session(t, id)), nil
			}
			before, gone := cshim.ReadGauges().Sessions, forgotten.Load()
			func() {
				a, b := sockets(t)
				s, err := Server(b, server)
				if err != nil {
					t.Fatal(err)
				}
				c, err := Client(a, client, &ClientOptions{ServerName: "localhost", Session: got.last(t)})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- c.Handshake() }()
				if err := s.Handshake(); !isTimeout(err) {
					t.Fatal(err)
				}
				if n := len(s.rest.sessions().lives); n != 1 {
					t.Fatalf("%d answers are left, want 1", n)
				}
				switch how {
				case "again":
					s.SetReadDeadline(time.Now().Add(10 * time.Second))
					if err := s.Handshake(); err != nil || !s.ConnectionState().DidResume {
						t.Errorf("the handshake that goes on: %v, resumed %v", err, s.ConnectionState().DidResume)
					}
					s.Close()
				case "close":
					s.Close()
				case "forgotten":
					b.Close()
				}
				<-done
				c.Close()
			}()
			if how == "forgotten" {
				for i := 0; i < 300 && forgotten.Load() == gone; i++ {
					collect()
				}
				if n := forgotten.Load() - gone; n != 1 {
					t.Errorf("%d objects were freed by the collector, want 1", n)
				}
				forgottenOnPurpose.Add(forgotten.Load() - gone)
			}
			k.mu.Lock()
			kept := int64(len(k.kept))
			k.mu.Unlock()
			got.mu.Lock()
			kept += int64(len(got.list))
			got.mu.Unlock()
			for i := 0; i < 300 && cshim.ReadGauges().Sessions > kept; i++ {
				collect()
			}
			if n := cshim.ReadGauges().Sessions; n > kept {
				t.Errorf("%d sessions are alive, %d are kept (%d before)", n, kept, before)
			}
		})
	}
}

// A peer that cuts the connection ends CloseWrite with an error.
func TestCloseWriteToNobody(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		server := newContext(t, serverConfig())
		client, _ := newClient(t, version)
		s, c := connect(t, server, client, nil, wrap)
		exchange(t, s, c)
		s.NetConn().Close()
		if err := s.CloseWrite(); err == nil || err == io.EOF {
			t.Errorf("CloseWrite: %v", err)
		}
	})
}
