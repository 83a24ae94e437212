package main

import (
	"crypto/tls"
	"testing"

	"github.com/sessioncb/openssl/bench/peer"
	"github.com/sessioncb/openssl/ssl"
)

// A host that is there is served, by the Context of its name; another is not.
func TestHosts(t *testing.T) {
	o := &peer.Options{
		Work: "echo", Version: tls.VersionTLS13, Store: "none", MaxSessions: 100,
		CertFile: certs + "server.pem", KeyFile: certs + "server-key.pem",
	}
	cfg, err := config(o, &peer.Counters{})
	if err != nil {
		t.Fatal(err)
	}
	choose, err := virtual(cfg, 2)
	if err != nil {
		t.Fatal(err)
	}
	var contexts []*ssl.Context
	for i := range 2 {
		ctx, err := choose(&tls.ClientHelloInfo{ServerName: hostName(i)})
		if err != nil {
			t.Fatal(err)
		}
		defer ctx.Close()
		contexts = append(contexts, ctx)
	}
	if contexts[0] == contexts[1] {
		t.Error("two hosts have one Context")
	}
	if _, err := choose(&tls.ClientHelloInfo{ServerName: hostName(2)}); err == nil {
		t.Error("a host that is not there is no error")
	}
	hosts = 2
	defer func() { hosts = 0 }()
	_, addr := serve(t, o)
	for name, want := range map[string]bool{hostName(0): true, hostName(1): true, hostName(2): false} {
		c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			c.Close()
		}
	}
}
