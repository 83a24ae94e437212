package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// earlyClient is a client of TLS 1.3 that keeps its last session.
type earlyClient struct {
	context *ssl.Context
	newest  newestSession
}

func newEarlyClient(t *testing.T) *earlyClient {
	t.Helper()
	c := &earlyClient{}
	var err error
	c.context, err = ssl.NewContext(ssl.Config{
		CAFile: cert("ca.pem"), MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		SessionCallbacks: sessioncb.Callbacks{New: &c.newest}, SessionCacheMode: ssl.CacheExternal,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.newest.close(); c.context.Close() })
	return c
}

// exchange is what one connection came to.
type exchange struct {
	accepted, resumed bool
	status            int
	said              map[string]string
}

// send makes a request on a connection of its own, in early data if the
// session allows it, and again after the handshake if the server did not take
// it.
func (c *earlyClient) send(t *testing.T, p *process, method string, offer *ssl.Session) (x exchange) {
	t.Helper()
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ssl.Client(nc, c.context, &ssl.ClientOptions{ServerName: "localhost", Session: offer})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	request := method + " / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	if offer != nil {
		if _, err := conn.WriteEarlyData([]byte(request)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	x.accepted, x.resumed = conn.EarlyDataAccepted(), conn.ConnectionState().DidResume
	if !x.accepted {
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	x.status, x.said = r.StatusCode, fields(string(body))
	io.Copy(io.Discard, conn) // to the end: the ticket comes behind the answer
	return x
}

// A safe request in early data is answered, another one is told to come again;
// both get a session for the next visit, and the log has both. Nobody's early
// data is accepted twice in the whole fleet.
func TestEarlyData(t *testing.T) {
	store := "redis://" + testserver.Redis(t).Addr()
	keys := filepath.Join(t.TempDir(), "fleet.keys")
	flags := []string{"--store", store, "--key-file", keys, "--early-data", "1000"}
	a, b := serve(t, flags...), serve(t, flags...)
	c := newEarlyClient(t)
	if x := c.send(t, a, "GET", nil); x.accepted || x.status != http.StatusOK || x.said["early data"] != "-" {
		t.Fatalf("the first visit: %+v", x)
	}
	first := c.newest.take()
	defer first.Close()
	if n := first.MaxEarlyData(); n != 1000 {
		t.Fatalf("the session allows %d bytes of early data", n)
	}

	x := c.send(t, b, "GET", first)
	if !x.accepted || !x.resumed || x.status != http.StatusOK || x.said["early data"] != "accepted" || x.said["resumed"] != byStatefulTicket ||
		!strings.HasSuffix(x.said["offered"], "(found)") {
		t.Errorf("GET in early data: %+v", x)
	}
	b.awaitLog(t, 1, "msg=handshake", attr("resumed", byStatefulTicket), "early_data=accepted")

	second := c.newest.take()
	if second == nil {
		t.Fatal("no session came behind the answer to early data")
	}
	defer second.Close()
	for _, p := range []*process{a, b} { // the first session again, on either server
		if x := c.send(t, p, "GET", first); x.accepted || x.resumed || x.status != http.StatusOK || !strings.HasSuffix(x.said["offered"], "(not found)") {
			t.Errorf("a session used before: %+v", x)
		}
	}
	c.newest.close()

	x = c.send(t, a, "POST", second)
	if !x.accepted || x.status != http.StatusTooEarly {
		t.Errorf("POST in early data: %+v", x)
	}
	third := c.newest.take()
	if third == nil {
		t.Fatal("no session came behind a 425")
	}
	defer third.Close()
	// What the client does then: the same after the handshake.
	if x := c.send(t, a, "POST", nil); x.accepted || x.status != http.StatusMethodNotAllowed {
		t.Errorf("POST after the handshake: %+v", x)
	}
	if x := c.send(t, a, "HEAD", third); !x.accepted || x.status != http.StatusOK {
		t.Errorf("HEAD in early data: %+v", x)
	}
	for _, p := range []*process{a, b} {
		p.stop(t, syscall.SIGINT)
		if p.log.lines("level=WARN") != nil {
			t.Errorf("the log:\n%s", p.log)
		}
	}
}

// The openssl command agrees, and a server without --early-data takes none.
func TestEarlyDataOpenSSL(t *testing.T) {
	dir := t.TempDir()
	early := filepath.Join(dir, "request")
	if err := os.WriteFile(early, []byte(request), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--early-data", "4096"}, "Early data was accepted"},
		{nil, "Early data was not sent"}, // the session does not allow it
	} {
		p := serve(t, c.flags...)
		session := filepath.Join(dir, "session.pem")
		args := []string{"s_client", "-connect", p.addr, "-servername", "localhost", "-CAfile", cert("ca.pem"), "-verify_return_error", "-ign_eof", "-tls1_3"}
		openssl(t, request, append(args, "-sess_out", session)...)
		stdin := ""
		if c.flags == nil {
			stdin = request
		}
		out := openssl(t, stdin, append(args, "-sess_in", session, "-early_data", early)...)
		if !strings.Contains(out, c.want) || !strings.Contains(out, "Reused, TLSv1.3") || !strings.Contains(out, "resumed: stateful ticket") {
			t.Errorf("%v: want %q:\n%s", c.flags, c.want, out)
		}
		p.stop(t, syscall.SIGINT)
	}
}
