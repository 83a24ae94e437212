package ssl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// X509_V_ERR_* values that the tests meet.
const (
	errExpired      = 10 // certificate has expired
	errNoIssuer     = 20 // unable to get local issuer certificate
	errChainTooLong = 22 // certificate chain too long
	errPurpose      = 26 // unsuitable certificate purpose
	errHost         = 62 // hostname mismatch
	errIP           = 64 // IP address mismatch
)

// refusedFor checks that err is a failed verification with code.
func refusedFor(t *testing.T, err error, code int64) {
	t.Helper()
	var v *VerifyError
	if !errors.As(err, &v) {
		t.Fatalf("%v, want a *VerifyError", err)
	}
	if v.Code != code {
		t.Errorf("refused with code %d (%v), want %d", v.Code, v, code)
	}
	if e := (*Error)(nil); !errors.As(err, &e) || e.Op != "handshake" || len(e.Queue) == 0 {
		t.Errorf("%#v is no *Error of the handshake with its queue", err)
	}
}

// leafOf is the first certificate in a file of testdata.
func leafOf(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	return parsePEM(t, readCert(t, name))
}

func parsePEM(t testing.TB, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// subjects names certificates, for comparison.
func subjects(list []*x509.Certificate) (names []string) {
	for _, c := range list {
		names = append(names, c.Subject.String())
	}
	return names
}

// rehashed is a CADir with the certificates of names, as openssl-rehash makes it.
func rehashed(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), readCert(t, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "", "openssl", "rehash", dir)
	return dir
}

// Good input, each shown by a handshake that could not be without it.
func TestGoodInput(t *testing.T) {
	combined := append(readCert(t, "server-key.pem"), readCert(t, "server.pem")...)
	combinedFile := filepath.Join(t.TempDir(), "combined.pem")
	if err := os.WriteFile(combinedFile, combined, 0o600); err != nil {
		t.Fatal(err)
	}
	withCertificate := func(k Certificate) func(*Config) {
		return func(c *Config) { c.Certificates = []Certificate{k} }
	}
	dir := rehashed(t, "ca.pem", "ca2.pem")
	name := func(file string) string { return leafOf(t, file).Subject.String() }
	for _, x := range []struct {
		name           string
		server, client func(*Config)
		check          func(t *testing.T, s, c tls.ConnectionState)
	}{
		{"PEM in bytes", withCertificate(Certificate{ChainPEM: readCert(t, "server.pem"), KeyPEM: readCert(t, "server-key.pem")}), nil, nil},
		{"combined bytes", withCertificate(Certificate{ChainPEM: combined}), nil, nil},
		{"combined file", withCertificate(Certificate{ChainFile: combinedFile}), nil, nil},
		{"encrypted key", withCertificate(Certificate{ChainFile: cert("server.pem"), KeyFile: cert("server-key-encrypted.pem"), Passphrase: []byte(passphrase)}), nil, nil},
		{"passphrase of a plain key", withCertificate(Certificate{ChainFile: cert("server.pem"), KeyFile: cert("server-key.pem"), Passphrase: []byte(passphrase)}), nil, nil},
		{"RSA", withCertificate(Certificate{ChainFile: cert("server-rsa.pem"), KeyFile: cert("server-rsa-key.pem")}), nil, func(t *testing.T, _, c tls.ConnectionState) {
			if c.PeerCertificates[0].PublicKeyAlgorithm != x509.RSA {
				t.Error("the server's key is not RSA")
			}
		}},
		{"chain", withCertificate(Certificate{ChainFile: cert("server-chain.pem"), KeyFile: cert("server-chain-key.pem")}), nil, func(t *testing.T, _, c tls.ConnectionState) {
			want := []string{name("server-chain-leaf.pem"), name("intermediate.pem")}
			if diff := cmp.Diff(want, subjects(c.PeerCertificates)); diff != "" {
				t.Errorf("PeerCertificates (-want +got):\n%s", diff)
			}
			want = append(want, name("ca.pem"))
			if len(c.VerifiedChains) != 1 {
				t.Fatalf("%d verified chains", len(c.VerifiedChains))
			}
			if diff := cmp.Diff(want, subjects(c.VerifiedChains[0])); diff != "" {
				t.Errorf("VerifiedChains (-want +got):\n%s", diff)
			}
		}},
		{"EC and RSA, the client wants RSA", func(c *Config) {
			c.Certificates = append(c.Certificates, files("server-rsa.pem", "server-rsa-key.pem")...)
			c.MaxVersion = tls.VersionTLS12
		}, func(c *Config) { c.CipherList = "ECDHE-RSA-AES128-GCM-SHA256" }, func(t *testing.T, _, c tls.ConnectionState) {
			if c.CipherSuite != tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 || c.PeerCertificates[0].PublicKeyAlgorithm != x509.RSA {
				t.Errorf("%s with %v", tls.CipherSuiteName(c.CipherSuite), c.PeerCertificates[0].PublicKeyAlgorithm)
			}
		}},
		{"CAPEM", nil, func(c *Config) { c.CAFile, c.CAPEM = "", readCert(t, "ca.pem") }, nil},
		{"CAPEM of two, with comments", nil, func(c *Config) {
			c.CAFile, c.CAPEM = "", append([]byte("the first\n"), readCert(t, "ca-both.pem")...)
		}, nil},
		{"CAPEM of one and CAFile of another", nil, func(c *Config) { c.CAPEM = readCert(t, "ca2.pem") }, nil},
		{"CADir", nil, func(c *Config) { c.CAFile, c.CADir = "", dir }, nil},
		{"VerifyNone", func(c *Config) { c.Certificates = files("server2.pem", "server2-key.pem") }, func(c *Config) { c.CAFile, c.Verify = "", VerifyNone }, func(t *testing.T, _, c tls.ConnectionState) {
			if len(c.PeerCertificates) != 1 {
				t.Errorf("%d peer certificates", len(c.PeerCertificates))
			}
		}},
		{"TLS 1.2 at the most", func(c *Config) { c.MaxVersion = tls.VersionTLS12 }, nil, func(t *testing.T, s, _ tls.ConnectionState) {
			if s.Version != tls.VersionTLS12 {
				t.Error(tls.VersionName(s.Version))
			}
		}},
		{"TLS 1.3 at the least", nil, func(c *Config) { c.MinVersion = tls.VersionTLS13 }, func(t *testing.T, s, _ tls.ConnectionState) {
			if s.Version != tls.VersionTLS13 {
				t.Error(tls.VersionName(s.Version))
			}
		}},
		{"versions by default", nil, nil, func(t *testing.T, s, c tls.ConnectionState) {
			if s.Version != tls.VersionTLS13 || c.Version != tls.VersionTLS13 {
				t.Error(tls.VersionName(s.Version), tls.VersionName(c.Version))
			}
		}},
		{"CipherList", func(c *Config) { c.CipherList, c.MaxVersion = "ECDHE-ECDSA-AES256-GCM-SHA384", tls.VersionTLS12 }, nil, func(t *testing.T, s, c tls.ConnectionState) {
			if s.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 || c.CipherSuite != s.CipherSuite {
				t.Error(tls.CipherSuiteName(s.CipherSuite), tls.CipherSuiteName(c.CipherSuite))
			}
		}},
		{"CipherSuites", nil, func(c *Config) { c.CipherSuites = "TLS_CHACHA20_POLY1305_SHA256" }, func(t *testing.T, s, c tls.ConnectionState) {
			if s.CipherSuite != tls.TLS_CHACHA20_POLY1305_SHA256 || c.CipherSuite != s.CipherSuite {
				t.Error(tls.CipherSuiteName(s.CipherSuite), tls.CipherSuiteName(c.CipherSuite))
			}
		}},
		{"Groups in common", func(c *Config) { c.Groups = "P-384:P-256" }, func(c *Config) { c.Groups = "P-384" }, nil},
		{"ALPN of both", func(c *Config) { c.NextProtos = []string{"b", "a"} }, func(c *Config) { c.NextProtos = []string{"a", "b"} }, func(t *testing.T, s, c tls.ConnectionState) {
			for _, st := range []tls.ConnectionState{s, c} {
				if st.NegotiatedProtocol != "b" {
					t.Errorf("%q", st.NegotiatedProtocol)
				}
			}
		}},
		{"ALPN of 255 bytes", func(c *Config) { c.NextProtos = []string{strings.Repeat("p", 255)} }, func(c *Config) { c.NextProtos = []string{strings.Repeat("p", 255)} }, func(t *testing.T, s, _ tls.ConnectionState) {
			if len(s.NegotiatedProtocol) != 255 {
				t.Errorf("%q", s.NegotiatedProtocol)
			}
		}},
		{"SlowPrivateKey", func(c *Config) { c.SlowPrivateKey = true }, nil, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			noLeaks(t)
			scfg, ccfg := serverConfig(), clientConfig()
			if x.server != nil {
				x.server(&scfg)
			}
			if x.client != nil {
				x.client(&ccfg)
			}
			s, c := connect(t, newContext(t, scfg), newContext(t, ccfg), nil, nil)
			exchange(t, s, c)
			sst, cst := s.ConnectionState(), c.ConnectionState()
			for _, st := range []tls.ConnectionState{sst, cst} {
				if !st.HandshakeComplete || st.DidResume || st.ServerName != "localhost" || st.CipherSuite == 0 || sst.Version != cst.Version {
					t.Errorf("ConnectionState %+v", st)
				}
			}
			if x.check != nil {
				x.check(t, sst, cst)
			}
		})
	}
}

// SystemCAs are the file and the directory that OpenSSL's environment
// variables name.
func TestSystemCAs(t *testing.T) {
	empty := t.TempDir()
	for _, x := range []struct{ name, file, dir string }{
		{"file", cert("ca.pem"), empty},
		{"directory", cert("empty.pem"), rehashed(t, "ca.pem")},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Setenv("SSL_CERT_FILE", x.file)
			t.Setenv("SSL_CERT_DIR", x.dir)
			client := newContext(t, Config{SystemCAs: true})
			s, c := connect(t, newContext(t, serverConfig()), client, nil, nil)
			exchange(t, s, c)

			cfg := Config{Certificates: files("server2.pem", "server2-key.pem")}
			s, c = pair(t, newContext(t, cfg), client, nil, nil)
			_, err := handshake(s, c)
			refusedFor(t, err, errNoIssuer)
		})
	}
}

// No handshake where both sides have nothing in common; the error says so.
func TestNothingInCommon(t *testing.T) {
	for _, x := range []struct {
		name           string
		server, client func(*Config)
		want           string // of the server's error
	}{
		{"versions", func(c *Config) { c.MaxVersion = tls.VersionTLS12 }, func(c *Config) { c.MinVersion = tls.VersionTLS13 }, "unsupported protocol"},
		{"groups", func(c *Config) { c.Groups = "P-384" }, func(c *Config) { c.Groups = "P-256" }, "no suitable"},
		{"ciphers", func(c *Config) { c.CipherList, c.MaxVersion = "ECDHE-ECDSA-AES256-GCM-SHA384", tls.VersionTLS12 }, func(c *Config) { c.CipherList = "ECDHE-ECDSA-AES128-GCM-SHA256" }, "no shared cipher"},
		{"suites", func(c *Config) { c.CipherSuites, c.MinVersion = "TLS_AES_128_GCM_SHA256", tls.VersionTLS13 }, func(c *Config) { c.CipherSuites = "TLS_AES_256_GCM_SHA384" }, "no shared cipher"},
		{"ALPN", func(c *Config) { c.NextProtos = []string{"a"} }, func(c *Config) { c.NextProtos = []string{"b"} }, "no application protocol"},
	} {
		t.Run(x.name, func(t *testing.T) {
			noLeaks(t)
			scfg, ccfg := serverConfig(), clientConfig()
			x.server(&scfg)
			x.client(&ccfg)
			s, c := pair(t, newContext(t, scfg), newContext(t, ccfg), nil, nil)
			serr, cerr := handshake(s, c)
			saysWhy(t, serr, "ssl: handshake", x.want)
			saysWhy(t, cerr, "ssl: handshake", "alert")
			if s.ConnectionState().HandshakeComplete || c.ConnectionState().HandshakeComplete {
				t.Error("ConnectionState says that the handshake is complete")
			}
		})
	}
}

// How a client judges the server's certificate.
func TestServerVerification(t *testing.T) {
	for _, x := range []struct {
		name, chain, key string
		client           func(*Config)
		server           string // ServerName
		code             int64  // X509_V_ERR_*, 0 if it is accepted
	}{
		{"right name", "server.pem", "server-key.pem", nil, "localhost", 0},
		{"name in capitals", "server.pem", "server-key.pem", nil, "LocalHost", 0},
		{"wildcard", "server.pem", "server-key.pem", nil, "www.example.test", 0},
		{"wildcard, two labels", "server.pem", "server-key.pem", nil, "a.b.example.test", errHost},
		{"wildcard, its parent", "server.pem", "server-key.pem", nil, "example.test", errHost},
		{"wrong name", "server.pem", "server-key.pem", nil, "host-b.example.org", errHost},
		{"part of a name", "server.pem", "server-key.pem", nil, "ocalhost", errHost},
		{"IPv4", "server.pem", "server-key.pem", nil, "127.0.0.1", 0},
		{"IPv6", "server.pem", "server-key.pem", nil, "::1", 0},
		{"IPv6, written out", "server.pem", "server-key.pem", nil, "0:0:0:0:0:0:0:1", 0},
		{"wrong IPv4", "server.pem", "server-key.pem", nil, "127.0.0.2", errIP},
		{"IPv4 of a certificate without one", "host-b.pem", "host-b-key.pem", nil, "127.0.0.1", errIP},
		{"another CA", "server2.pem", "server2-key.pem", nil, "localhost", errNoIssuer},
		{"both CAs", "server2.pem", "server2-key.pem", func(c *Config) { c.CAFile = cert("ca-both.pem") }, "localhost", 0},
		{"expired", "server-expired.pem", "server-expired-key.pem", nil, "localhost", errExpired},
		{"chain without its intermediate", "server-chain-leaf.pem", "server-chain-key.pem", nil, "localhost", errNoIssuer},
		{"chain", "server-chain.pem", "server-chain-key.pem", nil, "localhost", 0},
		{"chain within VerifyDepth", "server-chain.pem", "server-chain-key.pem", func(c *Config) { c.VerifyDepth = 1 }, "localhost", 0},
		{"VerifyNone, wrong name", "server.pem", "server-key.pem", func(c *Config) { c.Verify = VerifyNone }, "host-b.example.org", 0},
		{"VerifyNone, another CA", "server2.pem", "server2-key.pem", func(c *Config) { c.Verify = VerifyNone }, "localhost", 0},
		{"VerifyNone, expired", "server-expired.pem", "server-expired-key.pem", func(c *Config) { c.Verify = VerifyNone }, "localhost", 0},
		{"VerifyPeer, another CA", "server2.pem", "server2-key.pem", func(c *Config) { c.Verify = VerifyPeer }, "localhost", errNoIssuer},
	} {
		t.Run(x.name, func(t *testing.T) {
			server := newContext(t, Config{Certificates: files(x.chain, x.key)})
			eachVersion(t, func(t *testing.T, version uint16) {
				noLeaks(t)
				ccfg := clientConfig()
				ccfg.MinVersion, ccfg.MaxVersion = version, version
				if x.client != nil {
					x.client(&ccfg)
				}
				s, c := pair(t, server, newContext(t, ccfg), &ClientOptions{ServerName: x.server}, nil)
				serr, cerr := handshake(s, c)
				if x.code != 0 {
					refusedFor(t, cerr, x.code)
					// A TLS 1.3 server may not have finished either.
					if serr == nil {
						t.Error("the server finished the handshake")
					}
					if c.ConnectionState().HandshakeComplete {
						t.Error("ConnectionState says that the handshake is complete")
					}
					return
				}
				if serr != nil || cerr != nil {
					t.Fatalf("server %v, client %v", serr, cerr)
				}
				exchange(t, s, c)
				want := x.server
				if strings.ContainsAny(want, ":") || strings.HasPrefix(want, "127.") {
					want = "" // an address is no SNI name
				}
				if got := s.ConnectionState().ServerName; got != want {
					t.Errorf("SNI %q, want %q", got, want)
				}
			})
		})
	}
}

// How a server judges the client's certificate. A TLS 1.3 client finishes
// before the server judged it, and learns of it with its first Read.
func TestClientVerification(t *testing.T) {
	const none = -1 // refused for having no certificate
	read := func(name string) Certificate {
		return Certificate{ChainPEM: readCert(t, name+".pem"), KeyPEM: readCert(t, name+"-key.pem")}
	}
	mine, foreign := read("client"), read("client2")
	ca := tls.Certificate{Certificate: [][]byte{leafOf(t, "ca.pem").Raw}, PrivateKey: signerOf(t, "ca-key.pem")}
	old := issue(t, ca, &x509.Certificate{ExtKeyUsage: clientUse, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(86400, 0)})
	for _, x := range []struct {
		name   string
		verify VerifyMode
		chain  Certificate
		code   int64
	}{
		{"required and there", VerifyRequired, mine, 0},
		{"required and missing", VerifyRequired, Certificate{}, none},
		{"required, another CA", VerifyRequired, foreign, errNoIssuer},
		{"required, for servers only", VerifyRequired, read("server"), errPurpose},
		{"required, expired", VerifyRequired, old, errExpired},
		{"asked for and there", VerifyPeer, mine, 0},
		{"asked for and missing", VerifyPeer, Certificate{}, 0},
		{"asked for, another CA", VerifyPeer, foreign, errNoIssuer},
		{"not asked for", VerifyNone, foreign, 0},
		{"not asked for by default", VerifyDefault, foreign, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			scfg := serverConfig()
			scfg.CAFile, scfg.Verify = cert("ca.pem"), x.verify
			server := newContext(t, scfg)
			eachVersion(t, func(t *testing.T, version uint16) {
				noLeaks(t)
				ccfg := clientConfig()
				ccfg.MinVersion, ccfg.MaxVersion = version, version
				if x.chain.ChainPEM != nil {
					ccfg.Certificates = []Certificate{x.chain}
				}
				s, c := pair(t, server, newContext(t, ccfg), nil, nil)
				read := make(chan error, 1)
				go func() {
					_, err := c.Read(make([]byte, 1)) // handshakes first
					read <- err
				}()
				serr := s.Handshake()
				if x.code != 0 {
					if x.code == none {
						saysWhy(t, serr, "ssl: handshake", "peer did not return a certificate")
					} else {
						refusedFor(t, serr, x.code)
					}
					saysWhy(t, <-read, "ssl: ", "alert")
					if s.ConnectionState().HandshakeComplete {
						t.Error("ConnectionState says that the handshake is complete")
					}
					return
				}
				if serr != nil {
					t.Fatal(serr)
				}
				if _, err := s.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if err := <-read; err != nil {
					t.Fatal(err)
				}
				got := s.ConnectionState().PeerCertificates
				if wanted := x.chain.ChainPEM != nil && x.verify >= VerifyPeer; wanted != (len(got) > 0) {
					t.Fatalf("PeerCertificates %q", subjects(got))
				} else if wanted && !got[0].Equal(parsePEM(t, x.chain.ChainPEM)) {
					t.Errorf("PeerCertificates %q", subjects(got))
				}
			})
		})
	}
}

// A client's chain arrives whole, in its order.
func TestClientChain(t *testing.T) {
	middle := tls.Certificate{Certificate: [][]byte{leafOf(t, "intermediate.pem").Raw}, PrivateKey: signerOf(t, "intermediate-key.pem")}
	leaf := issue(t, middle, &x509.Certificate{Subject: pkix.Name{CommonName: "a client"}, ExtKeyUsage: clientUse})
	leaf.ChainPEM = append(leaf.ChainPEM, readCert(t, "intermediate.pem")...)
	eachVersion(t, func(t *testing.T, version uint16) {
		scfg := serverConfig()
		scfg.CAFile, scfg.Verify = cert("ca.pem"), VerifyRequired
		ccfg := clientConfig()
		ccfg.MinVersion, ccfg.MaxVersion = version, version
		ccfg.Certificates = []Certificate{leaf}
		s, c := connect(t, newContext(t, scfg), newContext(t, ccfg), nil, nil)
		exchange(t, s, c)
		st := s.ConnectionState()
		want := []string{"CN=a client", leafOf(t, "intermediate.pem").Subject.String()}
		if got := subjects(st.PeerCertificates); len(got) < 2 || !cmp.Equal(want, got[:2]) {
			t.Errorf("PeerCertificates %q, want %q first", got, want)
		}
		want = append(want, leafOf(t, "ca.pem").Subject.String())
		if len(st.VerifiedChains) != 1 {
			t.Fatalf("%d verified chains", len(st.VerifiedChains))
		}
		if diff := cmp.Diff(want, subjects(st.VerifiedChains[0])); diff != "" {
			t.Errorf("VerifiedChains (-want +got):\n%s", diff)
		}
	})
}

// VerifyDepth counts the CAs between the leaf and the root.
func TestVerifyDepth(t *testing.T) {
	root := tls.Certificate{Certificate: [][]byte{leafOf(t, "ca.pem").Raw}, PrivateKey: signerOf(t, "ca-key.pem")}
	var chain []byte
	issuer := root
	for _, name := range []string{"first CA", "second CA"} {
		ca := issue(t, issuer, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
		chain = append(bytes.Clone(ca.ChainPEM), chain...)
		var err error
		if issuer, err = tls.X509KeyPair(ca.ChainPEM, ca.KeyPEM); err != nil {
			t.Fatal(err)
		}
	}
	leaf := issue(t, issuer, &x509.Certificate{DNSNames: []string{"localhost"}})
	leaf.ChainPEM = append(leaf.ChainPEM, chain...)
	server := newContext(t, Config{Certificates: []Certificate{leaf}})
	for _, x := range []struct {
		depth int
		code  int64
	}{{0, 0}, {1, errChainTooLong}, {2, 0}, {100, 0}} {
		t.Run(fmt.Sprint(x.depth), func(t *testing.T) {
			ccfg := clientConfig()
			ccfg.VerifyDepth = x.depth
			s, c := pair(t, server, newContext(t, ccfg), nil, nil)
			_, err := handshake(s, c)
			if x.code != 0 {
				refusedFor(t, err, x.code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

var clientUse = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}

// issue makes a certificate under issuer, with what template says; it is valid
// from an hour ago to an hour ahead unless template says otherwise.
func issue(t testing.TB, issuer tls.Certificate, template *x509.Certificate) Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := x509.ParseCertificate(issuer.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(crand.Reader, template, parent, key.Public(), issuer.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Certificate{
		ChainPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// signerOf reads a private key of testdata.
func signerOf(t testing.TB, name string) any {
	t.Helper()
	block, _ := pem.Decode(readCert(t, name))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
