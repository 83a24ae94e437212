package ssl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
)

// mutual is a server that asks for certificates of ca.pem.
func mutual() Config {
	cfg := serverConfig()
	cfg.CAFile, cfg.Verify = cert("ca.pem"), VerifyPeer
	return cfg
}

// trustChanges are changes of a configuration that trusts, and whether a
// session of the one may be resumed under the other.
func trustChanges(t *testing.T) []trustChange {
	both := filepath.Join(t.TempDir(), "both-other-order.pem")
	var b bytes.Buffer
	b.WriteString("# the second comes first\n")
	b.Write(readCert(t, "ca2.pem"))
	b.WriteString("\nand this is between\n")
	b.Write(readCert(t, "ca.pem"))
	b.Write(readCert(t, "ca2.pem")) // once more
	if err := os.WriteFile(both, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	twoCAs := func(c *Config) { c.CAFile = cert("ca-both.pem") }
	return []trustChange{
		{"nothing", nil, nil, true},
		{"other certificate of the server", nil, func(c *Config) { c.Certificates = files("server-rsa.pem", "server-rsa-key.pem") }, true},
		{"other ciphers, size, timeout", nil, func(c *Config) { c.CipherList, c.SessionTimeout = "HIGH", 3600e9 }, true},
		{"CAs in a file and in bytes", nil, func(c *Config) { c.CAFile, c.CAPEM = "", readCert(t, "ca.pem") }, true},
		{"CAs in a file and in a directory", twoCAs, func(c *Config) { c.CAFile, c.CADir = "", rehashed(t, "ca2.pem", "ca.pem") }, true},
		{"CAs in another order, with comments, one twice", twoCAs, func(c *Config) { c.CAFile = both }, true},
		{"CAs in a file, and in file and bytes", twoCAs, func(c *Config) { c.CAPEM = readCert(t, "ca2.pem") }, true},

		{"verify mode", nil, func(c *Config) { c.Verify = VerifyRequired }, false},
		{"no verification", nil, func(c *Config) { c.Verify = VerifyNone }, false},
		{"depth", nil, func(c *Config) { c.VerifyDepth = 3 }, false},
		{"other depth", func(c *Config) { c.VerifyDepth = 2 }, func(c *Config) { c.VerifyDepth = 3 }, false},
		{"one CA more", nil, twoCAs, false},
		{"another CA", nil, func(c *Config) { c.CAFile = cert("ca2.pem") }, false},
		{"Name", nil, func(c *Config) { c.Name = "b.example" }, false},
		{"TrustLabel", nil, func(c *Config) { c.TrustLabel = "revoked 1" }, false},
		{"TrustEpoch", nil, func(c *Config) { c.TrustEpoch = 1 }, false},
		{"Name and TrustLabel changed about", func(c *Config) { c.Name, c.TrustLabel = "ab", "c" }, func(c *Config) { c.Name, c.TrustLabel = "a", "bc" }, false},
		{"SessionIDContext", nil, func(c *Config) { c.SessionIDContext = []byte("mine") }, false},
		{"other SessionIDContext", func(c *Config) { c.SessionIDContext = []byte("mine") }, func(c *Config) { c.SessionIDContext = []byte("mine2") }, false},
		{"SessionIDContext of both, other trust", func(c *Config) { c.SessionIDContext = []byte("mine") }, func(c *Config) {
			c.SessionIDContext, c.TrustLabel = []byte("mine"), "another"
		}, true},
	}
}

type trustChange struct {
	name string
	a, b func(*Config)
	same bool
}

func (x trustChange) configs() (a, b Config) {
	a, b = mutual(), mutual()
	if x.a != nil {
		x.a(&a)
	}
	if x.b != nil {
		x.b(&b)
	}
	return a, b
}

// The derived session id context is the same exactly where the trust is.
func TestSessionIDContext(t *testing.T) {
	for _, x := range trustChanges(t) {
		t.Run(x.name, func(t *testing.T) {
			cfgA, cfgB := x.configs()
			a, b := newContext(t, cfgA).SessionIDContext(), newContext(t, cfgB).SessionIDContext()
			if same := bytes.Equal(a, b); same != x.same {
				t.Errorf("same context: %v, want %v\n%x\n%x", same, x.same, a, b)
			}
			for _, got := range [][]byte{a, b} {
				if len(got) == 0 || len(got) > 32 {
					t.Errorf("%d bytes", len(got))
				}
			}
		})
	}
	// Every Context has one, a client and a server that trusts nobody too.
	for _, cfg := range []Config{{}, serverConfig(), clientConfig()} {
		if got := newContext(t, cfg).SessionIDContext(); len(got) != sha256.Size {
			t.Errorf("%x", got)
		}
	}
}

// Two servers share one store; a session of the one is resumed by the other
// exactly where the trust is the same, and costs a full handshake elsewhere.
func TestResumeUnderOtherTrust(t *testing.T) {
	for _, x := range trustChanges(t) {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				st := newStore()
				share := func(cfg Config) *Context {
					cfg.SessionCallbacks = st.callbacks()
					cfg.Tickets, cfg.SessionCacheMode, cfg.NumTickets = TicketsStateful, CacheExternal, 1
					return newContext(t, cfg)
				}
				cfgA, cfgB := x.configs()
				a, b := share(cfgA), share(cfgB)
				got := &clientSessions{}
				t.Cleanup(got.close)
				ccfg := clientConfig()
				ccfg.MinVersion, ccfg.MaxVersion = version, version
				ccfg.SessionCallbacks.New = got
				if !slices.Contains([]string{"another CA"}, x.name) {
					ccfg.Certificates = files("client.pem", "client-key.pem")
				}
				client := newContext(t, ccfg)

				s, c := connect(t, a, client, nil, nil)
				exchange(t, s, c)
				s.Close()
				c.Close()
				s, c = connect(t, b, client, &ClientOptions{Session: got.last(t)}, nil)
				exchange(t, s, c)
				if resumed := s.ConnectionState().DidResume; resumed != x.same || c.ConnectionState().DidResume != x.same {
					t.Errorf("resumed: %v, want %v", resumed, x.same)
				}
				want := uint64(1)
				if x.same {
					want = 0
				}
				if n := b.HandlerStats().WrongContext; n != want {
					t.Errorf("%d answers refused for their context, want %d", n, want)
				}
				if _, gets, hits := st.counts(); gets != 1 || hits != 1 {
					t.Errorf("the store was asked %d times and had it %d times, want 1 and 1", gets, hits)
				}
			})
		})
	}
}

// The same behind a Cache, which looks at the context before libssl does.
func TestCacheUnderOtherTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		cache := newMemoryCache(t)
		share := func(epoch uint64) *Context {
			cfg := mutual()
			cfg.SessionCache, cfg.TrustEpoch = cache, epoch
			return newContext(t, cfg)
		}
		a, b, again := share(1), share(2), share(1)
		client, got := newClient(t, version)
		s, c := connect(t, a, client, nil, nil)
		exchange(t, s, c)
		session := got.last(t)
		for _, x := range []struct {
			name   string
			server *Context
			want   bool
		}{{"b", b, false}, {"a", again, true}} {
			s, c := connect(t, x.server, client, &ClientOptions{Session: session}, nil)
			exchange(t, s, c)
			if got := s.ConnectionState().DidResume; got != x.want {
				t.Errorf("%s resumed: %v, want %v", x.name, got, x.want)
			}
		}
	})
}

// A CA that OpenSSL takes counts, also if Go would not parse it.
func TestContextOfOddCA(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key.pem")
	odd := func(serial string) []byte {
		return command(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
			"-keyout", key, "-subj", "/CN=odd", "-days", "2", "-set_serial", serial)
	}
	a, b := odd("-5"), odd("-6")
	contextOf := func(ca []byte) []byte {
		cfg := mutual()
		cfg.CAPEM = ca
		return newContext(t, cfg).SessionIDContext()
	}
	if bytes.Equal(contextOf(a), contextOf(b)) || bytes.Equal(contextOf(a), contextOf(nil)) {
		t.Error("two different sets of CAs have one session id context")
	}
}

// The system's CAs are those that OpenSSL loads, wherever its environment
// variables say they are.
func TestContextOfSystemCAs(t *testing.T) {
	context := func(file, dir string) []byte {
		t.Helper()
		t.Setenv("SSL_CERT_FILE", file)
		t.Setenv("SSL_CERT_DIR", dir)
		cfg := serverConfig()
		cfg.SystemCAs, cfg.Verify = true, VerifyPeer
		return newContext(t, cfg).SessionIDContext()
	}
	empty := t.TempDir()
	one := context(cert("ca.pem"), empty)
	if bytes.Equal(one, context(cert("ca2.pem"), empty)) {
		t.Error("another SSL_CERT_FILE has the same session id context")
	}
	if bytes.Equal(one, context(cert("ca.pem"), rehashed(t, "ca2.pem"))) {
		t.Error("another SSL_CERT_DIR has the same session id context")
	}
}

// A client's session stands for a verified server: it is not used for another
// name, nor by a context that verifies what the first did not.
func TestClientSessionOfAnotherServer(t *testing.T) {
	ca := tls.Certificate{Certificate: [][]byte{leafOf(t, "ca.pem").Raw}, PrivateKey: signerOf(t, "ca-key.pem")}
	onlyA := issue(t, ca, &x509.Certificate{Subject: pkix.Name{CommonName: "a"}, DNSNames: []string{"a.example.org"}})
	eachVersion(t, func(t *testing.T, version uint16) {
		st := newStore()
		scfg := Config{Certificates: []Certificate{onlyA}}
		scfg.SessionCallbacks = st.callbacks()
		scfg.Tickets, scfg.SessionCacheMode, scfg.NumTickets = TicketsStateful, CacheExternal, 1
		server := newContext(t, scfg)
		client, got := newClient(t, version)
		lax := &clientSessions{}
		t.Cleanup(lax.close)
		laxClient := newContext(t, Config{Verify: VerifyNone, MinVersion: version, MaxVersion: version,
			SessionCallbacks: sessioncb.Callbacks{New: lax}})

		s, c := connect(t, server, client, &ClientOptions{ServerName: "a.example.org"}, nil)
		exchange(t, s, c)
		s, c = connect(t, server, laxClient, &ClientOptions{ServerName: "b.example.org"}, nil)
		exchange(t, s, c)

		for _, x := range []struct {
			name    string
			session *Session
			server  string
			good    bool
		}{
			{"same name", got.last(t), "a.example.org", true},
			{"another name", got.last(t), "b.example.org", false},
			{"an address", got.last(t), "127.0.0.1", false},
			{"never verified", lax.last(t), "b.example.org", false},
			{"never verified, other name", lax.last(t), "a.example.org", true},
		} {
			t.Run(x.name, func(t *testing.T) {
				// Refused at once, a full handshake that fails, or one that
				// succeeds by itself: all good. Resumed without a check: not.
				a, b := sockets(t)
				s, err := Server(b, server)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				c, err := Client(a, client, &ClientOptions{ServerName: x.server, Session: x.session})
				if err != nil {
					if x.good {
						t.Errorf("Client: %v", err)
					}
					return
				}
				defer c.Close()
				_, err = handshake(s, c)
				if (err == nil) != x.good {
					t.Errorf("handshake: %v, resumed %v; want success: %v", err, c.ConnectionState().DidResume, x.good)
				}
			})
		}
	})
}

// The handlers of a Context with a SessionCache can be wrapped, all three at
// once, and go on being asked.
func TestWrappedCache(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		cache := newMemoryCache(t)
		cfg := serverConfig()
		cfg.SessionCache = cache
		server := newContext(t, cfg)
		asked := 0
		cb := cache.Callbacks()
		cb.Get = sessioncb.GetHandlerFunc(func(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			asked++
			return cache.GetSession(ctx, c, id)
		})
		if err := server.SetSessionCallbacks(sessioncb.Callbacks{Get: cb.Get}); err == nil {
			t.Error("the other two handlers were taken away")
		}
		if err := server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}
		client, got := newClient(t, version)
		s, c := connect(t, server, client, nil, nil)
		exchange(t, s, c)
		s, c = connect(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
		exchange(t, s, c)
		if !s.ConnectionState().DidResume || asked != 1 {
			t.Errorf("resumed %v, asked %d times", s.ConnectionState().DidResume, asked)
		}
	})
}
