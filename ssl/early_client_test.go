package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/internal/chost"
)

// What the session does not allow is not sent, and what was sent before is not
// spoilt.
func TestEarlyDataTooMuch(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, first := range []int{0, 1, 1000} {
			p := newEarlyPair(t, wrap, nil)
			s, c := p.resume()
			if first > 0 {
				early(t, c, pattern(first))
			}
			n, err := c.WriteEarlyData(make([]byte, 1001-first))
			if n != 0 {
				t.Errorf("%d bytes were taken", n)
			}
			saysWhy(t, err, "ssl: write early data", "more than")
			if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
				t.Fatalf("handshake: server %v, client %v", serr, cerr)
			}
			got := make([]byte, first)
			if _, err := io.ReadFull(s, got); err != nil || string(got) != pattern(first) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			outcome(t, s, c, true, first > 0)
		}
	})
}

// A session of this very second, which has not begun by time(2): libssl since 3.2
// reads a clock that is a tick ahead of it.
func TestEarlyDataAtOnce(t *testing.T) {
	if cshim.VersionNum() < 0x30200000 {
		t.Skip("libssl before 3.2 reads the clock of time(2) itself: neither is ahead")
	}
	p := newEarlyPair(t, transports[0].wrap, nil)
	for tries := 0; ; tries++ {
		session, err := p.session().Dup()
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		now := time.Now().Truncate(time.Second).Add(time.Second)
		time.Sleep(time.Until(now) - 5*time.Millisecond)
		for time.Now().Before(now) {
		}
		session.use(func(b cshim.Session) { b.SSL_SESSION_set_time(now.Unix()) })
		s, c := pair(t, p.server, p.client, &ClientOptions{Session: session}, p.wrap)
		early(t, c, "early")
		lags := chost.Time().Before(now) // still, and so it did before
		s.Close()
		c.Close()
		if lags {
			return
		}
		if tries == 5 {
			t.Skip("six times a connection took longer than time(2) is behind here: the lag was never there to be seen")
		}
	}
}

// A client that cannot send early data is told why, nothing was sent, and its
// handshake goes on without.
func TestWriteEarlyDataSaysWhyNot(t *testing.T) {
	for _, x := range []struct {
		name    string
		server  func(*Config)          // of both connections
		clients func(*Config)          // of both
		client  func(*Config)          // of the second
		alter   func(cshim.Session)    // the client's session
		options func(*ClientOptions)   // of the second connection
		before  func(s, c *Conn) error // the call
		want    string
		resumed bool
		either  bool // versions of libssl differ in that
	}{
		{name: "no session", options: func(o *ClientOptions) { o.Session = nil }, want: "no session"},
		{name: "the server takes none", server: func(c *Config) { c.MaxEarlyData = 0; c.Tickets = TicketsStateful }, want: "takes none", resumed: true},
		{name: "TLS 1.2", server: func(c *Config) {
			c.MaxEarlyData, c.MaxVersion = 0, tls.VersionTLS12
			c.Tickets = TicketsStateful
		}, want: "takes none", resumed: true},
		{name: "the client is limited to TLS 1.2", client: func(c *Config) { c.MaxVersion = tls.VersionTLS12 }, want: "TLS 1.3"},
		{name: "too old", alter: func(b cshim.Session) {
			b.SSL_SESSION_set_time(time.Now().Unix() - 8000)
		}, want: "too old"},
		{name: "from the future", alter: func(b cshim.Session) {
			b.SSL_SESSION_set_time(time.Now().Unix() + 1000)
		}, want: "too old", either: true},
		{name: "the protocol is another", server: func(c *Config) { c.NextProtos = []string{"a", "b"} },
			client: func(c *Config) { c.NextProtos = []string{"b"} }, want: "ALPN", resumed: true},
		{name: "no protocol", server: func(c *Config) { c.NextProtos = []string{"a", "b"} },
			client: func(c *Config) { c.NextProtos = nil }, want: "ALPN", resumed: true},
		{name: "the name is another", clients: func(c *Config) { c.Verify = VerifyNone },
			options: func(o *ClientOptions) { o.ServerName = "other.example" }, want: "ServerName", resumed: true},
		{name: "no name", clients: func(c *Config) { c.Verify = VerifyNone },
			options: func(o *ClientOptions) { o.ServerName = "127.0.0.1" }, want: "ServerName", resumed: true},
		{name: "after the handshake", before: func(s, c *Conn) error {
			serr, cerr := handshake(s, c)
			return errors.Join(serr, cerr)
		}, want: "begun", resumed: true},
		{name: "in the handshake", before: func(s, c *Conn) error {
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if err := c.Handshake(); !isTimeout(err) {
				return errors.New("the handshake did not time out")
			}
			return c.SetReadDeadline(time.Now().Add(patience))
		}, want: "begun", resumed: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				balanced(t)
				h, got := newClaims(t), &clientSessions{}
				defer got.close()
				cfg, ccfg := earlyConfig(h), clientConfig()
				ccfg.SessionCallbacks.New = got
				if x.server != nil {
					x.server(&cfg)
					ccfg.NextProtos = cfg.NextProtos
				}
				if x.clients != nil {
					x.clients(&ccfg)
				}
				server := newContext(t, cfg)
				s, c := connect(t, server, newContext(t, ccfg), nil, wrap)
				exchange(t, s, c)
				s.Close()
				c.Close()
				session, err := got.last(t).Dup()
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close()
				if x.alter != nil {
					session.use(x.alter)
				}
				if x.client != nil {
					x.client(&ccfg)
				}
				o := &ClientOptions{Session: session}
				if x.options != nil {
					x.options(o)
				}
				s, c = pair(t, server, newContext(t, ccfg), o, wrap)
				if x.before != nil {
					if err := x.before(s, c); err != nil {
						t.Fatal(err)
					}
				}
				n, err := c.WriteEarlyData([]byte("early"))
				if n != 0 {
					t.Errorf("%d bytes were taken", n)
				}
				saysWhy(t, err, "ssl: write early data", x.want)
				if serr, cerr := handshake(s, c); serr != nil || cerr != nil {
					t.Fatalf("handshake: server %v, client %v", serr, cerr)
				}
				resumed := x.resumed
				if x.either {
					resumed = c.ConnectionState().DidResume
				}
				outcome(t, s, c, resumed, false)
			})
		})
	}
	t.Run("sides", func(t *testing.T) {
		p := newEarlyPair(t, transports[0].wrap, nil)
		s, c := p.resume()
		_, err := s.WriteEarlyData(nil)
		saysWhy(t, err, "ssl: write early data", "for a client")
		_, err = c.EarlyData(context.Background())
		saysWhy(t, err, "ssl: early data", "for a server")
		c.Close()
		if _, err := c.WriteEarlyData(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteEarlyData after Close: %v", err)
		}
		s.Close()
		if _, err := s.EarlyData(context.Background()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("EarlyData after Close: %v", err)
		}
	})
}
