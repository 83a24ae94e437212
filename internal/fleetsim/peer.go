package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"github.com/sessioncb/openssl/internal/sealed"
	"github.com/sessioncb/openssl/sessioncb"
)

// A session is what a handshake would hand to the Cache: an id, and bytes in
// the place of the encoding, as many as a real one has.
type session struct {
	sealed.Mark
	id, idContext, der []byte
	version            uint16
	made               time.Time
	lifetime           time.Duration
}

func (s *session) ID() []byte                                  { return bytes.Clone(s.id) }
func (s *session) IDContext() []byte                           { return bytes.Clone(s.idContext) }
func (s *session) Version() uint16                             { return s.version }
func (s *session) Time() time.Time                             { return s.made }
func (s *session) Timeout() time.Duration                      { return s.lifetime }
func (s *session) ServerName() string                          { return "" }
func (s *session) PeerCertificate() (*x509.Certificate, error) { return nil, nil }
func (s *session) MarshalBinary() ([]byte, error)              { return bytes.Clone(s.der), nil }
func (s *session) Retain() (sessioncb.Session, error)          { return s, nil }
func (s *session) Close() error                                { return nil }

// A conn is a server's connection in its handshake.
type conn struct {
	sealed.Mark
	version   uint16
	idContext []byte
}

func (c *conn) Context() sessioncb.Context { return nil }
func (c *conn) IsServer() bool             { return true }
func (c *conn) ServerName() string         { return "" }
func (c *conn) Version() uint16            { return c.version }
func (c *conn) SessionIDContext() []byte   { return bytes.Clone(c.idContext) }
func (c *conn) RemoteAddr() net.Addr       { return nil }

// versionOf names the protocol that a client and the server agree on.
func versionOf(tls13 bool) uint16 {
	if tls13 {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}
