package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// way is a version with its way to resume.
type way struct {
	flag, name string // the version for openssl, and as it prints it
	version    string // as we print it
	resumed    string
}

var ways = []way{
	{"-tls1_2", "TLSv1.2", "TLS 1.2", bySessionID},
	{"-tls1_3", "TLSv1.3", "TLS 1.3", byStatefulTicket},
}

func eachWay(t *testing.T, f func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.version[4:], func(t *testing.T) { f(t, w) })
	}
}

// attr is an attribute as slog's TextHandler writes it.
func attr(name, value string) string {
	if strings.Contains(value, " ") {
		return fmt.Sprintf(" %s=%q", name, value)
	}
	return " " + name + "=" + value
}

// handshake makes one with openssl s_client and checks that the client, the
// server's answer and the server's log agree that it was a resumption, or was
// none. It returns the answer.
func (w way) handshake(t *testing.T, p *process, in, out string, resumes bool) map[string]string {
	t.Helper()
	return w.handshakeAs(t, p, "localhost", in, out, resumes)
}

// handshakeAs is handshake with another server name.
func (w way) handshakeAs(t *testing.T, p *process, name, in, out string, resumes bool) map[string]string {
	t.Helper()
	client, answer := sClient(t, p, w.flag, name, in, out)
	said, resumed := "New "+w.name, fullHandshake
	if resumes {
		said, resumed = "Reused "+w.name, w.resumed
	}
	want := map[string]string{"client": said, "version": w.version, "server name": name, "resumed": resumed}
	got := map[string]string{"client": client}
	for _, field := range []string{"version", "server name", "resumed"} {
		got[field] = answer[field]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("client and answer (-want +got):\n%s", diff)
	}
	if len(answer["session"]) != 16 {
		t.Errorf("the session's short id is %q", answer["session"])
	}
	p.awaitLog(t, 1, "msg=handshake", attr("version", w.version), attr("server_name", name),
		attr("resumed", resumed), attr("session", answer["session"]))
	return answer
}

// What is kept in a bolt file is resumed by the process that made it and by
// the next one; for the next one it does not matter how the first one ended.
func TestRestart(t *testing.T) {
	for _, end := range []struct {
		name   string
		signal syscall.Signal
	}{{"SIGINT", syscall.SIGINT}, {"SIGTERM", syscall.SIGTERM}, {"SIGKILL", syscall.SIGKILL}} {
		t.Run(end.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, w way) {
				dir := t.TempDir()
				store := filepath.Join(dir, "s.bolt")
				first, second := filepath.Join(dir, "first.pem"), filepath.Join(dir, "second.pem")
				newer := second
				if w.resumed == bySessionID {
					newer = first // a resumption makes no new session
				}

				p := serve(t, "--store", "bolt:"+store)
				made := w.handshake(t, p, "", first, false)
				if made["offered"] != "-" {
					t.Errorf("the first handshake offered %s", made["offered"])
				}
				again := w.handshake(t, p, first, second, true)
				if want := made["session"] + " (found)"; again["offered"] != want {
					t.Errorf("offered %s, want %s", again["offered"], want)
				}
				if end.signal == syscall.SIGKILL {
					p.cmd.Process.Kill()
					p.wait(t)
				} else {
					p.stop(t, end.signal)
					p.awaitLog(t, 1, "msg=stopped", "handshakes=2", "resumed=1")
				}

				p = serve(t, "--store", "bolt:"+store)
				w.handshake(t, p, first, "", true)
				w.handshake(t, p, newer, "", true)
				p.stop(t, syscall.SIGINT)
				p.awaitLog(t, 1, "msg=stopped", "handshakes=2", "resumed=2")

				info, err := os.Stat(store + ".keys")
				if err != nil || info.Mode() != 0o600 {
					t.Errorf("key file: %v %v", info.Mode(), err)
				}
			})
		})
	}
}

// A server with other keys, another name or another session id context
// resumes nothing of the first one, and nothing fails; with its own again it
// resumes.
func TestRestartChanged(t *testing.T) {
	for _, c := range []struct {
		name    string
		flags   func(dir string) []string
		offered string
	}{
		{"key file", func(dir string) []string { return []string{"--key-file", filepath.Join(dir, "other.keys")} }, "not in the ring"},
		{"name", func(string) []string { return []string{"--name", "other"} }, "not found"},
		{"id context", func(string) []string { return []string{"--id-context", "other"} }, "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, w way) {
				dir := t.TempDir()
				store := []string{"--store", "bolt:" + filepath.Join(dir, "s.bolt")}
				session := filepath.Join(dir, "session.pem")
				p := serve(t, store...)
				w.handshake(t, p, "", session, false)
				p.stop(t, syscall.SIGINT)

				p = serve(t, append(c.flags(dir), store...)...)
				answer := w.handshake(t, p, session, "", false)
				if !strings.Contains(answer["offered"], c.offered) {
					t.Errorf("offered %q, want %q in it", answer["offered"], c.offered)
				}
				p.stop(t, syscall.SIGINT)

				p = serve(t, store...)
				w.handshake(t, p, session, "", true)
				p.stop(t, syscall.SIGINT)
			})
		})
	}
}

// In memory, sessions end with the process.
func TestMemory(t *testing.T) {
	for _, flags := range [][]string{nil, {"--store", "live"}, {"--store", "live", "--tag-ids", "--single-use"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			eachWay(t, func(t *testing.T, w way) {
				session := filepath.Join(t.TempDir(), "session.pem")
				p := serve(t, flags...)
				made := w.handshake(t, p, "", session, false)
				there := w.handshake(t, p, session, "", true)
				if want := made["session"] + " (found)"; there["offered"] != want {
					t.Errorf("offered %s, want %s", there["offered"], want)
				}
				p.stop(t, syscall.SIGINT)
				p = serve(t, flags...)
				w.handshake(t, p, session, "", false)
				p.stop(t, syscall.SIGINT)
			})
		})
	}
}

// Errors at the start are exit code 1 and one clear line.
func TestServeFails(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "s.bolt")
	p := serve(t, "--store", "bolt:"+store, "--id-context", "hex:00ff")
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("garbage ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open.keys")
	if err := os.WriteFile(open, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	fresh := "bolt:" + filepath.Join(dir, "fresh.bolt")
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"store in use", "in use by another process", []string{"--store", "bolt:" + store}},
		{"store of another format", "not a session store", []string{"--store", "bolt:" + garbage}},
		{"store in no directory", "no such file", []string{"--store", "bolt:" + dir + "/none/s.bolt"}},
		{"key file that others read", "chmod 600", []string{"--store", fresh, "--key-file", open}},
		{"key file of another format", "keys", []string{"--store", fresh, "--key-file", garbage}},
		{"address in use", "address already in use", []string{"--addr", p.addr}},
		{"no certificate file", "no such file", []string{"--cert", filepath.Join(dir, "none.pem")}},
		{"certificate that is none", "certificate", []string{"--cert", cert("garbage.pem"), "--key", cert("server-key.pem")}},
		{"key of another certificate", "private key", []string{"--cert", cert("server.pem"), "--key", cert("server2-key.pem")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := command(t, "", append([]string{"serve", "--addr", "127.0.0.1:0"}, c.args...)...)
			if r.code != exitFailed || r.stdout != "" {
				t.Errorf("exit code %d, stdout %q", r.code, r.stdout)
			}
			lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
			last := lines[len(lines)-1]
			if !strings.HasPrefix(last, "sessioncb serve: ") || !strings.Contains(last, c.want) {
				t.Errorf("stderr, want %q:\n%s", c.want, r.stderr)
			}
		})
	}
	// The one that ran was not disturbed.
	ways[0].handshake(t, p, "", "", false)
	p.stop(t, syscall.SIGINT)
	if r := succeed(t, "inspect", store, "--key-file", store+".keys"); fields(r)["session id context"] != "00ff" {
		t.Errorf("session id context:\n%s", r)
	}
}

// curl sees what the log says, over a path that verifies the certificate.
func TestCurl(t *testing.T) {
	p := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "curl", "-sS", "--cacert", cert("ca.pem"), "--tlsv1.2", "--tls-max", "1.2", "https://"+p.addr+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	got := fields(string(out))
	for name, want := range map[string]string{"version": "TLS 1.2", "resumed": fullHandshake, "store": "memory"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	out, err = exec.CommandContext(ctx, "curl", "-sS", "-o", os.DevNull, "-w", "%{http_code}", "--cacert", cert("ca.pem"), "https://"+p.addr+"/nothing").CombinedOutput()
	if err != nil || string(out) != "404" {
		t.Errorf("another path: %v, %s", err, out)
	}
	p.stop(t, syscall.SIGINT)
}

// goClient handshakes with crypto/tls and returns the connection.
func goClient(t *testing.T, p *process, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", p.addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func trusted(t *testing.T) *x509.CertPool {
	t.Helper()
	ca, err := os.ReadFile(cert("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("no CA")
	}
	return pool
}

// Without --cert the server makes one, for the names that it can be called by.
func TestSelfSigned(t *testing.T) {
	p, first := start(t, "serve", "--addr", "127.0.0.1:0")
	p.addr = strings.TrimPrefix(first, "listening on ")
	p.awaitLog(t, 1, "msg=serving", "self-signed")
	leaf := goClient(t, p, &tls.Config{InsecureSkipVerify: true}).ConnectionState().PeerCertificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.stop(t, syscall.SIGINT)

	for host, want := range map[string]string{"tls.example.test": "tls.example.test", "192.0.2.7": "192.0.2.7", "": "localhost", "0.0.0.0": "localhost", "fe80::1%eth0": "fe80::1"} {
		made, err := selfSigned(host)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(made.ChainPEM, made.KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		if err := pair.Leaf.VerifyHostname(want); err != nil {
			t.Errorf("--addr %s: %v", host, err)
		}
	}
}

// A handshake that fails is one line in the log; a client that goes away
// is not worth a warning.
func TestFailedHandshake(t *testing.T) {
	p := serve(t)
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	p.awaitLog(t, 1, `msg="handshake failed"`, "level=INFO", "remote="+c.LocalAddr().String())
	_, err = tls.Dial("tcp", p.addr, &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()})
	if err == nil {
		t.Fatal("a certificate of an unknown CA was accepted")
	}
	p.awaitLog(t, 1, `msg="handshake failed"`, "level=WARN", "alert bad certificate")
	p.stop(t, syscall.SIGINT)
	if n := len(p.log.lines(`msg="handshake failed"`)); n != 2 {
		t.Errorf("%d lines for 2 failed handshakes", n)
	}
}

// A name that a client chose does not reach a terminal as it is.
func TestOddServerName(t *testing.T) {
	p := serve(t)
	const name = "a\x1b[31mb"
	c := goClient(t, p, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if !strings.Contains(b.String(), `server name: "a\x1b[31mb"`) {
		t.Errorf("answer:\n%q", b.String())
	}
	p.stop(t, syscall.SIGINT)
	if log := p.log.String(); strings.Contains(log, name) || !strings.Contains(log, `a\x1b[31mb`) {
		t.Errorf("log:\n%q", log)
	}
}
