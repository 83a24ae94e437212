package fleettest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// issued makes a client's certificate and its key, by the CA whose files are
// named so, and with that CA behind it if it is no root.
func issued(t testing.TB, ca string, key crypto.Signer) ssl.Certificate {
	t.Helper()
	issuer, err := tls.LoadX509KeyPair(cert(ca+".pem"), cert(ca+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "client by " + ca},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Leaf, key.Public(), issuer.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if ca != "ca" {
		above, err := os.ReadFile(cert(ca + ".pem"))
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, above...)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return ssl.Certificate{ChainPEM: chain, KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
}

// identity is what a connection says of its peer that a resumption must say too.
type identity struct {
	Version    uint16
	ServerName string
	ALPN       string
	Leaf       []byte
	Verify     []byte // of the session: the verify result, as an INTEGER; nil: good
}

func (r *report) identity(t testing.TB) identity {
	t.Helper()
	f := fieldsOf(t, r.Session)
	i := identity{Version: r.Version, ServerName: r.ServerName, ALPN: r.ALPN, Verify: f.field(verifyField)}
	if len(r.Peer) > 0 {
		i.Leaf = r.Peer[0]
	}
	if !bytes.Equal(f.field(peerField), i.Leaf) {
		t.Error("the session has another certificate than the connection")
	}
	return i
}

func identityOfClient(t testing.TB, c *visitor, state tls.ConnectionState) identity {
	t.Helper()
	f := fieldsOf(t, c.end)
	return identity{Version: state.Version, ServerName: state.ServerName, ALPN: state.NegotiatedProtocol,
		Leaf: state.PeerCertificates[0].Raw, Verify: f.field(verifyField)}
}

// extent is what a connection knows beyond the peer's leaf.
type extent struct {
	Certificates, VerifiedChains int
	OCSP                         bool
}

func extentOf(state tls.ConnectionState) extent {
	return extent{len(state.PeerCertificates), len(state.VerifiedChains), state.OCSPResponse != nil}
}

// A session made with a certificate in one process is resumed in another with
// the same peer, names and verify result, on both sides. What an encoded session
// does not carry is not there, as Conn.ConnectionState says.
func TestMutualTLSAcrossProcesses(t *testing.T) {
	ec := func() crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h := mutual("ca.pem", 0)
	h.Cert, h.Protos = "server-chain", []string{"h2", "http/1.1"}
	s := nodeSetup{Keys: [][]byte{sessioncb.GenerateKey()}, Redis: testserver.Redis(t).Addr(), Hosts: []host{h}}
	first, second := another(t).start(s), another(t).start(s)
	for _, x := range []struct {
		name   string
		config ssl.Config
		server string // name
		sends  int    // certificates
		trusts bool   // by its verify result
	}{
		{"by a root", ssl.Config{CAFile: cert("ca.pem"), Certificates: []ssl.Certificate{issued(t, "ca", ec())}}, "localhost", 1, true},
		{"by an intermediate", ssl.Config{CAFile: cert("ca.pem"), Certificates: []ssl.Certificate{issued(t, "intermediate", ec())}}, "a.example.test", 2, true},
		{"RSA", ssl.Config{CAFile: cert("ca.pem"), Certificates: []ssl.Certificate{issued(t, "intermediate", rsaKey)}}, "b.example.test", 2, true},
		{"of a client that could not verify", ssl.Config{Verify: ssl.VerifyNone, Certificates: []ssl.Certificate{issued(t, "ca", ec())}}, "c.example.test", 1, false},
		{"of a client that need not verify", ssl.Config{Verify: ssl.VerifyNone, CAFile: cert("ca.pem"), Certificates: []ssl.Certificate{issued(t, "ca", ec())}}, "d.example.test", 1, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				cfg := x.config
				cfg.MinVersion, cfg.MaxVersion, cfg.NextProtos = version, version, []string{"http/1.1", "h2"}
				client := newVisitor(t, cfg)
				// visit returns both sides' identities and extents.
				visit := func(m member, offer *ssl.Session) (serverSide, clientSide identity, serverExtent, clientExtent extent) {
					t.Helper()
					state, err := client.visit(m.addrs()[0], x.server, offer)
					r := took(t, m)
					if err != nil || r.Err != "" {
						t.Fatalf("the client: %v; the server: %q", err, r.Err)
					}
					if want := offer != nil; state.DidResume != want || r.Resumed != want {
						t.Fatalf("resumed: %v by the client, %v by the server, want %v", state.DidResume, r.Resumed, want)
					}
					return r.identity(t), identityOfClient(t, client, state), extent{len(r.Peer), r.Chains, r.OCSP != nil}, extentOf(state)
				}
				full, fullClient, hasServer, hasClient := visit(first, nil)
				live := client.last()
				encoded, err := ssl.ParseSession(marshal(t, live))
				if err != nil {
					t.Fatal(err)
				}
				defer encoded.Close()
				resumed, resumedClient, leftServer, leftClient := visit(second, encoded)
				_, _, _, liveClient := visit(second, live)
				block, _ := pem.Decode(x.config.Certificates[0].ChainPEM)
				want := identity{Version: version, ServerName: x.server, ALPN: "h2", Leaf: block.Bytes}
				if diff := cmp.Diff(want, full); diff != "" {
					t.Errorf("the server, full handshake (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(full, resumed); diff != "" {
					t.Errorf("the server (-full +resumed):\n%s", diff)
				}
				if good := fullClient.Verify == nil; good != x.trusts {
					t.Errorf("the client's verify result is %x: this shows nothing", fullClient.Verify)
				}
				if diff := cmp.Diff(fullClient, resumedClient); diff != "" {
					t.Errorf("the client (-full +resumed):\n%s", diff)
				}
				// What is there, and what does not survive.
				chains := map[bool]int{true: 1}[x.config.Verify != ssl.VerifyNone]
				for _, e := range []struct {
					name      string
					got, want extent
				}{
					{"the server, full", hasServer, extent{x.sends, 1, false}},
					{"the client, full", hasClient, extent{2, chains, false}},
					{"the server, resumed", leftServer, extent{1, 0, false}},
					{"the client, resumed", leftClient, extent{1, 0, false}},
					{"the client, resumed with a session that was not encoded", liveClient, extent{2, 0, false}},
				} {
					if e.got != e.want {
						t.Errorf("%s: %+v, want %+v", e.name, e.got, e.want)
					}
				}
			})
		})
	}
}
