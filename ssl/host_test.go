package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
)

// hosts makes a front whose GetConfigForClient chooses host for every name but
// front.example.
func hosts(t testing.TB, front Config, host *Context) *Context {
	t.Helper()
	front.GetConfigForClient = func(h *tls.ClientHelloInfo) (*Context, error) {
		if h.ServerName == "front.example" {
			return nil, nil
		}
		return host, nil
	}
	return newContext(t, front)
}

// under is a client's certificate with so many intermediates below root.
func under(t testing.TB, root tls.Certificate, intermediates int) Certificate {
	t.Helper()
	issuer := root
	var chain []byte
	for i := range intermediates {
		k := issue(t, issuer, &x509.Certificate{Subject: pkix.Name{CommonName: fmt.Sprint("intermediate ", i)},
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
		chain = append(k.ChainPEM, chain...)
		var err error
		if issuer, err = tls.X509KeyPair(k.ChainPEM, k.KeyPEM); err != nil {
			t.Fatal(err)
		}
	}
	leaf := issue(t, issuer, &x509.Certificate{Subject: pkix.Name{CommonName: "deep"}})
	leaf.ChainPEM = append(leaf.ChainPEM, chain...)
	return leaf
}

// observed is what clients of several kinds see of a server, and it of them.
type observed map[string]string

// reason names an error without what changes from run to run.
func reason(err error) string {
	var own *Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &own) && len(own.Queue) > 0:
		return own.Queue[len(own.Queue)-1].Reason
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut"
	}
	return fmt.Sprintf("%T", err)
}

// observe lets each kind of client come.
func observe(t *testing.T, server *Context, clients map[string]Config) observed {
	t.Helper()
	seen := observed{}
	for name, cfg := range clients {
		got := &clientSessions{}
		cfg.SessionCallbacks.New = got
		client := newContext(t, cfg)
		s, c := pair(t, server, client, nil, nil)
		serr, cerr := handshake(s, c)
		var line []string
		say := func(format string, args ...any) { line = append(line, fmt.Sprintf(format, args...)) }
		say("server %s", reason(serr))
		if serr == nil && cerr == nil {
			// A TLS 1.3 server's refusal of a certificate comes after the client is done.
			say("exchange %v", echo(s, c) == nil)
			sstate, cstate := s.ConnectionState(), c.ConnectionState()
			say("%s %s alpn %q", tls.VersionName(cstate.Version), tls.CipherSuiteName(cstate.CipherSuite), cstate.NegotiatedProtocol)
			say("from %v by %v", subjects(cstate.PeerCertificates), subjects(sstate.PeerCertificates))
			session := s.Session()
			seen["session id context"] = fmt.Sprintf("%x", session.IDContext())
			say("timeout %v", session.Timeout())
			session.Close()
			say("%d sessions", len(got.list))
			for _, v := range got.list {
				say("ticket of %v bytes for %v, early data %d", len(v.Ticket()) > 32, v.TicketLifetimeHint(), v.MaxEarlyData())
			}
		} else if cerr != nil {
			say("client %s", reason(cerr))
		}
		s.Close()
		c.Close()
		got.close()
		seen[name] = strings.Join(line, "; ")
	}
	return seen
}

// Each field of a Config that means something to a connection of a server is in
// force on a host that the ClientHello chose, whatever the Context that accepted
// the connection says; and where the host says nothing, the default is.
func TestHostConfig(t *testing.T) {
	root := tls.Certificate{Certificate: [][]byte{leafOf(t, "ca.pem").Raw}, PrivateKey: signerOf(t, "ca-key.pem")}
	deep := under(t, root, 2)
	with := func(change func(*Config)) Config {
		cfg := clientConfig()
		change(&cfg)
		return cfg
	}
	is := func(v uint16) func(*Config) { return func(c *Config) { c.MinVersion, c.MaxVersion = v, v } }
	both := func(f ...func(*Config)) func(*Config) {
		return func(c *Config) {
			for _, g := range f {
				g(c)
			}
		}
	}
	shows := func(leaf, key string) func(*Config) {
		return func(c *Config) { c.Certificates = files(leaf, key) }
	}
	clients := map[string]Config{
		"anonymous 1.2":   with(is(tls.VersionTLS12)),
		"anonymous 1.3":   with(is(tls.VersionTLS13)),
		"certificate 1.2": with(both(is(tls.VersionTLS12), shows("client.pem", "client-key.pem"))),
		"certificate 1.3": with(both(is(tls.VersionTLS13), shows("client.pem", "client-key.pem"))),
		"another CA's":    with(both(is(tls.VersionTLS12), shows("client2.pem", "client2-key.pem"))),
		"intermediate's":  with(both(is(tls.VersionTLS12), func(c *Config) { c.Certificates = []Certificate{deep} })),
		"ALPN":            with(func(c *Config) { c.NextProtos = []string{"b", "a"} }),
		"P-384":           with(both(is(tls.VersionTLS13), func(c *Config) { c.Groups = "P-384" })),
		"AES-128 in 1.2":  with(both(is(tls.VersionTLS12), func(c *Config) { c.CipherList = "ECDHE-ECDSA-AES128-GCM-SHA256" })),
		"ChaCha20 in 1.3": with(both(is(tls.VersionTLS13), func(c *Config) { c.CipherSuites = "TLS_CHACHA20_POLY1305_SHA256" })),
	}
	// What these fields change is the session id context and nothing else.
	onlyContext := []string{"Name", "TrustLabel", "TrustEpoch", "SessionIDContext"}
	asks := func(v VerifyMode) func(*Config) {
		return func(c *Config) { c.CAFile, c.Verify = cert("ca.pem"), v }
	}
	for _, x := range []struct {
		field     string
		base, set func(*Config) // set on top of base; base may be nil
	}{
		{"Certificates", nil, func(c *Config) { c.Certificates = files("server-rsa.pem", "server-rsa-key.pem") }},
		{"Name", nil, func(c *Config) { c.Name = "b.example" }},
		{"CAFile", asks(VerifyRequired), func(c *Config) { c.CAFile = cert("ca2.pem") }},
		{"CAPEM", asks(VerifyPeer), func(c *Config) { c.CAFile, c.CAPEM = "", readCert(t, "ca2.pem") }},
		{"CADir", asks(VerifyPeer), func(c *Config) { c.CAFile, c.CADir = "", rehashed(t, "ca2.pem") }},
		{"Verify: peer", nil, asks(VerifyPeer)},
		{"Verify: required", nil, asks(VerifyRequired)},
		{"VerifyDepth", asks(VerifyPeer), func(c *Config) { c.VerifyDepth = 1 }},
		{"TrustLabel", nil, func(c *Config) { c.TrustLabel = "other" }},
		{"TrustEpoch", nil, func(c *Config) { c.TrustEpoch = 7 }},
		{"MinVersion", nil, func(c *Config) { c.MinVersion = tls.VersionTLS13 }},
		{"MaxVersion", nil, func(c *Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"CipherList", nil, func(c *Config) { c.CipherList = "ECDHE-ECDSA-CHACHA20-POLY1305" }},
		{"CipherSuites", nil, func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256" }},
		{"Groups", nil, func(c *Config) { c.Groups = "X25519:P-256" }},
		{"NextProtos", nil, func(c *Config) { c.NextProtos = []string{"a", "b"} }},
		{"SessionTimeout", nil, func(c *Config) { c.SessionTimeout = time.Hour }},
		{"MaxResumptionAge", nil, func(c *Config) { c.MaxResumptionAge, c.SessionTimeout = time.Minute, 0 }},
		{"SessionIDContext", nil, func(c *Config) { c.SessionIDContext = []byte("mine") }},
		{"Tickets", nil, func(c *Config) { c.Tickets = TicketsStateful }},
		{"NumTickets", nil, func(c *Config) { c.NumTickets = 3 }},
	} {
		t.Run(x.field, func(t *testing.T) {
			plain, changed := serverConfig(), serverConfig()
			if x.base != nil {
				x.base(&plain)
				x.base(&changed)
			}
			x.set(&changed)
			a, b := newContext(t, plain), newContext(t, changed)
			seenA, seenB := observe(t, a, clients), observe(t, b, clients)
			visible := cmp.FilterPath(func(p cmp.Path) bool {
				k, ok := p.Last().(cmp.MapIndex)
				return ok && k.Key().String() == "session id context" && !slices.Contains(onlyContext, x.field)
			}, cmp.Ignore())
			if cmp.Equal(seenA, seenB, visible) {
				t.Fatalf("no client sees the field: %v", seenA)
			}
			if diff := cmp.Diff(seenB, observe(t, hosts(t, plain, b), clients)); diff != "" {
				t.Errorf("set on the host, not in front (-host itself +chosen):\n%s", diff)
			}
			if diff := cmp.Diff(seenA, observe(t, hosts(t, changed, a), clients)); diff != "" {
				t.Errorf("set in front, not on the host (-host itself +chosen):\n%s", diff)
			}
		})
	}
}

// What GetConfigForClient is told, for a client of each version.
func TestClientHelloInfo(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		var got *tls.ClientHelloInfo
		asked := 0
		cfg := serverConfig()
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*Context, error) {
			got = h
			asked++
			return nil, nil
		}
		server := newContext(t, cfg)
		ccfg := clientConfig()
		ccfg.MinVersion, ccfg.MaxVersion = version, version
		ccfg.NextProtos, ccfg.Groups = []string{"one", "two"}, "P-256:X25519"
		ccfg.CipherList, ccfg.CipherSuites = "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"
		s, c := connect(t, server, newContext(t, ccfg), nil, wrap)
		exchange(t, s, c)
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		suite := map[uint16]uint16{tls.VersionTLS12: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.VersionTLS13: tls.TLS_AES_128_GCM_SHA256}[version]
		if got.ServerName != "localhost" || got.Conn != s.NetConn() || got.CipherSuites[0] != suite {
			t.Errorf("%+v", got)
		}
		if diff := cmp.Diff([]string{"one", "two"}, got.SupportedProtos); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]tls.CurveID{tls.CurveP256, tls.X25519}, got.SupportedCurves); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]uint16{version}, got.SupportedVersions); diff != "" {
			t.Error(diff)
		}
		if len(got.SignatureSchemes) < 3 || len(got.Extensions) < 5 {
			t.Errorf("%d signature schemes, extensions %v", len(got.SignatureSchemes), got.Extensions)
		}
		if s.HostContext() != server {
			t.Error("another Context than that which accepted")
		}
	})
}

// A choice that cannot be ends the handshake with an alert, and its reason is
// the server's error.
func TestHostRefused(t *testing.T) {
	st := newStore()
	stored := serverConfig()
	stored.SessionCallbacks = st.callbacks()
	stored.Tickets, stored.SessionCacheMode = TicketsStateful, CacheExternal
	handlers := newContext(t, stored)
	withCache := serverConfig()
	withCache.SessionCache = newMemoryCache(t)
	cached := newContext(t, withCache)
	anonymous := newContext(t, clientConfig())
	closed, err := NewContext(serverConfig())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	broken := errors.New("no such customer")
	release := make(chan struct{})
	defer close(release)
	for _, x := range []struct {
		name   string
		choose func(*tls.ClientHelloInfo) (*Context, error)
		want   string
	}{
		{"an error", func(*tls.ClientHelloInfo) (*Context, error) { return nil, broken }, "no such customer"},
		{"a panic", func(*tls.ClientHelloInfo) (*Context, error) { panic("ouch") }, "GetConfigForClient handler panicked: ouch"},
		{"Goexit", func(*tls.ClientHelloInfo) (*Context, error) { goexit(); return nil, nil }, "Goexit"},
		{"late", func(*tls.ClientHelloInfo) (*Context, error) { <-release; return nil, nil }, "did not return in time"},
		{"callbacks of its own", func(*tls.ClientHelloInfo) (*Context, error) { return handlers, nil }, "SessionCallbacks, which would never be called"},
		{"another cache", func(*tls.ClientHelloInfo) (*Context, error) { return cached, nil }, "not the SessionCache"},
		{"no certificate", func(*tls.ClientHelloInfo) (*Context, error) { return anonymous, nil }, "no certificate"},
		{"closed", func(*tls.ClientHelloInfo) (*Context, error) { return closed, nil }, "context is closed"},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
				noLeaks(t)
				cfg := serverConfig()
				cfg.GetConfigForClient = x.choose
				cfg.LookupTimeout = 200 * time.Millisecond
				cfg.OnHandlerPanic = func(*HandlerPanicError) {}
				client, _ := newClient(t, version)
				s, c := pair(t, newContext(t, cfg), client, nil, wrap)
				serr, cerr := handshake(s, c)
				saysWhy(t, serr, "GetConfigForClient", x.want)
				if x.name == "an error" && !errors.Is(serr, broken) {
					t.Errorf("%v is not the error that was returned", serr)
				}
				saysWhy(t, cerr, "internal error") // the alert
				if again := s.Handshake(); again == nil || again.Error() != serr.Error() {
					t.Errorf("the second time: %v", again)
				}
			})
		})
	}
}

// A Context without a certificate may accept, if it chooses others.
func TestFrontWithoutCertificate(t *testing.T) {
	host := newContext(t, serverConfig())
	front := hosts(t, Config{}, host)
	eachVersion(t, func(t *testing.T, version uint16) {
		client, _ := newClient(t, version)
		s, c := connect(t, front, client, nil, nil)
		exchange(t, s, c)
		if s.HostContext() != host || s.Context() != sessioncb.Context(front) {
			t.Error("not the host that was chosen, or not the birth context")
		}
		s, c = pair(t, front, client, &ClientOptions{ServerName: "front.example"}, nil)
		if serr, _ := handshake(s, c); serr == nil {
			t.Error("a handshake without a certificate")
		}
	})
}

// A mixed listener: one host asks for certificates, one speaks TLS 1.3 only.
// Who does not meet a host's terms gets nowhere, in a full handshake too.
func TestMixedListener(t *testing.T) {
	mtls := mutual()
	mtls.Verify, mtls.Name = VerifyRequired, "mtls"
	new13 := serverConfig()
	new13.MinVersion, new13.Name = tls.VersionTLS13, "new"
	byName := map[string]*Context{"mtls.localhost": newContext(t, mtls), "new.localhost": newContext(t, new13)}
	cfg := serverConfig()
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*Context, error) { return byName[h.ServerName], nil }
	front := newContext(t, cfg)
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, x := range []struct {
			host        string
			certificate bool
			want        bool
		}{
			{"localhost", false, true},
			{"mtls.localhost", false, false},
			{"mtls.localhost", true, true},
			{"new.localhost", false, version == tls.VersionTLS13},
		} {
			t.Run(fmt.Sprint(x.host, x.certificate), func(t *testing.T) {
				ccfg := Config{Verify: VerifyNone, MinVersion: version, MaxVersion: version}
				if x.certificate {
					ccfg.Certificates = files("client.pem", "client-key.pem")
				}
				s, c := pair(t, front, newContext(t, ccfg), &ClientOptions{ServerName: x.host}, nil)
				serr, _ := handshake(s, c)
				if (serr == nil) != x.want {
					t.Errorf("the server's handshake: %v, want success: %v", serr, x.want)
				}
			})
		}
	})
}

// What the ClientHello said is not kept once the Context is chosen.
func TestHelloTextIsFreed(t *testing.T) {
	client, _ := newClient(t, tls.VersionTLS13)
	s, c := connect(t, hosts(t, serverConfig(), newContext(t, serverConfig())), client, nil, nil)
	exchange(t, s, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.ssl.HelloText()); n > 0 {
		t.Errorf("%d bytes of the ClientHello are kept", n)
	}
}

// The handlers of a host may be set while it is chosen; the race detector looks.
func TestHostWhoseHandlersChange(t *testing.T) {
	host := newContext(t, serverConfig())
	front := hosts(t, serverConfig(), host)
	client, _ := newClient(t, tls.VersionTLS13)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 1000 {
			if err := host.SetSessionCallbacks(sessioncb.Callbacks{}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 10 {
		s, c := connect(t, front, client, nil, nil)
		s.Close()
		c.Close()
	}
	wg.Wait()
}

// The groups of openssl.cnf, a policy of the machine, are in force on a host that
// sets none, though the front sets others.
func TestGroupsOfTheSystem(t *testing.T) {
	if os.Getenv("OPENSSL_CONF") == "" {
		conf := filepath.Join(t.TempDir(), "openssl.cnf")
		text := "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nGroups = P-384\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestGroupsOfTheSystem$", "-test.v")
		cmd.Env = append(os.Environ(), "OPENSSL_CONF="+conf)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestGroupsOfTheSystem")) {
			t.Errorf("under a policy: %v\n%s", err, out)
		}
		return
	}
	host := newContext(t, serverConfig())
	front := serverConfig()
	front.Groups = "P-256:P-384"
	for name, server := range map[string]*Context{"the host": host, "behind a front": hosts(t, front, host)} {
		for groups, want := range map[string]bool{"P-256": false, "P-384": true} {
			ccfg := clientConfig()
			ccfg.Groups, ccfg.MinVersion = groups, tls.VersionTLS13
			s, c := pair(t, server, newContext(t, ccfg), nil, nil)
			if serr, _ := handshake(s, c); (serr == nil) != want {
				t.Errorf("%s, a client of %s: %v", name, groups, serr)
			}
		}
	}
}

// A client that names another host after a HelloRetryRequest is refused: the
// Context was chosen for the first name.
func TestOtherNameAfterRetry(t *testing.T) {
	cfg := serverConfig()
	cfg.Groups = "P-384"
	asked := 0
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*Context, error) { asked++; return nil, nil }
	server := newContext(t, cfg)
	ccfg := Config{Verify: VerifyNone, Groups: "X25519:P-384", MinVersion: tls.VersionTLS13}
	client := newContext(t, ccfg)
	for _, x := range []struct {
		name  string
		other string
		want  string
	}{
		{"the same", "first.example", ""},
		{"another", "other.example", "callback failed"},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, b := sockets(t)
			edit := &renamer{Conn: a, from: "first.example", to: x.other}
			s, err := Server(b, server)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c, err := Client(edit, client, &ClientOptions{ServerName: "first.example"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			serr, _ := handshake(s, c)
			if edit.hellos != 2 {
				t.Fatalf("%d ClientHellos, want 2: there was no HelloRetryRequest", edit.hellos)
			}
			if x.want == "" {
				if serr != nil {
					t.Fatal(serr)
				}
				return
			}
			saysWhy(t, serr, x.want)
		})
	}
}

// renamer puts another name into the second ClientHello that is written.
type renamer struct {
	net.Conn
	from, to string
	hellos   int
}

func (r *renamer) Write(b []byte) (int, error) {
	if strings.Contains(string(b), r.from) {
		if r.hellos++; r.hellos == 2 {
			if n, err := r.Conn.Write([]byte(strings.Replace(string(b), r.from, r.to, 1))); err != nil {
				return n, err
			}
			return len(b), nil
		}
	}
	return r.Conn.Write(b)
}

// A connection that dies while its host is chosen leaves nothing.
func TestDeathWhileChoosing(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		noLeaks(t)
		host := newContext(t, serverConfig())
		asked, release := make(chan struct{}), make(chan struct{})
		cfg := serverConfig()
		cfg.LookupTimeout = time.Minute
		cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*Context, error) {
			close(asked)
			<-release
			return host, nil
		}
		server := newContext(t, cfg)
		client, _ := newClient(t, version)
		s, c := pair(t, server, client, nil, wrap)
		done := make(chan error, 1)
		go func() { done <- s.HandshakeContext(context.Background()) }()
		go c.Handshake()
		<-asked
		s.Close()
		if err := <-done; err == nil {
			t.Error("a handshake of a closed connection")
		}
		close(release)
	})
}
