package ssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// passphrase opens server-key-encrypted.pem.
const passphrase = "correct-horse"

// noLeaks checks at the end of the test that no more is alive than at its
// beginning; what ends on other goroutines gets its time.
func noLeaks(t *testing.T) {
	before := cshim.ReadGauges()
	t.Cleanup(func() {
		var g cshim.Gauges
		for range 300 {
			if g = cshim.ReadGauges(); noMore(g, before) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("alive before %+v, after %+v", before, g)
	})
}

func noMore(g, than cshim.Gauges) bool {
	a, b := reflect.ValueOf(g), reflect.ValueOf(than)
	for i := range a.NumField() {
		if a.Field(i).Int() > b.Field(i).Int() {
			return false
		}
	}
	return true
}

// saysWhy checks an error: it is there, names all of want, and no secret.
func saysWhy(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", want)
	}
	text := err.Error()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
	if len(text) > 600 {
		t.Errorf("the error has %d bytes: %.80q", len(text), text)
	}
	for _, secret := range secretLines(t) {
		if strings.Contains(text, secret) {
			t.Error("the error holds key material")
		}
	}
}

// secretLines are the lines of the private keys, and the passphrases.
func secretLines(t *testing.T) []string {
	t.Helper()
	list := []string{passphrase, "wrong-horse"}
	for _, name := range []string{"server-key.pem", "server-rsa-key.pem", "server-key-encrypted.pem", "client-key.pem"} {
		for line := range strings.Lines(string(readCert(t, name))) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-") {
				list = append(list, line)
			}
		}
	}
	return list
}

func files(chain, key string) []Certificate {
	return []Certificate{{ChainFile: cert(chain), KeyFile: cert(key)}}
}

// anyCache is a Cache for configurations that never shake hands.
func anyCache(t *testing.T) *sessioncb.Cache { return newMemoryCache(t) }

var aGet = sessioncb.GetHandlerFunc(func(context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
	return sessioncb.Answer{}, nil
})

var aNew = sessioncb.NewHandlerFunc(func(context.Context, sessioncb.Conn, sessioncb.Session) bool { return false })

// Each row is one mistake in an otherwise good configuration of a server.
func TestNewContextRefuses(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	dir := t.TempDir()
	enormous := make([]byte, mostPEM+1)
	enormousFile := filepath.Join(dir, "enormous.pem")
	if err := os.WriteFile(enormousFile, enormous, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name  string
		spoil func(*Config)
		want  []string
	}{
		// Certificates and keys.
		{"chain is garbage", func(c *Config) { c.Certificates = files("garbage.pem", "server-key.pem") }, []string{"certificate", "ASN1"}},
		{"chain is no PEM", func(c *Config) { c.Certificates = files("not-pem.pem", "server-key.pem") }, []string{"certificate", "no start line"}},
		{"chain is empty", func(c *Config) { c.Certificates = files("empty.pem", "server-key.pem") }, []string{"certificate"}},
		{"chain ends in garbage", func(c *Config) {
			c.Certificates = []Certificate{{ChainPEM: append(readCert(t, "server.pem"), readCert(t, "garbage.pem")...), KeyFile: cert("server-key.pem")}}
		}, []string{"certificate", "ASN1"}},
		{"chain is a key", func(c *Config) { c.Certificates = files("server-key.pem", "server-key.pem") }, []string{"certificate", "no start line"}},
		{"chain is missing", func(c *Config) { c.Certificates = files("no-such-file.pem", "server-key.pem") }, []string{"certificate", "no-such-file.pem", "no such file"}},
		{"chain is a directory", func(c *Config) { c.Certificates = []Certificate{{ChainFile: dir, KeyFile: cert("server-key.pem")}} }, []string{"certificate", dir, "is a directory"}},
		{"no chain", func(c *Config) { c.Certificates = []Certificate{{KeyFile: cert("server-key.pem")}} }, []string{"certificate", "no ChainPEM and no ChainFile"}},
		{"an empty Certificate", func(c *Config) { c.Certificates = []Certificate{{}} }, []string{"certificate", "no ChainPEM and no ChainFile"}},
		{"chain given twice", func(c *Config) { c.Certificates[0].ChainPEM = readCert(t, "server.pem") }, []string{"certificate", "both", "server.pem"}},
		{"key given twice", func(c *Config) { c.Certificates[0].KeyPEM = readCert(t, "server-key.pem") }, []string{"private key", "both", "server-key.pem"}},
		{"key is garbage", func(c *Config) { c.Certificates = files("server.pem", "garbage.pem") }, []string{"private key"}},
		{"key is no PEM", func(c *Config) { c.Certificates = files("server.pem", "not-pem.pem") }, []string{"private key"}},
		{"key is empty", func(c *Config) { c.Certificates = files("server.pem", "empty.pem") }, []string{"private key"}},
		{"key is a certificate", func(c *Config) { c.Certificates = files("server.pem", "server.pem") }, []string{"private key"}},
		{"key is missing", func(c *Config) { c.Certificates = files("server.pem", "no-such-file.pem") }, []string{"private key", "no-such-file.pem", "no such file"}},
		{"key is a directory", func(c *Config) { c.Certificates = []Certificate{{ChainFile: cert("server.pem"), KeyFile: dir}} }, []string{"private key", dir, "is a directory"}},
		{"no key in the combined file", func(c *Config) { c.Certificates = []Certificate{{ChainFile: cert("server.pem")}} }, []string{"private key"}},
		{"key of another certificate", func(c *Config) { c.Certificates = files("server.pem", "server2-key.pem") }, []string{"private key", "key values mismatch"}},
		{"key of another kind", func(c *Config) { c.Certificates = files("server.pem", "server-rsa-key.pem") }, []string{"private key"}},
		{"key cut off", func(c *Config) {
			key := readCert(t, "server-key.pem")
			c.Certificates = []Certificate{{ChainFile: cert("server.pem"), KeyPEM: key[:len(key)/2]}}
		}, []string{"private key"}},
		{"encrypted key without passphrase", func(c *Config) { c.Certificates = files("server.pem", "server-key-encrypted.pem") }, []string{"private key"}},
		{"encrypted key, wrong passphrase", func(c *Config) {
			c.Certificates = files("server.pem", "server-key-encrypted.pem")
			c.Certificates[0].Passphrase = []byte("wrong-horse")
		}, []string{"private key"}},
		{"encrypted key, enormous passphrase", func(c *Config) {
			c.Certificates = files("server.pem", "server-key-encrypted.pem")
			c.Certificates[0].Passphrase = []byte(long)
		}, []string{"private key"}},
		{"second certificate is bad", func(c *Config) {
			c.Certificates = append(c.Certificates, files("server-rsa.pem", "server-key.pem")...)
		}, []string{"private key"}},
		{"two certificates of one kind", func(c *Config) {
			c.Certificates = append(c.Certificates, files("server2.pem", "server2-key.pem")...)
		}, []string{"certificate", "second", "ECDSA"}},
		{"enormous chain", func(c *Config) { c.Certificates = []Certificate{{ChainPEM: enormous}} }, []string{"certificate", "bytes"}},
		{"enormous key", func(c *Config) { c.Certificates = []Certificate{{ChainFile: cert("server.pem"), KeyPEM: enormous}} }, []string{"private key", "bytes"}},

		// Trust.
		{"CAPEM is garbage", func(c *Config) { c.CAPEM = readCert(t, "garbage.pem") }, []string{"CAPEM", "ASN1"}},
		{"CAPEM is no PEM", func(c *Config) { c.CAPEM = readCert(t, "not-pem.pem") }, []string{"CAPEM", "no start line"}},
		{"CAPEM is a key", func(c *Config) { c.CAPEM = readCert(t, "ca-key.pem") }, []string{"CAPEM", "no start line"}},
		{"CAPEM ends in garbage", func(c *Config) { c.CAPEM = append(readCert(t, "ca.pem"), readCert(t, "garbage.pem")...) }, []string{"CAPEM", "ASN1"}},
		{"enormous CAPEM", func(c *Config) { c.CAPEM = enormous }, []string{"CAPEM", "bytes"}},
		{"enormous CAFile", func(c *Config) { c.CAFile = enormousFile }, []string{"CAFile", "bytes"}},
		{"CAFile is empty", func(c *Config) { c.CAFile = cert("empty.pem") }, []string{"CAFile", "empty.pem"}},
		{"CAFile is garbage", func(c *Config) { c.CAFile = cert("garbage.pem") }, []string{"CAFile", "garbage.pem", "ASN1"}},
		{"CAFile is missing", func(c *Config) { c.CAFile = cert("no-such-file.pem") }, []string{"CAFile", "no-such-file.pem", "no such file"}},
		{"CAFile is a directory", func(c *Config) { c.CAFile = dir }, []string{"CAFile", dir, "is a directory"}},
		{"CADir is missing", func(c *Config) { c.CADir = filepath.Join(dir, "none") }, []string{"CADir", "none", "no such file"}},
		{"CADir is a file", func(c *Config) { c.CADir = cert("ca.pem") }, []string{"CADir", "ca.pem", "not a directory"}},
		{"CADir with a NUL", func(c *Config) { c.CADir = dir + "\x00" }, []string{"CADir"}},
		{"verification without CAs", func(c *Config) { c.Verify = VerifyPeer }, []string{"Verify", "no CA certificates"}},
		{"required certificates without CAs", func(c *Config) { c.Verify = VerifyRequired }, []string{"Verify", "no CA certificates"}},
		{"unknown verify mode", func(c *Config) { c.Verify = 4 }, []string{"Verify", "unknown mode 4"}},
		{"negative verify mode", func(c *Config) { c.Verify = -1 }, []string{"Verify", "unknown mode -1"}},
		{"negative VerifyDepth", func(c *Config) { c.VerifyDepth = -1 }, []string{"VerifyDepth", "-1"}},
		{"VerifyDepth of an int32", func(c *Config) { c.VerifyDepth = 1 << 31 }, []string{"VerifyDepth", "2147483648"}},
		{"enormous VerifyDepth", func(c *Config) { c.VerifyDepth = 1 << 40 }, []string{"VerifyDepth", "1099511627776"}},

		// Protocol.
		{"TLS 1.1", func(c *Config) { c.MinVersion = tls.VersionTLS11 }, []string{"version 0x0302", "TLS 1.2"}},
		{"a version of the future", func(c *Config) { c.MaxVersion = 0x0305 }, []string{"version 0x0305"}},
		{"MinVersion above MaxVersion", func(c *Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 }, []string{"MinVersion is above MaxVersion"}},
		{"unknown cipher", func(c *Config) { c.CipherList = "NO-SUCH-CIPHER" }, []string{"CipherList", "no cipher match"}},
		{"TLS 1.3 suite in CipherList", func(c *Config) { c.CipherList = "TLS_AES_128_GCM_SHA256" }, []string{"CipherList", "no cipher match"}},
		{"unknown suite", func(c *Config) { c.CipherSuites = "NO_SUCH_SUITE" }, []string{"CipherSuites"}},
		{"unknown group", func(c *Config) { c.Groups = "no-such-group" }, []string{"Groups"}},
		{"enormous CipherList", func(c *Config) { c.CipherList = long }, []string{"CipherList"}},
		{"enormous CipherSuites", func(c *Config) { c.CipherSuites = long }, []string{"CipherSuites"}},
		{"enormous Groups", func(c *Config) { c.Groups = long }, []string{"Groups"}},
		{"empty protocol", func(c *Config) { c.NextProtos = []string{"http/1.1", ""} }, []string{"NextProtos", "1 to 255"}},
		{"long protocol", func(c *Config) { c.NextProtos = []string{long[:256]} }, []string{"NextProtos", "256"}},
		{"CipherList with a NUL", func(c *Config) { c.CipherList = "ALL\x00NO-SUCH-CIPHER" }, []string{"CipherList", "NUL"}},
		{"CipherSuites with a NUL", func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256\x00x" }, []string{"CipherSuites", "NUL"}},
		{"Groups with a NUL", func(c *Config) { c.Groups = "P-256\x00x" }, []string{"Groups", "NUL"}},
		{"one unknown suite of two", func(c *Config) { c.CipherSuites = "TLS_AES_128_GCM_SHA256:NO_SUCH_SUITE" }, []string{"CipherSuites"}},
		{"one unknown group of two", func(c *Config) { c.Groups = "P-256:no-such-group" }, []string{"Groups"}},
		{"no suite at all", func(c *Config) { c.CipherSuites = ":" }, []string{"CipherSuites"}},
		{"more protocols than a ClientHello holds", func(c *Config) {
			for range 300 {
				c.NextProtos = append(c.NextProtos, long[:255])
			}
		}, []string{"NextProtos", "76800"}},

		// Sessions.
		{"cache beside callbacks", func(c *Config) {
			c.SessionCache, c.SessionCallbacks.New = anyCache(t), aNew
		}, []string{"SessionCache and SessionCallbacks"}},
		{"cache with stateless tickets", func(c *Config) { c.SessionCache, c.Tickets = anyCache(t), TicketsStateless }, []string{"TicketsStateful", "TicketsStateless"}},
		{"cache with CacheOff", func(c *Config) { c.SessionCache, c.SessionCacheMode = anyCache(t), CacheOff }, []string{"SessionCache", "CacheExternal", "SessionCacheMode"}},
		{"cache with CacheInternal", func(c *Config) { c.SessionCache, c.SessionCacheMode = anyCache(t), CacheInternal }, []string{"SessionCache", "CacheExternal", "SessionCacheMode"}},
		{"cache with CacheExternalLookup", func(c *Config) { c.SessionCache, c.SessionCacheMode = anyCache(t), CacheExternalLookup }, []string{"SessionCache", "CacheExternal", "SessionCacheMode"}},
		{"cache with two tickets", func(c *Config) { c.SessionCache, c.NumTickets = anyCache(t), 2 }, []string{"SessionCache", "NumTickets is 2"}},
		{"cache without tickets", func(c *Config) { c.SessionCache, c.NumTickets = anyCache(t), -1 }, []string{"SessionCache", "NumTickets is -1"}},
		{"cache with a size", func(c *Config) { c.SessionCache, c.SessionCacheSize = anyCache(t), 10 }, []string{"SessionCache", "SessionCacheSize"}},
		{"cache of a client", func(c *Config) { c.SessionCache, c.Certificates = anyCache(t), nil }, []string{"SessionCache", "no certificate"}},
		{"New that is never told", func(c *Config) { c.SessionCallbacks.New, c.SessionCacheMode = aNew, CacheOff }, []string{"New handler", "CacheOff"}},
		{"size of no cache", func(c *Config) {
			c.SessionCallbacks.New, c.SessionCallbacks.Get, c.SessionCacheMode, c.SessionCacheSize = aNew, aGet, CacheExternal, 10
		}, []string{"SessionCacheSize", "no internal cache"}},
		{"cache with TicketsNone", func(c *Config) { c.SessionCache, c.Tickets = anyCache(t), TicketsNone }, []string{"TicketsNone", "no session is resumed"}},
		{"Get with TicketsNone", func(c *Config) { c.SessionCallbacks.Get, c.Tickets = newStore(), TicketsNone }, []string{"TicketsNone"}},
		{"New with TicketsNone", func(c *Config) { c.SessionCallbacks.New, c.Tickets = aNew, TicketsNone }, []string{"TicketsNone"}},
		{"tickets with TicketsNone", func(c *Config) { c.NumTickets, c.Tickets = 1, TicketsNone }, []string{"TicketsNone"}},
		{"internal cache with TicketsNone", func(c *Config) { c.SessionCacheMode, c.Tickets = CacheInternal, TicketsNone }, []string{"TicketsNone"}},
		{"size with TicketsNone", func(c *Config) { c.SessionCacheSize, c.Tickets = 10, TicketsNone }, []string{"TicketsNone"}},
		{"early data with TicketsNone", func(c *Config) { c.MaxEarlyData, c.Tickets = 10, TicketsNone }, []string{"TicketsNone"}},
		{"size of a cache that is off", func(c *Config) { c.SessionCacheMode, c.SessionCacheSize = CacheOff, 10 }, []string{"SessionCacheSize", "no internal cache"}},
		{"external lookup without Get", func(c *Config) { c.SessionCacheMode, c.Tickets = CacheExternalLookup, TicketsStateful }, []string{"TicketsStateful", "no session could be found"}},
		{"Get that is never asked", func(c *Config) { c.SessionCallbacks.Get, c.MinVersion = aGet, tls.VersionTLS13 }, []string{"Get handler", "never asked", "TicketsStateful"}},
		{"Get that is never asked, said so", func(c *Config) {
			c.SessionCallbacks.Get, c.MinVersion, c.Tickets = aGet, tls.VersionTLS13, TicketsStateless
		}, []string{"Get handler", "never asked", "TicketsStateful"}},
		{"stateful tickets kept nowhere", func(c *Config) { c.Tickets, c.SessionCacheMode = TicketsStateful, CacheOff }, []string{"TicketsStateful", "no session could be found"}},
		{"stateful tickets kept outside and not found", func(c *Config) {
			c.Tickets, c.SessionCacheMode, c.SessionCallbacks.New = TicketsStateful, CacheExternal, aNew
		}, []string{"TicketsStateful", "no session could be found"}},
		{"unknown Tickets", func(c *Config) { c.Tickets = 4 }, []string{"Tickets", "unknown mode 4"}},
		{"negative Tickets", func(c *Config) { c.Tickets = -1 }, []string{"Tickets", "unknown mode -1"}},
		{"unknown SessionCacheMode", func(c *Config) { c.SessionCacheMode = 5 }, []string{"SessionCacheMode", "unknown mode 5"}},
		{"negative SessionCacheMode", func(c *Config) { c.SessionCacheMode = -1 }, []string{"SessionCacheMode", "unknown mode -1"}},
		{"negative SessionCacheSize", func(c *Config) { c.SessionCacheSize = -1 }, []string{"SessionCacheSize", "-1"}},
		{"negative SessionTimeout", func(c *Config) { c.SessionTimeout = -time.Second }, []string{"SessionTimeout", "-1s"}},
		{"part of a second", func(c *Config) { c.SessionTimeout = 1500 * time.Millisecond }, []string{"SessionTimeout", "1.5s"}},
		{"SessionTimeout of years", func(c *Config) { c.SessionTimeout = 400 * 24 * time.Hour }, []string{"SessionTimeout", "longer than a year"}},
		{"SessionIDContext of 33 bytes", func(c *Config) { c.SessionIDContext = make([]byte, 33) }, []string{"SessionIDContext", "33"}},
		{"enormous SessionIDContext", func(c *Config) { c.SessionIDContext = make([]byte, 1<<20) }, []string{"SessionIDContext", "1048576"}},
		{"many tickets", func(c *Config) { c.NumTickets = 101 }, []string{"NumTickets", "101"}},
		{"negative LookupTimeout", func(c *Config) { c.LookupTimeout = -1 }, []string{"LookupTimeout", "negative"}},
		{"negative StoreTimeout", func(c *Config) { c.StoreTimeout = -1 }, []string{"StoreTimeout", "negative"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			noLeaks(t)
			cfg := serverConfig()
			x.spoil(&cfg)
			c, err := NewContext(cfg)
			if c != nil {
				c.Close()
				t.Errorf("a Context came back")
			}
			saysWhy(t, err, append(x.want, "ssl: new context")...)
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Errorf("%T is no *Error", err)
			}
		})
	}
}

// What the configuration given to the table above would be without its mistake.
func TestServerConfigIsGood(t *testing.T) {
	newContext(t, serverConfig())
	newContext(t, Config{})
}

// NewContext copies what it needs, and leaves the Config as it was.
func TestNewContextCopies(t *testing.T) {
	encrypted := readCert(t, "server-key-encrypted.pem")
	cfg := Config{
		Certificates:     []Certificate{{ChainPEM: readCert(t, "server.pem"), KeyPEM: bytes.Clone(encrypted), Passphrase: []byte(passphrase)}},
		CAPEM:            readCert(t, "ca.pem"),
		NextProtos:       []string{"a", "b"},
		SessionIDContext: []byte("mine"),
	}
	server := newContext(t, cfg)
	if k := cfg.Certificates[0]; !bytes.Equal(k.KeyPEM, encrypted) || string(k.Passphrase) != passphrase {
		t.Error("NewContext changed the key or the passphrase")
	}
	k := &cfg.Certificates[0]
	clear(k.ChainPEM)
	clear(k.KeyPEM)
	clear(k.Passphrase)
	clear(cfg.CAPEM)
	clear(cfg.SessionIDContext)
	cfg.NextProtos[0] = "x"
	ccfg := clientConfig()
	ccfg.NextProtos = []string{"a"}
	s, c := connect(t, server, newContext(t, ccfg), nil, nil)
	exchange(t, s, c)
	if got := s.ConnectionState().NegotiatedProtocol; got != "a" {
		t.Errorf("ALPN %q", got)
	}
	got := server.SessionIDContext()
	if string(got) != "mine" {
		t.Errorf("SessionIDContext %q", got)
	}
	clear(got)
	if string(server.SessionIDContext()) != "mine" {
		t.Error("SessionIDContext is no copy")
	}
}

func TestSettersRefuse(t *testing.T) {
	noLeaks(t)
	ctx := newContext(t, serverConfig())
	client := newContext(t, clientConfig())
	cached := newContext(t, Config{Certificates: files("server.pem", "server-key.pem"), SessionCache: anyCache(t)})
	closed, err := NewContext(serverConfig())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	closed.Close() // does nothing
	der := recordedSession(t, tls.VersionTLS12, "server")
	s, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dead, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, _ := sockets(t)
	_, born := pair(t, ctx, client, nil, nil)
	long := strings.Repeat("x", 1<<20)
	no := func(a any, err error) error {
		if b, ok := a.(bool); ok && b {
			t.Error("the operation reports success")
		}
		return err
	}

	for _, x := range []struct {
		name string
		call func() error
		want []string
	}{
		{"SetCacheSize negative", func() error { return ctx.SetCacheSize(-1) }, []string{"ssl: set cache size", "-1"}},
		{"SetSessionTimeout 0", func() error { return ctx.SetSessionTimeout(0) }, []string{"ssl: set session timeout", "0s"}},
		{"SetSessionTimeout negative", func() error { return ctx.SetSessionTimeout(-time.Hour) }, []string{"ssl: set session timeout", "-1h"}},
		{"SetSessionTimeout 1.5 s", func() error { return ctx.SetSessionTimeout(1500 * time.Millisecond) }, []string{"ssl: set session timeout", "1.5s"}},
		{"SetSessionTimeout years", func() error { return ctx.SetSessionTimeout(1<<63 - 1) }, []string{"ssl: set session timeout", "year"}},
		{"SetSessionCallbacks of a cache", func() error { return cached.SetSessionCallbacks(sessioncb.Callbacks{}) }, []string{"ssl: set session callbacks", "SessionCache"}},
		{"SetSessionCallbacks after a connection", func() error { return ctx.SetSessionCallbacks(sessioncb.Callbacks{New: aNew}) }, []string{"ssl: set session callbacks", "connections exist"}},
		{"AddSession nil", func() error { return no(ctx.AddSession(nil)) }, []string{"ssl: add session", "nil"}},
		{"AddSession typed nil", func() error { return no(ctx.AddSession((*Session)(nil))) }, []string{"ssl: add session", "nil"}},
		{"AddSession zero", func() error { return no(ctx.AddSession(new(Session))) }, []string{"session is closed"}},
		{"AddSession closed", func() error { return no(ctx.AddSession(dead)) }, []string{"session is closed"}},
		{"RemoveSession nil", func() error { return no(ctx.RemoveSession(nil)) }, []string{"ssl: remove session", "nil"}},
		{"RemoveSession closed", func() error { return no(ctx.RemoveSession(dead)) }, []string{"session is closed"}},

		{"closed: SetSessionCallbacks", func() error { return closed.SetSessionCallbacks(sessioncb.Callbacks{}) }, []string{"context is closed"}},
		{"closed: AddSession", func() error { return no(closed.AddSession(s)) }, []string{"context is closed"}},
		{"closed: RemoveSession", func() error { return no(closed.RemoveSession(s)) }, []string{"context is closed"}},
		{"closed: FlushSessions", func() error { return closed.FlushSessions(time.Time{}) }, []string{"context is closed"}},
		{"closed: SetCacheSize", func() error { return closed.SetCacheSize(1) }, []string{"context is closed"}},
		{"closed: SetSessionTimeout", func() error { return closed.SetSessionTimeout(time.Second) }, []string{"context is closed"}},
		{"closed: Server", func() error { return second(Server(nc, closed)) }, []string{"context is closed"}},
		{"closed: Client", func() error { return second(Client(nc, closed, &ClientOptions{ServerName: "localhost"})) }, []string{"ssl: client"}},

		{"Server nil conn", func() error { return second(Server(nil, ctx)) }, []string{"ssl: server", "net.Conn is nil"}},
		{"Server nil context", func() error { return second(Server(nc, nil)) }, []string{"ssl: server", "Context is nil"}},
		{"Server zero context", func() error { return second(Server(nc, new(Context))) }, []string{"ssl: server", "no certificate"}},
		{"Server without certificate", func() error { return second(Server(nc, client)) }, []string{"ssl: server", "no certificate"}},
		{"Client nil conn", func() error { return second(Client(nil, client, nil)) }, []string{"ssl: client", "net.Conn is nil"}},
		{"Client nil context", func() error { return second(Client(nc, nil, nil)) }, []string{"ssl: client", "Context is nil"}},
		{"Client zero context", func() error { return second(Client(nc, new(Context), nil)) }, []string{"ssl: client", "no CA certificates"}},
		{"Client without CAs", func() error { return second(Client(nc, ctx, &ClientOptions{ServerName: "localhost"})) }, []string{"ssl: client", "no CA certificates"}},
		{"Client nil options", func() error { return second(Client(nc, client, nil)) }, []string{"ssl: client", "ServerName is empty"}},
		{"Client without name", func() error { return second(Client(nc, client, &ClientOptions{})) }, []string{"ssl: client", "ServerName is empty"}},
		{"Client enormous name", func() error { return second(Client(nc, client, &ClientOptions{ServerName: long})) }, []string{"ssl: client", "server name"}},
		{"Client name with a NUL", func() error {
			return second(Client(nc, client, &ClientOptions{ServerName: "localhost\x00.example.test"}))
		}, []string{"ssl: client", "name"}},
		{"Client address with a NUL", func() error {
			return second(Client(nc, client, &ClientOptions{ServerName: "127.0.0.1\x00"}))
		}, []string{"ssl: client", "name"}},
		{"Dial name with a NUL", func() error {
			return second(Dial("tcp", l.Addr().String(), client, &ClientOptions{ServerName: "localhost\x00x"}))
		}, []string{"ssl: client", "name"}},
		{"Client closed session", func() error {
			return second(Client(nc, client, &ClientOptions{ServerName: "localhost", Session: dead}))
		}, []string{"ssl: client", "session is closed"}},
		{"NewListener nil", func() error { return second(NewListener(nil, ctx)) }, []string{"ssl: listen", "net.Listener is nil"}},
		{"NewListener nil context", func() error { return second(NewListener(l, nil)) }, []string{"ssl: listen", "Context is nil"}},
		{"NewListener without certificate", func() error { return second(NewListener(l, client)) }, []string{"ssl: listen", "no certificate"}},
		{"Listen nil context", func() error { return second(Listen("tcp", "127.0.0.1:0", nil)) }, []string{"ssl: listen", "Context is nil"}},
		{"Listen unknown network", func() error { return second(Listen("tcp7", "127.0.0.1:0", ctx)) }, []string{"listen", "unknown network"}},
		{"Listen bad address", func() error { return second(Listen("tcp", "no port", ctx)) }, []string{"listen", "missing port"}},
		{"Dial no port", func() error { return second(Dial("tcp", "localhost", client, nil)) }, []string{"dial", "missing port"}},
		{"Dial unknown network", func() error { return second(Dial("tcp7", "localhost:1", client, nil)) }, []string{"dial", "unknown network"}},
		{"Dial nil context", func() error { return second(Dial("tcp", l.Addr().String(), nil, nil)) }, []string{"ssl: client", "Context is nil"}},
		{"Dial unix without name", func() error { return second(Dial("unix", filepath.Join(t.TempDir(), "none"), client, nil)) }, []string{"no such file"}},

		{"ParseSession nil", func() error { return second(ParseSession(nil)) }, []string{"ssl: parse session"}},
		{"ParseSession empty", func() error { return second(ParseSession([]byte{})) }, []string{"ssl: parse session"}},
		{"ParseSession garbage", func() error { return second(ParseSession([]byte(long))) }, []string{"ssl: parse session"}},
		{"ParseSessionPEM nil", func() error { return second(ParseSessionPEM(nil)) }, []string{"ssl: parse session", "no PEM block", "SSL SESSION PARAMETERS"}},
		{"ParseSessionPEM certificate", func() error { return second(ParseSessionPEM(readCert(t, "ca.pem"))) }, []string{"ssl: parse session", "no PEM block"}},
		{"ParseSessionPEM garbage", func() error {
			return second(ParseSessionPEM([]byte("-----BEGIN SSL SESSION PARAMETERS-----\nAAAA\n-----END SSL SESSION PARAMETERS-----\n")))
		}, []string{"ssl: parse session"}},
		{"SetTicketAppData closed", func() error { return dead.SetTicketAppData([]byte("x")) }, []string{"session is closed"}},
		{"MarshalBinary closed", func() error { return second(dead.MarshalBinary()) }, []string{"session is closed"}},
		{"MarshalPEM closed", func() error { return second(dead.MarshalPEM()) }, []string{"session is closed"}},
		{"Retain closed", func() error { return second(dead.Retain()) }, []string{"session is closed"}},
		{"Dup closed", func() error { return second(dead.Dup()) }, []string{"session is closed"}},
		{"Dup zero", func() error { return second(new(Session).Dup()) }, []string{"session is closed"}},

		{"ExportKeyingMaterial too early", func() error { return second(born.ExportKeyingMaterial("label", nil, 32)) }, []string{"ssl: export keying material", "not finished"}},
		{"CloseWrite too early", func() error { return born.CloseWrite() }, []string{"ssl: close write", "not finished"}},
		{"NewSessionTicket too early", func() error { return born.NewSessionTicket() }, []string{"ssl: new session ticket", "TLS 1.3"}},
		{"KeyUpdate too early", func() error { return born.KeyUpdate(true) }, []string{"ssl: key update", "TLS 1.3"}},

		{"Attach NULL", func() error { return second(Attach(nil, sessioncb.Callbacks{New: aNew}, nil)) }, []string{"ssl: attach", "NULL"}},
		{"Attach nothing", func() error { return second(Attach(nil, sessioncb.Callbacks{}, nil)) }, []string{"ssl: attach"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			noLeaks(t)
			saysWhy(t, x.call(), x.want...)
		})
	}

	// A closed Context answers what can be read with zeros.
	if closed.Stats() != (Stats{}) || closed.HandlerStats() != (HandlerStats{}) || closed.CacheSize() != 0 || closed.SessionTimeout() != 0 {
		t.Error("a closed Context reports numbers")
	}
}

// second returns the error of a call, and fails the test's purpose if the call
// returned a value beside it.
func second[T any](v T, err error) error {
	switch v := any(v).(type) {
	case *Conn:
		if v != nil {
			return errors.Join(errors.New("a Conn came back"), v.Close())
		}
	case *Session:
		if v != nil {
			return errors.Join(errors.New("a Session came back"), v.Close())
		}
	case *Listener:
		if v != nil {
			return errors.Join(errors.New("a Listener came back"), v.Close())
		}
	}
	return err
}

// recordedSession reads a session of testdata, made by OpenSSL 3.0.19.
func recordedSession(t testing.TB, version uint16, side string) []byte {
	t.Helper()
	number := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[version]
	der, err := os.ReadFile(filepath.Join("..", "testdata", "sessions", "openssl-3.0.19-tls"+number+"-"+side+".der"))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// After the handshake: what needs TLS 1.3 is an error in 1.2, sizes are bounded.
func TestConnSettersRefuse(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ccfg := clientConfig()
		ccfg.MinVersion, ccfg.MaxVersion = version, version
		s, c := connect(t, newContext(t, serverConfig()), newContext(t, ccfg), nil, nil)
		exchange(t, s, c)
		for _, n := range []int{-1, 0, 1<<16 + 1, 1 << 40} {
			_, err := s.ExportKeyingMaterial("EXPORTER-test", nil, n)
			saysWhy(t, err, "ssl: export keying material", "1 to 65536")
		}
		a, err := s.ExportKeyingMaterial("EXPORTER-test", []byte("context"), 40)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.ExportKeyingMaterial("EXPORTER-test", []byte("context"), 40)
		if err != nil || len(a) != 40 || !bytes.Equal(a, b) {
			t.Errorf("both sides export %x and %x, %v", a, b, err)
		}
		if version == tls.VersionTLS12 {
			saysWhy(t, s.NewSessionTicket(), "ssl: new session ticket", "TLS 1.3")
			saysWhy(t, s.KeyUpdate(false), "ssl: key update", "TLS 1.3")
		}
		saysWhy(t, c.NewSessionTicket(), "ssl: new session ticket")
		exchange(t, s, c) // the connection is as good as before
		s.Close()
		for _, err := range []error{s.NewSessionTicket(), s.KeyUpdate(true), s.Close(), s.Handshake()} {
			if err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		if _, err := s.ExportKeyingMaterial("EXPORTER-test", nil, 1); err == nil {
			t.Error("ExportKeyingMaterial works after Close")
		}
		if s.Session() != nil {
			t.Error("Session returns one after Close")
		}
	})
}

// Files with the key first are looked through for the certificate.
func TestTwoCombinedOfOneKind(t *testing.T) {
	var c Config
	for _, name := range []string{"server", "server2"} {
		c.Certificates = append(c.Certificates, Certificate{ChainPEM: append(readCert(t, name+"-key.pem"), readCert(t, name+".pem")...)})
	}
	x, err := NewContext(c)
	if x != nil {
		x.Close()
	}
	saysWhy(t, err, "certificate", "second", "ECDSA")
}
