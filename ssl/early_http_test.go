package ssl_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/ssl"
)

// plainConn hides that a connection is a socket.
type plainConn struct{ net.Conn }

type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

// served is what a handler saw of its request.
type served struct {
	method, path, body string
	complete           bool // the handshake
	state              tls.ConnectionState
}

// serveEarly runs an http.Server for early data; what its handlers saw comes on
// the channel.
func serveEarly(t *testing.T, inMemory bool, allow func(context.Context, sessioncb.Conn) bool) (addr string, seen <-chan served) {
	t.Helper()
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey(), SingleUse: true, LookupTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := ssl.NewContext(ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
		SessionCache: cache, MaxEarlyData: 16 << 10, AllowEarlyData: allow,
	})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = inner.Addr().String()
	if inMemory {
		inner = plainListener{inner}
	}
	l, err := ssl.NewListener(inner, ctx)
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan served, 16)
	var logged bytes.Buffer
	srv := &http.Server{
		Handler: tooEarly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(connKey{}).(*earlyConn)
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("the body: %v", err)
			}
			ch <- served{r.Method, r.URL.Path, string(body), c.ConnectionState().HandshakeComplete, *r.TLS}
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
		})),
		ConnContext: withConn,
		ErrorLog:    log.New(&logged, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(earlyListener{l}) }()
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := srv.Shutdown(limit); err != nil {
			t.Errorf("Shutdown: %v", err)
			srv.Close()
		}
		if err := <-done; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if logged.Len() > 0 {
			t.Errorf("http.Server complained: %s", &logged)
		}
		ctx.Close()
		if err := ctx.Wait(limit); err != nil {
			t.Errorf("the context is not gone: %v", err)
		}
	})
	return addr, ch
}

// dialEarly makes a client that has a session, on a new connection.
func dialEarly(t *testing.T, client *earlyClient, addr string) *ssl.Conn {
	t.Helper()
	if said := client.do(addr, "GET"); !strings.Contains(said, "early data: false") {
		t.Fatalf("the first request: %s", said)
	}
	session := client.swap(nil)
	if session == nil {
		t.Fatal("the client has no session")
	}
	defer session.Close()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssl.Client(nc, client.ctx, &ssl.ClientOptions{ServerName: "localhost", Session: session})
	if err != nil {
		nc.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func eachHTTP(t *testing.T, f func(t *testing.T, inMemory bool)) {
	t.Run("descriptor", func(t *testing.T) { f(t, false) })
	t.Run("memory", func(t *testing.T) { f(t, true) })
}

// GET is served while the client has not finished its handshake: it has not
// even begun to read.
func TestEarlyHTTPServesGet(t *testing.T) {
	eachHTTP(t, func(t *testing.T, inMemory bool) {
		addr, seen := serveEarly(t, inMemory, nil)
		client := newEarlyClient()
		defer client.close()
		c := dialEarly(t, client, addr)
		<-seen
		if _, err := c.WriteEarlyData([]byte("GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		got := <-seen
		if got.path != "/early" || got.complete || got.state.HandshakeComplete || !got.state.DidResume ||
			got.state.ServerName != "localhost" || got.state.Version != tls.VersionTLS13 {
			t.Errorf("the handler saw %+v", got)
		}
		if err := c.Handshake(); err != nil || !c.EarlyDataAccepted() {
			t.Fatalf("handshake: %v, accepted %v", err, c.EarlyDataAccepted())
		}
		r := bufio.NewReader(c)
		for _, want := range []string{"GET /early ", "POST /late body"} {
			response, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != want || response.StatusCode != http.StatusOK {
				t.Errorf("%s %q, %v, want %q", response.Status, body, err, want)
			}
			if strings.HasPrefix(want, "GET") {
				// The connection goes on.
				if _, err := io.WriteString(c, post("/late", "body")); err != nil {
					t.Fatal(err)
				}
			} else if late := <-seen; !late.complete {
				t.Error("the handshake was not complete at the second request")
			}
		}
	})
}

// POST in early data is not served, and is when it comes again, on the same
// connection.
func TestEarlyHTTPRefusesPost(t *testing.T) {
	eachHTTP(t, func(t *testing.T, inMemory bool) {
		addr, seen := serveEarly(t, inMemory, nil)
		client := newEarlyClient()
		defer client.close()
		c := dialEarly(t, client, addr)
		<-seen
		request := post("/pay", "once")
		if _, err := c.WriteEarlyData([]byte(request)); err != nil {
			t.Fatal(err)
		}
		// net/http reads on when the body is read, and the handler has not read it:
		// that the client goes on now changes nothing.
		response := make(chan string, 2)
		if err := c.Handshake(); err != nil || !c.EarlyDataAccepted() {
			t.Fatalf("handshake: %v, accepted %v", err, c.EarlyDataAccepted())
		}
		go func() {
			r := bufio.NewReader(c)
			for range 2 {
				answer, err := http.ReadResponse(r, nil)
				if err != nil {
					response <- err.Error()
					return
				}
				io.Copy(io.Discard, answer.Body)
				response <- answer.Status
			}
		}()
		if got := <-response; got != "425 Too Early" {
			t.Fatalf("in early data: %s", got)
		}
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if got := <-response; got != "200 OK" {
			t.Errorf("after the handshake: %s", got)
		}
		if got := <-seen; got.body != "once" || !got.complete {
			t.Errorf("the handler saw %+v", got)
		}
		select {
		case got := <-seen:
			t.Errorf("the handler also saw %+v", got)
		default:
		}
	})
}

// A request in refused early data comes to nobody until it is sent again.
func TestEarlyHTTPRefused(t *testing.T) {
	eachHTTP(t, func(t *testing.T, inMemory bool) {
		var asked atomic.Int32
		addr, seen := serveEarly(t, inMemory, func(context.Context, sessioncb.Conn) bool {
			asked.Add(1)
			return false
		})
		client := newEarlyClient()
		defer client.close()
		for range 2 {
			if said := client.do(addr, "POST"); said != "POST / hi, early data: false" {
				t.Errorf("%s", said)
			}
			if got := <-seen; !got.complete {
				t.Errorf("the handler saw %+v", got)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("early data came %d times, want once", n)
		}
	})
}
