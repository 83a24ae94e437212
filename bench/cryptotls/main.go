// Command cryptotls is the peer of the benchmark on crypto/tls.
//
// It has no session ids and no external store, so its stores are "none" and
// "tickets". Its ciphers of TLS 1.3 cannot be chosen; the load generator offers
// one alone.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"github.com/sessioncb/openssl/bench/peer"
)

func main() {
	os.Exit(peer.Main(peer.Program{Name: "cryptotls", Stores: []string{"none", "tickets"}, New: newServer}))
}

func newServer(o *peer.Options, _ *peer.Counters) (*peer.Server, error) {
	if o.LookupDelay > 0 {
		return nil, fmt.Errorf("-lookup-delay: %w: no lookups", peer.ErrNotHad)
	}
	cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   o.Version, MaxVersion: o.Version,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		},
		CurvePreferences:       []tls.CurveID{tls.X25519, tls.CurveP256},
		SessionTicketsDisabled: o.Store == "none",
	}
	if o.ClientCA != "" {
		pem, err := os.ReadFile(o.ClientCA)
		if err != nil {
			return nil, err
		}
		cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificates in %s", o.ClientCA)
		}
	}
	return &peer.Server{
		Wrap:    func(nc net.Conn) (peer.Conn, error) { return tls.Server(nc, cfg), nil },
		Resumed: func(c peer.Conn) bool { return c.(*tls.Conn).ConnectionState().DidResume },
	}, nil
}
