// Command goopenssl is the peer of the benchmark on github.com/libp2p/go-openssl.
// It is a module of its own, and no module that somebody imports needs it.
//
// The library's API has no session callbacks, so there is no external store:
// its stores are "none", "internal" and "tickets". Nor has it SSL_CTX_set_num_tickets,
// SSL_CTX_set_ciphersuites and SSL_CTX_set1_groups_list. OpenSSL would send two
// tickets in TLS 1.3, also to a server that keeps no session, where the others
// send one or none. What the API cannot say, OpenSSL's configuration file can, so
// this program runs with one: see config.go. Left as they are:
//
//   - There is no SSL_CTX_set_client_CA_list: a request for a client certificate
//     names no CA.
//   - A handshake, and each Read, ends with a new goroutine that flushes.
//   - A connection's SSL is freed by a finalizer, not by Close. The garbage
//     collector does not know how large it is, so there are many of them.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	openssl "github.com/libp2p/go-openssl"

	"github.com/sessioncb/openssl/bench/peer"
)

const lifetime = time.Hour

func main() {
	if err := configure(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "goopenssl:", err)
		os.Exit(1)
	}
	os.Exit(peer.Main(peer.Program{
		Name: "goopenssl", Stores: []string{"none", "internal", "tickets"}, New: newServer,
	}))
}

var versions = map[uint16]openssl.Version{
	tls.VersionTLS12: openssl.TLS1_2_VERSION,
	tls.VersionTLS13: openssl.TLS1_3_VERSION,
}

func newServer(o *peer.Options, _ *peer.Counters) (*peer.Server, error) {
	if o.LookupDelay > 0 {
		return nil, fmt.Errorf("-lookup-delay: %w: no external lookups", peer.ErrNotHad)
	}
	ctx, err := openssl.NewCtxFromFiles(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, err
	}
	if v := versions[o.Version]; !ctx.SetMinProtoVersion(v) || !ctx.SetMaxProtoVersion(v) {
		return nil, errors.New("the version was refused")
	}
	if err := ctx.SetCipherList("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"); err != nil {
		return nil, err
	}
	if err := ctx.SetSessionId([]byte("bench")); err != nil {
		return nil, err
	}
	ctx.SetTimeout(lifetime)
	switch o.Store {
	case "none":
		ctx.SetOptions(openssl.NoTicket)
		ctx.SetSessionCacheMode(openssl.SessionCacheOff)
	case "internal":
		ctx.SetOptions(openssl.NoTicket)
		ctx.SetSessionCacheMode(openssl.SessionCacheServer)
		ctx.SessSetCacheSize(o.MaxSessions + 1) // OpenSSL keeps one less than it is told
	case "tickets":
		ctx.SetSessionCacheMode(openssl.SessionCacheOff)
	}
	if o.ClientCA != "" {
		if err := ctx.LoadVerifyLocations(o.ClientCA, ""); err != nil {
			return nil, err
		}
		ctx.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert, nil)
	}
	return &peer.Server{
		Wrap:    func(nc net.Conn) (peer.Conn, error) { return openssl.Server(nc, ctx) },
		Resumed: func(c peer.Conn) bool { return c.(*openssl.Conn).SessionReused() },
	}, nil
}
