package ssl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// seen is what a handler of net/http saw of its request's connection.
type seen struct {
	Proto, Version, Suite, ServerName, ALPN, Peer string
	Resumed, Complete                             bool
}

// seenPrefix begins the line in which a response says what its handler saw.
const seenPrefix = "seen "

func sayWhatIsSeen(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		http.Error(w, "Request.TLS is nil", http.StatusInternalServerError)
		return
	}
	s := seen{
		Proto: r.Proto, Version: tls.VersionName(r.TLS.Version), Suite: tls.CipherSuiteName(r.TLS.CipherSuite),
		ServerName: r.TLS.ServerName, ALPN: r.TLS.NegotiatedProtocol,
		Resumed: r.TLS.DidResume, Complete: r.TLS.HandshakeComplete,
	}
	if len(r.TLS.PeerCertificates) > 0 {
		s.Peer = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	line, _ := json.Marshal(s)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s%s\n", seenPrefix, line)
}

// whatWasSeen finds the lines of sayWhatIsSeen in what a client printed.
func whatWasSeen(t *testing.T, output []byte) []seen {
	t.Helper()
	var list []seen
	for line := range strings.Lines(string(output)) {
		if data, ok := strings.CutPrefix(line, seenPrefix); ok {
			var s seen
			if err := json.Unmarshal([]byte(data), &s); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			list = append(list, s)
		}
	}
	return list
}

// testLog is where an http.Server complains: into the test's own output.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("http.Server: %s", bytes.TrimSpace(b))
	return len(b), nil
}

// wrapped accepts what wrap makes of each connection.
type wrapped struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// serveHTTP runs an http.Server over a Listener of ctx until the test's end.
func serveHTTP(t *testing.T, ctx *Context, h http.Handler, wrap func(net.Conn) net.Conn) (srv *http.Server, addr string) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = inner.Addr().String()
	if wrap != nil {
		inner = wrapped{inner, wrap}
	}
	l, err := NewListener(inner, ctx)
	if err != nil {
		t.Fatal(err)
	}
	srv = &http.Server{Handler: h, ErrorLog: log.New(testLog{t}, "", 0)}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(limit); err != nil {
			t.Errorf("Shutdown: %v", err)
			srv.Close()
		}
		if err := <-done; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return srv, addr
}

// httpContext is a server context whose sessions are in a store.
func httpContext(t *testing.T, cache *sessioncb.Cache, change func(*Config)) *Context {
	t.Helper()
	cfg := serverConfig()
	cfg.SessionCache = cache
	cfg.NextProtos = []string{"http/1.1"}
	if change != nil {
		change(&cfg)
	}
	return newContext(t, cfg)
}

func newMemoryCache(t *testing.T) *sessioncb.Cache {
	t.Helper()
	st, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := sessioncb.NewCache(st, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey(), LookupTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// command runs a program of the system; it must be there.
func command(t *testing.T, stdin, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v: run scripts/setup", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.Bytes()
}

// versionFlag is the option of the openssl command.
func versionFlag(version uint16) string {
	return map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]
}

const plainRequest = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

// The openssl command resumes with a second server that has nothing in common
// with the first but the store.
func TestHTTPOpenSSLCommand(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		cache := newMemoryCache(t)
		_, first := serveHTTP(t, httpContext(t, cache, nil), http.HandlerFunc(sayWhatIsSeen), nil)
		_, second := serveHTTP(t, httpContext(t, cache, nil), http.HandlerFunc(sayWhatIsSeen), nil)
		session := filepath.Join(t.TempDir(), "session.pem")

		ask := func(addr string, more ...string) ([]byte, seen) {
			t.Helper()
			out := command(t, plainRequest, "openssl", append([]string{"s_client", "-connect", addr,
				"-servername", "localhost", "-CAfile", cert("ca.pem"), "-verify_return_error",
				"-alpn", "http/1.1", "-ign_eof", versionFlag(version)}, more...)...)
			list := whatWasSeen(t, out)
			if len(list) != 1 {
				t.Fatalf("%d answers in the output of openssl:\n%s", len(list), out)
			}
			return out, list[0]
		}
		out, got := ask(first, "-sess_out", session)
		want := seen{Proto: "HTTP/1.1", Version: tls.VersionName(version), Suite: got.Suite, ServerName: "localhost", ALPN: "http/1.1", Complete: true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("full handshake (-want +got):\n%s", diff)
		}
		if !strings.HasPrefix(got.Suite, "TLS_") || !bytes.Contains(out, []byte("New, TLSv1.")) {
			t.Errorf("suite %q, output:\n%s", got.Suite, out)
		}
		out, got = ask(second, "-sess_in", session)
		want.Resumed = true
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("resumption (-want +got):\n%s", diff)
		}
		if !bytes.Contains(out, []byte("Reused, TLSv1.")) {
			t.Errorf("openssl does not say that it reused the session:\n%s", out)
		}
	})
}

// curl keeps a session cache within one run; the server closes the connection
// between the two requests.
func TestHTTPCurl(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		closing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			sayWhatIsSeen(w, r)
		})
		_, addr := serveHTTP(t, httpContext(t, newMemoryCache(t), nil), closing, nil)
		_, port, _ := net.SplitHostPort(addr)
		number := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[version]
		url := "https://localhost:" + port
		out := command(t, "", "curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20",
			"--cacert", cert("ca.pem"), "--resolve", "localhost:"+port+":127.0.0.1",
			"--tlsv"+number, "--tls-max", number, url+"/first", url+"/second")
		list := whatWasSeen(t, out)
		if len(list) != 2 {
			t.Fatalf("%d answers in the output of curl:\n%s", len(list), out)
		}
		for i, got := range list {
			// curl offers h2 too.
			want := seen{Proto: "HTTP/1.1", Version: tls.VersionName(version), Suite: list[0].Suite, ServerName: "localhost",
				ALPN: "http/1.1", Complete: true, Resumed: i == 1}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("request %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

// goClient is crypto/tls and net/http of Go, a connection a request.
func goClient(t *testing.T, change func(*tls.Config)) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(readCert(t, "ca.pem"))
	cfg := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if change != nil {
		change(cfg)
	}
	tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) seen {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	list := whatWasSeen(t, body)
	if r.StatusCode != http.StatusOK || len(list) != 1 {
		t.Fatalf("%s\n%s", r.Status, body)
	}
	return list[0]
}

// Go's client resumes in TLS 1.3, where the ticket is our lookup's key; in TLS
// 1.2 it knows tickets only, and a SessionCache issues none.
func TestHTTPGoClient(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		ctx := httpContext(t, newMemoryCache(t), func(cfg *Config) {
			cfg.CAFile, cfg.Verify = cert("ca.pem"), VerifyRequired
		})
		_, addr := serveHTTP(t, ctx, http.HandlerFunc(sayWhatIsSeen), wrap)
		identity, err := tls.LoadX509KeyPair(cert("client.pem"), cert("client-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		client := goClient(t, func(cfg *tls.Config) {
			cfg.MinVersion, cfg.MaxVersion = version, version
			cfg.Certificates = []tls.Certificate{identity}
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		})
		leaf, err := x509.ParseCertificate(identity.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			got := get(t, client, "https://"+addr)
			want := seen{Proto: "HTTP/1.1", Version: tls.VersionName(version), Suite: got.Suite, ServerName: "localhost",
				Peer: leaf.Subject.CommonName, Complete: true, Resumed: i > 0 && version == tls.VersionTLS13}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("request %d (-want +got):\n%s", i, diff)
			}
		}

		// Without a certificate nothing is answered.
		stranger := goClient(t, func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = version, version })
		if r, err := stranger.Get("https://" + addr); err == nil {
			r.Body.Close()
			t.Errorf("a client without a certificate got %s", r.Status)
		} else if !strings.Contains(err.Error(), "tls: ") && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			// In TLS 1.3 its request may meet the closed socket before it reads the alert.
			t.Errorf("a client without a certificate was refused by %v, want an alert", err)
		}
	})
}

// What a client offers, what the Listener's contexts know, what comes of it.
func TestHTTPALPN(t *testing.T) {
	for _, x := range []struct {
		name           string
		server, client []string
		want           string
		refused        bool
	}{
		{"h2 and http/1.1 are offered", []string{"http/1.1"}, []string{"h2", "http/1.1"}, "http/1.1", false},
		{"the server's order counts", []string{"b", "a"}, []string{"a", "b"}, "b", false},
		{"nothing is offered", []string{"http/1.1"}, nil, "", false},
		{"the server has none", nil, []string{"h2", "http/1.1"}, "", false},
		{"nothing in common", []string{"http/1.1"}, []string{"h2"}, "", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				cfg := serverConfig()
				cfg.NextProtos = x.server
				ctx := newContext(t, cfg)
				_, addr := serveHTTP(t, ctx, http.HandlerFunc(sayWhatIsSeen), nil)
				roots := x509.NewCertPool()
				roots.AppendCertsFromPEM(readCert(t, "ca.pem"))
				c, err := tls.Dial("tcp", addr, &tls.Config{
					RootCAs: roots, ServerName: "localhost", NextProtos: x.client, MinVersion: version, MaxVersion: version})
				if x.refused {
					if err == nil {
						c.Close()
						t.Fatalf("chose %q", c.ConnectionState().NegotiatedProtocol)
					}
					if !strings.Contains(err.Error(), "no application protocol") {
						t.Fatalf("refused with %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := c.ConnectionState().NegotiatedProtocol; got != x.want {
					t.Errorf("the client has %q, want %q", got, x.want)
				}
				io.WriteString(c, plainRequest)
				answer, err := io.ReadAll(c)
				if err != nil {
					t.Fatal(err)
				}
				list := whatWasSeen(t, answer)
				if len(list) != 1 || list[0].ALPN != x.want || list[0].Proto != "HTTP/1.1" {
					t.Errorf("the server saw %+v, want %q", list, x.want)
				}
			})
		})
	}
}

// Silent clients block neither Accept nor each other, and the server drops
// them when HandshakeTimeout is over. A client that stops in the middle of its
// ClientHello is no better.
func TestHTTPSilentClient(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			ctx := httpContext(t, nil, func(cfg *Config) { cfg.HandshakeTimeout = 700 * time.Millisecond })
			_, addr := serveHTTP(t, ctx, http.HandlerFunc(sayWhatIsSeen), tr.wrap)
			var silent []net.Conn
			for i := range 20 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if i%2 == 1 {
					c.Write([]byte{22, 3, 1, 1, 0, 1, 0}) // a record of 256 bytes begins
				}
				silent = append(silent, c)
			}
			if got := get(t, goClient(t, nil), "https://"+addr); !got.Complete {
				t.Errorf("beside silent clients: %+v", got)
			}
			for i, c := range silent {
				c.SetReadDeadline(time.Now().Add(20 * time.Second)) // a net under the test
				if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
					t.Fatalf("silent client %d was not dropped", i)
				}
			}
		})
	}
}

// ownClient is net/http over Conns of a client context.
func ownClient(t *testing.T, ctx *Context, wrap func(net.Conn) net.Conn) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialTLSContext: func(c context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(c, network, addr)
			if err != nil {
				return nil, err
			}
			conn, err := Client(wrap(nc), ctx, &ClientOptions{ServerName: "localhost"})
			if err != nil {
				nc.Close()
				return nil, err
			}
			if err := conn.HandshakeContext(c); err != nil {
				conn.Close()
				return nil, err
			}
			return conn, nil
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 60 * time.Second}
}

// randomBytes returns the same n bytes for the same seed.
func randomBytes(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Bodies of several MB, both ways at the same time, from several clients.
func TestHTTPLargeBodies(t *testing.T) {
	const size, clients = 4<<20 + 12345, 3
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			if n, err := io.Copy(w, r.Body); err != nil {
				t.Errorf("echo after %d bytes: %v", n, err)
			}
		})
		_, addr := serveHTTP(t, httpContext(t, newMemoryCache(t), nil), echo, wrap)
		cfg := clientConfig()
		cfg.MinVersion, cfg.MaxVersion = version, version
		client := ownClient(t, newContext(t, cfg), wrap)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				body := randomBytes(size, byte(i))
				r, err := client.Post("https://"+addr, "application/octet-stream", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				h := sha256.New()
				n, err := io.Copy(h, r.Body)
				if err != nil || n != size {
					t.Errorf("%d of %d bytes: %v", n, size, err)
				}
				if want := sha256.Sum256(body); !bytes.Equal(h.Sum(nil), want[:]) {
					t.Error("another body came back")
				}
			})
		}
		wg.Wait()
	})
}

// Many requests at once on few kept connections and on new ones.
func TestHTTPConcurrentRequests(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		_, addr := serveHTTP(t, httpContext(t, newMemoryCache(t), nil), http.HandlerFunc(sayWhatIsSeen), wrap)
		cfg := clientConfig()
		cfg.MinVersion, cfg.MaxVersion = version, version
		client := ownClient(t, newContext(t, cfg), wrap)
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				for range 5 {
					r, err := client.Get("https://" + addr)
					if err != nil {
						t.Error(err)
						return
					}
					body, err := io.ReadAll(r.Body)
					r.Body.Close()
					if err != nil || !bytes.Contains(body, []byte(tls.VersionName(version))) {
						t.Errorf("%q %v", body, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Shutdown lets a running request finish, closes what is idle, and ends Serve.
func TestHTTPShutdown(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			began, goOn := make(chan struct{}), make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
				close(began)
				<-goOn
				io.WriteString(w, "finished")
			})
			mux.HandleFunc("/", sayWhatIsSeen)
			ctx := newContext(t, serverConfig())
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l, err := NewListener(wrapped{inner, tr.wrap}, ctx)
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: mux, ErrorLog: log.New(testLog{t}, "", 0)}
			served := make(chan error, 1)
			go func() { served <- srv.Serve(l) }()
			addr := l.Addr().String()

			// An idle connection: its request was answered, and it is kept.
			client := newContext(t, clientConfig())
			idle, err := Dial("tcp", addr, client, &ClientOptions{ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			idle.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(idle, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if _, err := idle.Read(make([]byte, 4096)); err != nil {
				t.Fatal(err)
			}

			answer := make(chan string, 1)
			go func() {
				r, err := ownClient(t, client, tr.wrap).Get("https://" + addr + "/slow")
				if err != nil {
					answer <- err.Error()
					return
				}
				defer r.Body.Close()
				body, _ := io.ReadAll(r.Body)
				answer <- string(body)
			}()
			<-began
			down := make(chan error, 1)
			go func() { down <- srv.Shutdown(context.Background()) }()
			if err := <-served; err != http.ErrServerClosed {
				t.Errorf("Serve: %v", err)
			}
			if _, err := io.Copy(io.Discard, idle); err != nil {
				t.Errorf("the idle connection ended with %v, want the server's close_notify", err)
			}
			select {
			case err := <-down:
				t.Errorf("Shutdown returned %v while a request ran", err)
			default:
			}
			close(goOn)
			if got := <-answer; got != "finished" {
				t.Errorf("the running request got %q", got)
			}
			if err := <-down; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				t.Error("the server still accepts")
			}
		})
	}
}
