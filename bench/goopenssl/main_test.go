package main

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/sessioncb/openssl/bench/peer"
)

const certs = "../../testdata/certs/"

// The client is crypto/tls, which knows no session ids: internal in TLS 1.2 is
// left to the load generator, which asserts for each connection that it resumed.
func TestStores(t *testing.T) {
	for _, test := range []struct {
		version uint16
		store   string
		resumes bool
	}{
		{tls.VersionTLS12, "none", false},
		{tls.VersionTLS12, "tickets", true},
		{tls.VersionTLS13, "none", false},
		{tls.VersionTLS13, "internal", true},
		{tls.VersionTLS13, "tickets", true},
	} {
		t.Run(tls.VersionName(test.version)+"/"+test.store, func(t *testing.T) {
			n := &peer.Counters{}
			s, err := newServer(&peer.Options{
				Version: test.version, Store: test.store, MaxSessions: 100,
				CertFile: certs + "server.pem", KeyFile: certs + "server-key.pem", ClientCA: certs + "ca.pem",
			}, n)
			if err != nil {
				t.Fatal(err)
			}
			l, err := peer.Listen()
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { defer close(done); s.Serve(l, "echo", n) }()
			t.Cleanup(func() { l.Close(); <-done })

			cert, err := tls.LoadX509KeyPair(certs+"client.pem", certs+"client-key.pem")
			if err != nil {
				t.Fatal(err)
			}
			client := &tls.Config{
				InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1),
				Certificates: []tls.Certificate{cert},
			}
			for i := range 3 {
				c, err := tls.Dial("tcp", l.Addr().String(), client)
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(c, "x")
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				state := c.ConnectionState()
				c.Close()
				if want := test.resumes && i > 0; state.DidResume != want || state.Version != test.version {
					t.Errorf("visit %d: resumed: %v in %#x; want %v", i, state.DidResume, state.Version, want)
				}
			}
			resumed := int64(0)
			if test.resumes {
				resumed = 2
			}
			if n.Handshakes.Load() != 3 || n.Resumed.Load() != resumed || n.Failed.Load() != 0 {
				t.Errorf("%d handshakes, %d resumed, %d failed", n.Handshakes.Load(), n.Resumed.Load(), n.Failed.Load())
			}
			client.Certificates, client.ClientSessionCache = nil, nil
			if c, err := tls.Dial("tcp", l.Addr().String(), client); err == nil {
				_, err = c.Read(make([]byte, 1)) // in TLS 1.3 the client learns it here
				c.Close()
				if err == nil {
					t.Error("a client without a certificate was served")
				}
			}
			for n.Failed.Load() == 0 { // the server counts a moment after its alert
				time.Sleep(time.Millisecond)
			}
		})
	}
}
