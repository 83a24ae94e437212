package ssl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/sessioncb/openssl/cshim"
)

// ConnectionState describes the connection in the terms of crypto/tls. On a
// server whose handshake has not run it runs it first, within
// Config.HandshakeTimeout: net/http asks before the first byte. If it fails,
// HandshakeComplete is false. After a call of EarlyData it runs nothing: what it
// says before the handshake has finished is of the session that is resumed.
//
// A resumed connection knows of its peer what its session holds, and an encoded
// session, as those that come out of a store, holds the leaf certificate alone:
// PeerCertificates has no other and VerifiedChains is nil, on both sides. (A
// Session that never was encoded has the chain still: a client's that it kept
// itself, and one of a sessioncb.LiveStore.) VerifiedChains is also nil where the peer was not verified, which
// VerifyNone means. OCSPResponse and SignedCertificateTimestamps are always nil:
// nothing asks for them. The method ExportKeyingMaterial of the result does not
// work: use Conn.ExportKeyingMaterial.
func (c *Conn) ConnectionState() tls.ConnectionState {
	if c.server && !c.established.Load() && !c.early.asked.Load() {
		if err := c.Handshake(); err != nil {
			return tls.ConnectionState{ServerName: c.ServerName()}
		}
	}
	done := c.established.Load() && c.result == nil
	var s cshim.State
	steps.through(c.host.Load().gated, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ssl != nil {
			s = c.ssl.State()
		}
	})
	if s.VerifyResult != 0 || c.host.Load().verify == VerifyNone {
		s.Verified = nil // libssl has a chain, as far as it came
	}
	if !done && !c.EarlyDataAccepted() {
		return tls.ConnectionState{ServerName: s.ServerName}
	}
	return tls.ConnectionState{
		Version: uint16(s.Version), CipherSuite: uint16(s.Cipher),
		HandshakeComplete: done, DidResume: s.Resumed,
		NegotiatedProtocol: s.ALPN,
		//lint:ignore SA1019 old code asks for it; crypto/tls says true as well
		NegotiatedProtocolIsMutual: true,
		ServerName:                 s.ServerName,
		PeerCertificates:           certificates(s.Peer),
		VerifiedChains:             chains(s.Verified),
		OCSPResponse:               s.OCSP,
	}
}

func certificates(list [][]byte) []*x509.Certificate {
	var certs []*x509.Certificate
	for _, der := range list {
		// OpenSSL accepts what Go may not parse; the rest keeps its order.
		if cert, err := x509.ParseCertificate(der); err == nil {
			certs = append(certs, cert)
		}
	}
	return certs
}

func chains(list [][]byte) [][]*x509.Certificate {
	if certs := certificates(list); len(certs) > 0 {
		return [][]*x509.Certificate{certs}
	}
	return nil
}

// Version returns tls.VersionTLS12 or tls.VersionTLS13: on a server as soon as
// the ClientHello was read, on a client after the handshake; 0 before, and
// after Close (SSL_version).
func (c *Conn) Version() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return 0
	}
	return c.ssl.Version()
}

// ServerName returns the SNI name: on a server as soon as the ClientHello was
// read, "" before (SSL_get_servername).
func (c *Conn) ServerName() (name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return ""
	}
	if name = c.ssl.ServerName(); name == "" && c.established.Load() {
		name = c.ssl.State().ServerName
	}
	return name
}

// Session returns a copy of the connection's session, or nil if there is none
// yet (SSL_get1_session). The caller owns it. In TLS 1.3 it can be resumed
// only after the client read a ticket.
func (c *Conn) Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return nil
	}
	b := c.ssl.Session()
	if b.IsZero() {
		return nil
	}
	return own(b)
}

// ExportKeyingMaterial returns n bytes for the label and context; a nil
// context is none, which differs from an empty one in TLS 1.2
// (SSL_export_keying_material, RFC 5705).
func (c *Conn) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	const op = "export keying material"
	if !c.established.Load() || c.result != nil {
		return nil, &Error{Op: op, Err: errors.New("the handshake has not finished")}
	}
	if n <= 0 || n > 1<<16 {
		return nil, &Error{Op: op, Err: errors.New("the length must be 1 to 65536")}
	}
	out := make([]byte, n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil || !c.ssl.Export(out, label, context) {
		return nil, &Error{Op: op}
	}
	return out, nil
}
