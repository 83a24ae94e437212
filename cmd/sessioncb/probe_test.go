package main

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goServer is a crypto/tls server that handshakes and then reads.
func goServer(t *testing.T, change func(*tls.Config)) (addr string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert("server.pem"), cert("server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if change != nil {
		change(cfg)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return l.Addr().String()
}

// rows are the lines of probe's table but the suite and the time, which must
// be there.
func rows(t *testing.T, table string) (list []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	column := func(line, name string) string {
		from := strings.Index(lines[0], name)
		if from < 0 || from >= len(line) {
			t.Fatalf("no column %s in %q of\n%s", name, line, table)
		}
		cell, _, _ := strings.Cut(line[from:], "  ")
		return strings.TrimSpace(cell)
	}
	for _, line := range lines[1:] {
		row := column(line, "VERSION") + ", " + column(line, "HANDSHAKE") + ", " + column(line, "RESUMED")
		suite, took := column(line, "SUITE"), column(line, "TIME")
		if made := strings.HasSuffix(took, " ms"); made != strings.HasPrefix(suite, "TLS_") || !made && took != "-" {
			t.Errorf("suite %q, time %q", suite, took)
		}
		list = append(list, row)
	}
	return list
}

// What probe finds at our server and at crypto/tls servers of all kinds.
func TestProbe(t *testing.T) {
	ours := serve(t)
	noTickets := func(c *tls.Config) { c.SessionTicketsDisabled = true }
	only := func(v uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v }
	}
	ca := cert("ca.pem")
	for _, c := range []struct {
		name, addr, flags string
		code              int
		rows              []string
		want              string // in stderr; "" is nothing
	}{
		{"ours", ours.addr, "--ca " + ca + " -n 2 --require-resumption", exitOK, []string{
			"TLS 1.2, full, -", "TLS 1.2, resumption 1, session id", "TLS 1.2, resumption 2, session id",
			"TLS 1.3, full, -", "TLS 1.3, resumption 1, ticket", "TLS 1.3, resumption 2, ticket"}, ""},
		{"tickets", goServer(t, nil), "--ca " + ca + " -n 2 --require-resumption", exitOK, []string{
			"TLS 1.2, full, -", "TLS 1.2, resumption 1, ticket", "TLS 1.2, resumption 2, ticket",
			"TLS 1.3, full, -", "TLS 1.3, resumption 1, ticket", "TLS 1.3, resumption 2, ticket"}, ""},
		{"no resumption", goServer(t, noTickets), "--ca " + ca + " -n 1 --ticket-wait 50ms", exitOK, []string{
			"TLS 1.2, full, -", "TLS 1.2, resumption 1, no: the server gave no session",
			"TLS 1.3, full, -", "TLS 1.3, resumption 1, no: the server gave no session"}, ""},
		{"no resumption, required", goServer(t, noTickets), "--ca " + ca + " -n 2 --ticket-wait 50ms --tls 1.2 --require-resumption", exitFailed, []string{
			"TLS 1.2, full, -", "TLS 1.2, resumption 1, no: the server gave no session", "TLS 1.2, resumption 2, no: the server gave no session"},
			"TLS 1.2: 2 of 2 resumptions did not happen"},
		{"TLS 1.2 only", goServer(t, only(tls.VersionTLS12)), "--ca " + ca + " -n 0 --require-resumption", exitOK, []string{
			"TLS 1.2, full, -", "TLS 1.3, not spoken by the server, -"}, ""},
		{"TLS 1.3 only", goServer(t, only(tls.VersionTLS13)), "--ca " + ca + " -n 0", exitOK, []string{
			"TLS 1.2, not spoken by the server, -", "TLS 1.3, full, -"}, ""},
		{"no version", goServer(t, only(tls.VersionTLS12)), "--ca " + ca + " --tls 1.3", exitFailed, []string{
			"TLS 1.3, not spoken by the server, -"}, "none of these versions"},
		{"unknown CA", ours.addr, "--ca " + cert("ca2.pem") + " --tls 1.3", exitFailed, []string{
			"TLS 1.3, failed, -"}, "certificate"},
		{"the system's CAs", ours.addr, "--tls 1.2", exitFailed, []string{"TLS 1.2, failed, -"}, "certificate"},
		{"not verified", ours.addr, "--insecure -n 0 --tls 1.3", exitOK, []string{"TLS 1.3, full, -"}, ""},
		{"other name", ours.addr, "--ca " + ca + " --tls 1.3 --server-name other.test", exitFailed, []string{
			"TLS 1.3, failed, -"}, "ostname mismatch"},
		{"its name", ours.addr, "--ca " + ca + " --tls 1.3 -n 0 --server-name www.example.test", exitOK, []string{
			"TLS 1.3, full, -"}, ""},
		{"no such CA file", ours.addr, "--ca none.pem", exitFailed, nil, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := command(t, "", append([]string{"probe", c.addr}, strings.Fields(c.flags)...)...)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d", r.code, c.code)
			}
			if diff := cmp.Diff(c.rows, rows(t, r.stdout)); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			if c.want == "" && r.stderr != "" || !strings.Contains(r.stderr, c.want) {
				t.Errorf("stderr, want %q:\n%s", c.want, r.stderr)
			}
		})
	}
	// The server saw the same.
	for _, w := range ways {
		ours.awaitLog(t, 2, attr("version", w.version), attr("resumed", w.resumed), "(found)")
	}
	ours.stop(t, syscall.SIGINT)
}

// A server that is not there, and one that says nothing, are failures.
func TestProbeNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // never accepts: the kernel does
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	r := command(t, "", "probe", addr, "--insecure", "--timeout", "100ms", "--tls", "1.3")
	if r.code != exitFailed || !strings.Contains(r.stderr, "deadline exceeded") {
		t.Errorf("silent: exit code %d: %s", r.code, r.stderr)
	}
	l.Close()
	r = command(t, "", "probe", addr, "--insecure")
	if r.code != exitFailed || strings.Count(r.stderr, "connection refused") != 1 {
		t.Errorf("refused: exit code %d: %s", r.code, r.stderr)
	}
}
