package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/sessioncb/openssl/ssl"
)

// selfSignedLife is longer than a server without a certificate should run.
const selfSignedLife = 30 * 24 * time.Hour

// selfSigned makes a certificate for localhost and for host, if that is a name
// or an address of its own. Its key is in memory only.
func selfSigned(host string) (ssl.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ssl.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	host, _, _ = strings.Cut(host, "%") // the zone of an IPv6 address
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "sessioncb serve"},
		NotBefore:             now.Add(-time.Hour), // a client's clock may be slow
		NotAfter:              now.Add(selfSignedLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	switch ip := net.ParseIP(host); {
	case ip != nil && !ip.IsLoopback() && !ip.IsUnspecified():
		template.IPAddresses = append(template.IPAddresses, ip)
	case ip == nil && host != "" && host != "localhost":
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return ssl.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return ssl.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	return ssl.Certificate{
		ChainPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}
