package ssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A holder has buffers beside a pointer, as net/http's connReader has. What cgo
// checks of an argument is the whole object that a buffer is part of.
type holder struct {
	pointer *int
	buf     [16]byte
	pem     [4096]byte
}

func newHolder(s string) *holder {
	h := &holder{pointer: new(int)}
	copy(h.buf[:], s)
	return h
}

// Buffers may be fields of a struct with pointers: those of Read and Write, and
// every other []byte that goes into C.
func TestBufferInStruct(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		cfg := serverConfig()
		cfg.SessionIDContext = newHolder("context").buf[:7]
		chain, key := newHolder(""), newHolder("")
		n, m := copy(chain.pem[:], readCert(t, "server.pem")), copy(key.pem[:], readCert(t, "server-key.pem"))
		cfg.Certificates = []Certificate{{ChainPEM: chain.pem[:n], KeyPEM: key.pem[:m]}}
		ca := newHolder("")
		client, got := newClient(t, version)
		n = copy(ca.pem[:], readCert(t, "ca.pem"))
		newContext(t, Config{CAPEM: ca.pem[:n]})
		s, c := connect(t, newContext(t, cfg), client, nil, wrap)
		for _, d := range []struct{ from, to *Conn }{{s, c}, {c, s}} {
			out, in := newHolder("in the middle"), newHolder("")
			if n, err := d.from.Write(out.buf[3:13]); n != 10 || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
			if n, err := d.to.Read(in.buf[2:]); n != 10 || err != nil {
				t.Fatalf("Read: %d, %v", n, err)
			}
			if string(in.buf[:]) != "\x00\x00the middle\x00\x00\x00\x00" {
				t.Errorf("the buffer has %q", in.buf)
			}
		}
		if _, err := s.ExportKeyingMaterial("EXPORTER-test", newHolder("some").buf[:4], 32); err != nil {
			t.Error(err)
		}
		v := got.last(t)
		if err := v.SetTicketAppData(newHolder("appdata").buf[:7]); err != nil || string(v.TicketAppData()) != "appdata" {
			t.Errorf("appdata %q, %v", v.TicketAppData(), err)
		}
		der := newHolder("")
		n = copy(der.pem[:], marshal(t, v))
		p, err := ParseSession(der.pem[:n])
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	})
}

// certificatesOf returns what a PEM file holds.
func certificatesOf(t *testing.T, name string) (list []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(readCert(t, name)); block != nil; block, rest = pem.Decode(rest) {
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	return list
}

var sameCertificate = cmp.Comparer(func(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) })

// ConnectionState has the peer's certificates, all of them and in order,
// whatever their lengths, and the chain that was verified.
func TestPeerCertificates(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		lengths := 0
		for _, row := range []struct {
			name           string
			server, client string // chain files
			ca             string // of the client's certificate
		}{
			{"client", "server.pem", "client.pem", "ca.pem"},
			{"client of another CA", "server.pem", "client2.pem", "ca2.pem"},
			{"chain of two", "server-chain.pem", "client.pem", "ca.pem"},
			{"RSA", "server-rsa.pem", "client2.pem", "ca2.pem"},
		} {
			t.Run(row.name, func(t *testing.T) {
				key := func(chain string) string { return cert(chain[:len(chain)-len(".pem")] + "-key.pem") }
				cfg := serverConfig()
				cfg.Certificates = []Certificate{{ChainFile: cert(row.server), KeyFile: key(row.server)}}
				cfg.Verify, cfg.CAFile = VerifyRequired, cert("ca-both.pem")
				ccfg := clientConfig()
				ccfg.MinVersion, ccfg.MaxVersion = version, version
				ccfg.Certificates = []Certificate{{ChainFile: cert(row.client), KeyFile: key(row.client)}}
				s, c := connect(t, newContext(t, cfg), newContext(t, ccfg), nil, nil)
				check := func(side string, st tls.ConnectionState, chain, ca string) {
					t.Helper()
					want := certificatesOf(t, chain)
					if d := cmp.Diff(want, st.PeerCertificates, sameCertificate); d != "" {
						t.Errorf("%s: PeerCertificates (-want +got):\n%s", side, d)
					}
					verified := [][]*x509.Certificate{append(want, certificatesOf(t, ca)...)}
					if d := cmp.Diff(verified, st.VerifiedChains, sameCertificate); d != "" {
						t.Errorf("%s: VerifiedChains (-want +got):\n%s", side, d)
					}
					for _, x := range verified[0] {
						lengths |= len(x.Raw)
					}
				}
				check("server", s.ConnectionState(), row.client, row.ca)
				check("client", c.ConnectionState(), row.server, "ca.pem")
			})
		}
		// The lengths that C passes are in two bytes here: each bit of the lower
		// one is set in some.
		if lengths&0xff != 0xff || lengths>>8 == 0 {
			t.Errorf("the certificates' lengths have the bits %#x only: make others", lengths)
		}
	})
}
