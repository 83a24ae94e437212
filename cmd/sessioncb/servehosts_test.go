package main

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Each virtual host has its certificate, and a session of one is not resumed
// under another; a name that is not listed gets the default.
func TestHosts(t *testing.T) {
	dir := t.TempDir()
	p := serve(t, "--store", "bolt:"+filepath.Join(dir, "s.bolt"), "--name", "main",
		"--host", "host-b.example.test="+cert("host-b.pem")+","+cert("host-b-key.pem"),
		"--host", "Self.Example.TEST.")
	for _, c := range []struct {
		asked, common, host string
	}{
		{"localhost", "localhost", "main"},
		{"", "localhost", "main"}, // no name asked for
		{"other.example.test", "localhost", "main"},
		{"host-b.example.test", "host-b.example.test", "host-b.example.test"},
		{"HOST-B.example.test", "host-b.example.test", "host-b.example.test"},
		{"self.example.test", "sessioncb serve", "self.example.test"},
	} {
		conn := goClient(t, p, &tls.Config{InsecureSkipVerify: true, ServerName: c.asked})
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != c.common {
			t.Errorf("%q: the certificate is of %q, want %q", c.asked, got, c.common)
		}
		said, err := ask(conn)
		if err != nil || said["host"] != c.host {
			t.Errorf("%q: host %q, %v, want %q", c.asked, said["host"], err, c.host)
		}
	}
	p.awaitLog(t, 1, "msg=handshake", attr("server_name", "host-b.example.test"), attr("host", "host-b.example.test"))

	eachWay(t, func(t *testing.T, w way) {
		session := filepath.Join(t.TempDir(), "session.pem")
		made := w.handshakeAs(t, p, "host-b.example.test", "", session, false)
		if made["host"] != "host-b.example.test" {
			t.Errorf("host %q", made["host"])
		}
		again := w.handshakeAs(t, p, "host-b.example.test", session, "", true)
		if want := made["session"] + " (found)"; again["offered"] != want {
			t.Errorf("offered %q, want %q", again["offered"], want)
		}
		// A client that offers it elsewhere all the same gets a full handshake.
		elsewhere := w.handshakeAs(t, p, "other.example.test", session, "", false)
		if !strings.HasPrefix(elsewhere["offered"], made["session"]) || elsewhere["host"] != "main" {
			t.Errorf("elsewhere: offered %q, host %q", elsewhere["offered"], elsewhere["host"])
		}
	})
	p.stop(t, syscall.SIGINT)
}

// A host whose certificate is not there is exit code 1, with the host's name.
func TestHostFails(t *testing.T) {
	r := command(t, "", "serve", "--addr", "127.0.0.1:0", "--host", "a.test="+filepath.Join(t.TempDir(), "none.pem"))
	if r.code != exitFailed || !strings.Contains(r.stderr, "host a.test") || !strings.Contains(r.stderr, "no such file") || r.stdout != "" {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// Clients with and without a certificate, as --client-auth wants them; a
// resumption knows the certificate too.
func TestClientAuth(t *testing.T) {
	pair, err := tls.LoadX509KeyPair(cert("client.pem"), cert("client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := tls.LoadX509KeyPair(cert("client2.pem"), cert("client2-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags                    []string
		with, without, strangers string // what the answer says of the client; "": refused
	}{
		{nil, "-", "-", "-"},
		{[]string{"--client-ca", cert("ca.pem")}, "CN=client", "", ""},
		{[]string{"--client-ca", cert("ca.pem"), "--client-auth", "require"}, "CN=client", "", ""},
		{[]string{"--client-ca", cert("ca.pem"), "--client-auth", "request"}, "CN=client", "-", ""},
	} {
		p := serve(t, c.flags...)
		for name, who := range map[string]struct {
			certificates []tls.Certificate
			want         string
		}{
			"with": {[]tls.Certificate{pair}, c.with}, "without": {nil, c.without}, "of another CA": {[]tls.Certificate{stranger}, c.strangers},
		} {
			cfg := &tls.Config{RootCAs: trusted(t), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(0)}
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(who.certificates) == 0 {
					return &tls.Certificate{}, nil
				}
				return &who.certificates[0], nil
			}
			for i := range 2 {
				conn := goClient(t, p, cfg)
				said, err := ask(conn)
				if who.want == "" {
					if err == nil {
						t.Errorf("%v, %s: answered: %v", c.flags, name, said)
					}
					continue
				}
				resumed := fullHandshake
				if i == 1 {
					resumed = byStatefulTicket
				}
				if err != nil || said["client"] != who.want || said["resumed"] != resumed {
					t.Errorf("%v, %s: client %q, resumed %q, %v; want %q, %q", c.flags, name, said["client"], said["resumed"], err, who.want, resumed)
				}
			}
		}
		p.stop(t, syscall.SIGINT)
	}
}

// What a session was made under decides where it is resumed: the epoch, the
// client CAs.
func TestEpoch(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		dir := t.TempDir()
		store := []string{"--store", "bolt:" + filepath.Join(dir, "s.bolt")}
		session := filepath.Join(dir, "session.pem")
		p := serve(t, append([]string{"--epoch", "1"}, store...)...)
		w.handshake(t, p, "", session, false)
		p.stop(t, syscall.SIGINT)
		for _, c := range []struct {
			flags   []string
			resumed bool
		}{
			{[]string{"--epoch", "2"}, false},
			{nil, false},
			{[]string{"--epoch", "1", "--client-ca", cert("ca.pem"), "--client-auth", "request"}, false},
			{[]string{"--epoch", "1"}, true},
		} {
			p := serve(t, append(c.flags, store...)...)
			w.handshake(t, p, session, "", c.resumed)
			p.stop(t, syscall.SIGINT)
		}
	})
}
