package main

import "github.com/sessioncb/openssl/cshim"

// live counts what is alive of the binding, and with -count of OpenSSL itself.
func live() map[string]int64 {
	g := cshim.ReadGauges()
	return map[string]int64{
		"contexts": g.Contexts, "conns": g.Conns, "bios": g.BIOs, "sessions": g.Sessions, "handles": g.Handles,
		"SSL_CTX": g.SSLCTX, "SSL": g.SSL, "SSL_SESSION": g.SSLSession,
	}
}
