// Command ours is the peer of the benchmark on this module's binding.
//
// Its stores, beside those that all peers have: "der" and "ref" are handlers of
// its own that do what the C server's callbacks do, and "cache" is a
// sessioncb.Cache over memstore, which seals each session: what its policy
// costs is the difference to "der".
package main

import (
	"flag"
	"net"
	"os"
	"time"

	"github.com/sessioncb/openssl/bench/peer"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/ssl"
)

// lifetime of a session, the same in all peers.
const lifetime = time.Hour

var (
	noGate bool
	hosts  int
)

func main() {
	os.Exit(peer.Main(peer.Program{
		Name:   "ours",
		Stores: []string{"none", "der", "ref", "internal", "tickets", "cache"},
		Flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&noGate, "no-gate", false, "let handshakes pass the gate (ssl.Config.SlowPrivateKey)")
			fs.IntVar(&hosts, "hosts", 0, "virtual hosts, each a Context; GetConfigForClient chooses by the name")
		},
		New: newServer,
	}))
}

func newServer(o *peer.Options, n *peer.Counters) (*peer.Server, error) {
	cfg, err := config(o, n)
	if err != nil {
		return nil, err
	}
	if hosts > 0 {
		if cfg.GetConfigForClient, err = virtual(cfg, hosts); err != nil {
			return nil, err
		}
	}
	ctx, err := ssl.NewContext(cfg)
	if err != nil {
		return nil, err
	}
	return &peer.Server{
		Listen: func(l *net.TCPListener) (net.Listener, error) { return ssl.ListenTCP(l, ctx) },
		Wrap: func(nc net.Conn) (peer.Conn, error) {
			if c, ok := nc.(*ssl.Conn); ok {
				return c, nil
			}
			return ssl.Server(nc, ctx)
		},
		// ConnectionState would tell as well, and copy the peer's certificates
		// for each connection; OpenSSL has counted already (SSL_CTX_sess_hits).
		Total: func(n *peer.Counters) { n.Resumed.Store(ctx.Stats().Hits) },
		Live:  live,
		Trim:  ssl.FreeOSMemory,
	}, nil
}

func config(o *peer.Options, n *peer.Counters) (ssl.Config, error) {
	cfg := ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: o.CertFile, KeyFile: o.KeyFile}},
		MinVersion:   o.Version, MaxVersion: o.Version,
		// The first group is used. OpenSSL wants the second for the certificate of a
		// client with a P-256 key in TLS 1.2.
		Groups:         "X25519:P-256",
		CipherList:     "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
		CipherSuites:   "TLS_AES_128_GCM_SHA256",
		SessionTimeout: lifetime,
		SlowPrivateKey: noGate,
	}
	if o.ClientCA != "" {
		cfg.CAFile, cfg.Verify = o.ClientCA, ssl.VerifyRequired
	}
	switch o.Store {
	case "none":
		cfg.Tickets = ssl.TicketsNone
	case "der":
		s := newDERStore(o.MaxSessions)
		external(&cfg, s.put, s.get, o, n)
	case "ref":
		s := newRefStore(o.MaxSessions)
		external(&cfg, s.put, s.get, o, n)
	case "internal":
		// OpenSSL keeps one less than it is told.
		cfg.SessionCacheMode, cfg.SessionCacheSize = ssl.CacheInternal, o.MaxSessions+1
		cfg.Tickets, cfg.NumTickets = ssl.TicketsStateful, 1
	case "tickets":
		cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = ssl.CacheOff, ssl.TicketsStateless, 1
	case "cache":
		// The bound in bytes is out of the way of the bound in entries.
		m, err := memstore.New(memstore.Options{MaxEntries: o.MaxSessions, MaxBytes: int64(o.MaxSessions) * 16 << 10})
		if err != nil {
			return cfg, err
		}
		store := &countedStore{Store: m, delay: o.LookupDelay, n: n}
		cfg.SessionCache, err = sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
		if err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}
