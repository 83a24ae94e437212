package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// configurationFile is libssl's: what is there holds for each SSL_CTX. The
// number of tickets depends on -store.
const configurationFile = `openssl_conf = init

[init]
ssl_conf = ssl

[ssl]
system_default = server

[server]
Groups = X25519:P-256
Ciphersuites = TLS_AES_128_GCM_SHA256
NumTickets = %d
`

// ours names the file of a process that configure has started. OpenSSL has read
// it by the time that main runs.
const ours = "GOOPENSSL_CONF"

// configure sees to it that libssl reads configurationFile. libssl is
// initialised before main, so the program is executed again, as the same process.
func configure(args []string) error {
	if name := os.Getenv(ours); name != "" {
		return os.Remove(name)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "goopenssl-*.cnf")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, configurationFile, tickets(args)); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "OPENSSL_CONF=") })
	return syscall.Exec(program, os.Args, append(env, "OPENSSL_CONF="+f.Name(), ours+"="+f.Name()))
}

// tickets is how many a TLS 1.3 handshake ends with, by the value of -store, in
// all the ways that package flag reads it.
func tickets(args []string) int {
	store := "none"
	for i, a := range args {
		name, value, joined := strings.Cut(a, "=")
		if strings.TrimLeft(name, "-") != "store" {
			continue
		}
		if joined {
			store = value
		} else if i+1 < len(args) {
			store = args[i+1]
		}
	}
	if store == "none" {
		return 0
	}
	return 1
}
