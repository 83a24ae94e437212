package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/ssl"
)

// A stop does not wait for connections that wait for nothing but a request: a
// silent one, one that has shaken hands, one that was kept alive.
func TestStopWithConnections(t *testing.T) {
	p := serve(t, "--grace", "4s") // shorter than net/http waits for a first request
	silent, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := &tls.Config{RootCAs: trusted(t), ServerName: "localhost"}
	quiet := goClient(t, p, cfg)
	p.awaitLog(t, 1, "msg=handshake", "remote="+quiet.LocalAddr().String())
	kept := goClient(t, p, cfg)
	if _, err := io.WriteString(kept, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	kr := bufio.NewReader(kept)
	r, err := http.ReadResponse(kr, nil)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	p.stop(t, syscall.SIGINT)
	if strings.Contains(p.log.String(), "cut off") {
		t.Errorf("the log:\n%s", p.log)
	}
	// They were told, not left: io.EOF is a close_notify.
	for name, c := range map[string]io.Reader{"quiet": quiet, "kept alive": kr} {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: Read reports %v", name, err)
		}
	}
}

// blocked is a server in the test whose request handler waits.
type blocked struct {
	o        serveOptions
	server   *http.Server
	conns    *conns
	log      logBuffer
	addr     string
	contexts *contexts
	entered  chan struct{} // the handler runs
	served   chan error
}

// newBlocked serves; the handler waits in wait.
func newBlocked(t *testing.T, grace time.Duration, wait func(*http.Request)) *blocked {
	t.Helper()
	b := &blocked{
		o:       serveOptions{addr: "127.0.0.1:0", store: "memory", timeout: time.Hour, grace: grace},
		entered: make(chan struct{}), served: make(chan error, 1),
	}
	if err := b.o.check(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	cache, _, err := b.o.openCache(log)
	if err != nil {
		t.Fatal(err)
	}
	b.conns = newConns(cache, log)
	if b.contexts, err = b.o.newContexts(b.conns); err != nil {
		t.Fatal(err)
	}
	inner, err := ssl.Listen("tcp", b.o.addr, b.contexts.standard)
	if err != nil {
		t.Fatal(err)
	}
	b.addr = inner.Addr().String()
	b.server = newServer(b.o.spec, log)
	b.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(b.entered)
		wait(r)
		fmt.Fprint(w, "done")
	})
	go func() { b.served <- b.server.Serve(listener{inner, b.conns}) }()
	return b
}

// get makes a request and returns the body.
func (b *blocked) get() (string, error) {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "https://"+b.addr+"/", nil)
	if err != nil {
		return "", err
	}
	r, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

// stop shuts down as serve does, and checks that nothing stays.
func (b *blocked) stop(t *testing.T) {
	t.Helper()
	b.o.shutDown(b.server, b.conns, slog.New(slog.NewTextHandler(&b.log, nil)))
	<-b.served
	if err := b.contexts.release(); err != nil {
		t.Error(err)
	}
	b.conns.mu.Lock()
	defer b.conns.mu.Unlock()
	if n := len(b.conns.open); n != 0 {
		t.Errorf("%d connections are still known", n)
	}
}

type response struct {
	body string
	err  error
}

// A request that runs when the stop begins gets its answer.
func TestStopFinishesRequests(t *testing.T) {
	stopping := make(chan struct{})
	b := newBlocked(t, time.Hour, func(*http.Request) { <-stopping })
	b.server.RegisterOnShutdown(func() { close(stopping) })
	got := make(chan response, 1)
	go func() {
		body, err := b.get()
		got <- response{body, err}
	}()
	<-b.entered
	b.stop(t)
	if r := <-got; r.err != nil || r.body != "done" {
		t.Errorf("the request got %q, %v", r.body, r.err)
	}
}

// A request that does not end is cut off when the grace is over.
func TestStopCutsOff(t *testing.T) {
	b := newBlocked(t, 10*time.Millisecond, func(r *http.Request) { <-r.Context().Done() })
	got := make(chan response, 1)
	go func() {
		body, err := b.get()
		got <- response{body, err}
	}()
	<-b.entered
	b.stop(t)
	if r := <-got; r.err == nil {
		t.Errorf("the request got %q", r.body)
	}
	if len(b.log.lines("cut off")) != 1 {
		t.Errorf("the log:\n%s", b.log.String())
	}
}
