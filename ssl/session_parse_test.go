package ssl

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

// A session is no more than its bytes: every prefix of them is refused, and so
// is every byte too many.
func TestParseSessionLength(t *testing.T) {
	noLeaks(t)
	for _, der := range sessionBytes(t) {
		for n := range der {
			if s, err := ParseSession(der[:n:n]); err == nil {
				s.Close()
				t.Errorf("%d of %d bytes decode", n, len(der))
			}
		}
		for _, more := range [][]byte{{0}, {0, 0}, {5, 0}, der} {
			if s, err := ParseSession(slices.Concat(der, more)); err == nil {
				s.Close()
				t.Errorf("%d bytes too many decode", len(more))
			}
		}
	}
}

// Whatever one flipped bit makes of it, a session that decodes is usable. A
// bit of each byte is tried; FuzzParseSession tries more.
func TestParseSessionBits(t *testing.T) {
	noLeaks(t)
	for _, der := range sessionBytes(t) {
		decoded := 0
		for i := range der {
			b := bytes.Clone(der)
			b[i] ^= 1 << (i % 8)
			if s, err := ParseSession(b); err == nil {
				decoded++
				exercise(t, s)
				s.Close()
			}
		}
		if decoded == 0 {
			t.Error("no mutant decodes: this test shows nothing")
		}
	}
}

// sessionBytes are the recorded sessions of OpenSSL 3.0.
func sessionBytes(t testing.TB) (list [][]byte) {
	for _, version := range versions {
		for _, side := range []string{"server", "client"} {
			list = append(list, recordedSession(t, version, side))
		}
	}
	return list
}

// exercise uses a session of untrusted bytes in every way that needs no
// connection. Its certificate may be one that Go cannot parse.
func exercise(t testing.TB, s *Session) {
	t.Helper()
	s.ID()
	s.IDContext()
	s.Ticket()
	s.TicketAppData()
	s.Version()
	s.CipherSuite()
	s.Time()
	s.Timeout()
	s.TicketLifetimeHint()
	s.ServerName()
	s.ALPN()
	s.HasTicket()
	s.Resumable()
	s.MaxEarlyData()
	_ = s.String()
	if cert, err := s.PeerCertificate(); cert != nil && err != nil {
		t.Errorf("a certificate and an error: %v", err)
	}
	if text := s.Text(); !strings.HasPrefix(text, "protocol: ") {
		t.Errorf("Text %q", text)
	}
	for _, copy := range []func() (*Session, error){s.Dup, func() (*Session, error) { r, err := s.Retain(); return r.(*Session), err }} {
		v, err := copy()
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
	}
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatalf("what was decoded cannot be encoded: %v", err)
	}
	v, err := ParseSession(der)
	if err != nil {
		t.Fatalf("what was encoded cannot be decoded: %v\n%x", err, der)
	}
	defer v.Close()
	again, err := v.MarshalBinary()
	if err != nil || !bytes.Equal(der, again) {
		t.Fatalf("the encoding does not stand: %v\n%x\n%x", err, der, again)
	}
}

// A PEM file may hold other blocks, and more than one session: the first counts.
func TestParseSessionPEM(t *testing.T) {
	a, b := recordedSession(t, tls.VersionTLS12, "client"), recordedSession(t, tls.VersionTLS13, "client")
	block := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der})
	}
	data := slices.Concat(readCert(t, "ca.pem"), block(a), block(b))
	s, err := ParseSessionPEM(data)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Version() != tls.VersionTLS12 {
		t.Error("not the first session")
	}
	if _, err := ParseSessionPEM(block(append(bytes.Clone(a), 0))); err == nil {
		t.Error("bytes left over in the block are accepted")
	}
}

// A certificate that Go cannot parse is an error, and no crash; Text says so.
func TestSessionUnreadablePeer(t *testing.T) {
	der := recordedSession(t, tls.VersionTLS12, "server")
	s, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cert, err := s.PeerCertificate()
	if err != nil || cert == nil {
		t.Fatalf("the recorded session has no certificate: %v", err)
	}
	// The public key's curve becomes one that nobody knows.
	curve := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	i := bytes.Index(der, curve)
	if i < 0 {
		t.Fatal("the recorded certificate is not of P-256")
	}
	der[i+len(curve)-1] = 0x7f
	odd, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	defer odd.Close()
	if _, err := odd.PeerCertificate(); err == nil {
		t.Error("Go parses a certificate with a curve that nobody knows")
	} else {
		saysWhy(t, err, "ssl: peer certificate of session")
	}
	if !strings.Contains(odd.Text(), "peer certificate: unreadable\n") {
		t.Errorf("Text:\n%s", odd.Text())
	}
}
