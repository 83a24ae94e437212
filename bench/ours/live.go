package main

import "github.com/sessioncb/openssl/ssl"

// live counts what is alive of the binding; each Conn has one SSL.
func live() map[string]int64 {
	o := ssl.LiveObjects()
	return map[string]int64{"contexts": o.Contexts, "conns": o.Conns, "sessions": o.Sessions}
}
