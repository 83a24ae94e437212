package ssl_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/ssl"
)

// Where the examples have their certificates.
const (
	chainFile = "../testdata/certs/server.pem"
	keyFile   = "../testdata/certs/server-key.pem"
	caFile    = "../testdata/certs/ca.pem"
)

// A server context whose sessions are in a store. SessionCache is all that it
// takes: it implies tickets that are keys of the store, in TLS 1.2 and 1.3,
// and switches the internal cache of OpenSSL off.
func ExampleNewContext() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		log.Fatal(err)
	}
	server, err := ssl.NewContext(ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
		SessionCache: cache,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	fmt.Println("a session lives for", server.SessionTimeout())

	// What contradicts itself is an error, here and not in a handshake.
	_, err = ssl.NewContext(ssl.Config{SessionCache: cache, Tickets: ssl.TicketsStateless})
	fmt.Println(err)
	// Output:
	// a session lives for 2h0m0s
	// ssl: new context: SessionCache implies TicketsStateful, but Tickets is TicketsStateless
}

// A net/http server over OpenSSL. Go's own client resumes its session on the
// second connection, and the handler sees that in Request.TLS.
func ExampleListen() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		log.Fatal(err)
	}
	ctx, err := ssl.NewContext(ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
		NextProtos:   []string{"http/1.1"}, // not h2: net/http speaks it over crypto/tls only
		SessionCache: cache,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ctx.Close()
	l, err := ssl.Listen("tcp", "127.0.0.1:0", ctx)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, %s, resumed: %v", r.TLS.ServerName, tls.VersionName(r.TLS.Version), r.TLS.DidResume)
	})}
	defer srv.Close()
	go srv.Serve(l)

	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			RootCAs: roots(), ServerName: "localhost",
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		},
		DisableKeepAlives: true, // a connection for each request
	}}
	for range 2 {
		r, err := client.Get("https://" + l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		fmt.Printf("%s\n", body)
	}
	// Output:
	// localhost, TLS 1.3, resumed: false
	// localhost, TLS 1.3, resumed: true
}

// A Listener on the socket of a net.ListenConfig, here for options of its own.
// The Context has no handlers, so Accept returns connections whose handshake has
// ended.
func ExampleListenTCP() {
	ctx, err := ssl.NewContext(ssl.Config{Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}}})
	if err != nil {
		log.Fatal(err)
	}
	defer ctx.Close()
	config := net.ListenConfig{
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, 1)
			})
		},
	}
	inner, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	l, err := ssl.ListenTCP(inner.(*net.TCPListener), ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()

	client, err := ssl.NewContext(ssl.Config{CAFile: caFile})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	c, err := ssl.Dial("tcp", l.Addr().String(), client, &ssl.ClientOptions{ServerName: "localhost"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, "hello")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	if err != nil {
		log.Fatal(err)
	}
	// Output: hello
}

// A client that keeps its session and offers it to the next connection.
func ExampleDial() {
	address, stop := helloServer()
	defer stop()

	// OpenSSL announces a client's sessions too: in TLS 1.3 with a Read.
	var session sessioncb.Session
	ctx, err := ssl.NewContext(ssl.Config{
		CAFile: caFile,
		SessionCallbacks: sessioncb.Callbacks{New: sessioncb.NewHandlerFunc(
			func(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) (keep bool) {
				if session != nil {
					session.Close()
				}
				session = s
				return true // ours now: Close is up to us
			})},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ctx.Close()

	for range 2 {
		options := &ssl.ClientOptions{ServerName: "localhost"}
		options.Session, _ = session.(*ssl.Session) // nil at first
		conn, err := ssl.Dial("tcp", address, ctx, options)
		if err != nil {
			log.Fatal(err)
		}
		data, err := io.ReadAll(conn)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s resumed: %v\n", data, conn.ConnectionState().DidResume)
		conn.Close()
	}
	session.Close()
	// Output:
	// hello resumed: false
	// hello resumed: true
}

// Any net.Conn will do as transport, a pipe in memory too.
func ExampleServer() {
	ctx, err := ssl.NewContext(ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ctx.Close()

	ours, theirs := net.Pipe()
	go func() {
		conn, err := ssl.Server(ours, ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(conn, "hello from OpenSSL") // the handshake runs first
		conn.Close()
	}()
	client := tls.Client(theirs, &tls.Config{RootCAs: roots(), ServerName: "localhost"})
	defer client.Close()
	data, err := io.ReadAll(client)
	fmt.Printf("%s, %v\n", data, err)
	// Output: hello from OpenSSL, <nil>
}

// The host name is verified by OpenSSL, in the handshake.
func ExampleClient() {
	ctx, err := ssl.NewContext(ssl.Config{CAFile: caFile})
	if err != nil {
		log.Fatal(err)
	}
	defer ctx.Close()
	address, stop := helloServer()
	defer stop()

	for _, name := range []string{"localhost", "elsewhere.example"} {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		conn, err := ssl.Client(nc, ctx, &ssl.ClientOptions{ServerName: name})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, conn.Handshake())
		conn.Close()
	}
	// Output:
	// localhost <nil>
	// elsewhere.example ssl: handshake: certificate verify failed: certificate: hostname mismatch
}

// Handlers of your own: the three callbacks of OpenSSL as Go functions. Here
// they keep the sessions in a map, encoded.
func ExampleContext_SetSessionCallbacks() {
	var mu sync.Mutex
	sessions := map[string][]byte{}
	server, err := ssl.NewContext(ssl.Config{
		Certificates:     []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
		Tickets:          ssl.TicketsStateful, // so that TLS 1.3 asks too
		SessionCacheMode: ssl.CacheExternal,
		NumTickets:       1,
		SessionCallbacks: sessioncb.Callbacks{Get: sessioncb.GetHandlerFunc(nothing)},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	err = server.SetSessionCallbacks(sessioncb.Callbacks{
		// The client gets its ticket when NewSession returned.
		New: sessioncb.NewHandlerFunc(func(_ context.Context, c sessioncb.Conn, s sessioncb.Session) (keep bool) {
			der, err := s.MarshalBinary()
			if err != nil {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			sessions[string(s.ID())] = der
			fmt.Println("new session for", c.ServerName())
			return false // the bytes are enough
		}),
		// No thread of OpenSSL waits for a lookup, however long it takes.
		Get: sessioncb.GetHandlerFunc(func(_ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			mu.Lock()
			defer mu.Unlock()
			der := sessions[string(id)]
			fmt.Println("lookup, found:", der != nil)
			return sessioncb.DER(der), nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	connectTwice(server)
	// Output:
	// new session for localhost
	// lookup, found: true
	// new session for localhost
}

// The twelve counters of an SSL_CTX.
func ExampleContext_Stats() {
	server, err := ssl.NewContext(ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	connectTwice(server)
	st := server.Stats()
	fmt.Println(st.AcceptGood, "handshakes,", st.Hits, "resumed,", st.Misses, "misses")
	// Output: 2 handshakes, 1 resumed, 0 misses
}

// A session from bytes that OpenSSL wrote, here or elsewhere. Text shows no
// secrets.
func ExampleParseSession() {
	der, err := os.ReadFile("../testdata/sessions/openssl-3.0.19-tls1.2-client.der")
	if err != nil {
		log.Fatal(err)
	}
	s, err := ssl.ParseSession(der)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	again, err := s.MarshalBinary()
	fmt.Println(bytes.Equal(der, again), err)

	_, err = ssl.ParseSession(der[:40])
	fmt.Println(err != nil)
	// Output:
	// true <nil>
	// true
}

func ExampleSession_Text() {
	der, err := os.ReadFile("../testdata/sessions/openssl-3.0.19-tls1.2-server.der")
	if err != nil {
		log.Fatal(err)
	}
	s, err := ssl.ParseSession(der)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Print(s.Text())
	// Output:
	// protocol: TLS 1.2
	// cipher suite: TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	// session id: 7a283feee887fb99e62ae665c88a0bd6e66497c8878718ff51d9cbe838db6655
	// session id context: 7265636f72646564
	// time: 2026-11-21T22:12:43Z
	// timeout: 87600h0m0s
	// expires: 2036-11-18T22:12:43Z
	// peer certificate: CN=recorded client
	// resumable: true
}

// Go handlers on an SSL_CTX that C code made, and goes on driving. Here a C
// server in this process stands for the program; SSLCTX returns its SSL_CTX *
// as an unsafe.Pointer.
func ExampleAttach() {
	program, err := chost.NewServer(chost.Options{
		ChainFile: chainFile, KeyFile: keyFile, SessionIDContext: "example", CacheMode: chost.CacheServer,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer program.Close()

	// Before the program's first SSL_new.
	told := make(chan string, 1)
	attachment, err := ssl.Attach(program.SSLCTX(), sessioncb.Callbacks{
		New: sessioncb.NewHandlerFunc(func(_ context.Context, c sessioncb.Conn, s sessioncb.Session) (keep bool) {
			told <- fmt.Sprint(tls.VersionName(s.Version()), " session for ", c.ServerName())
			return false
		}),
	}, &ssl.AttachOptions{Name: "the C server"})
	if err != nil {
		log.Fatal(err)
	}
	defer attachment.Close()

	if err := program.Start(); err != nil {
		log.Fatal(err)
	}
	client, err := tls.Dial("tcp", program.Addr(), &tls.Config{
		RootCAs: roots(), ServerName: "localhost", MaxVersion: tls.VersionTLS12,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(<-told)
	// Output: TLS 1.2 session for localhost
}

// nothing is a GetHandler that has no session.
func nothing(context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
	return sessioncb.Answer{}, nil
}

// roots are the CA certificates of the examples, for crypto/tls.
func roots() *x509.CertPool {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// helloServer says "hello" to everyone until stop is called.
func helloServer() (address string, stop func()) {
	ctx, err := ssl.NewContext(ssl.Config{Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}}})
	if err != nil {
		log.Fatal(err)
	}
	l, err := ssl.Listen("tcp", "127.0.0.1:0", ctx)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	return l.Addr().String(), func() { l.Close(); ctx.Close() }
}

// connectTwice runs two connections of one crypto/tls client.
func connectTwice(server *ssl.Context) {
	cfg := &tls.Config{RootCAs: roots(), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		ours, theirs := net.Pipe()
		conn, err := ssl.Server(ours, server)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			io.WriteString(conn, "hello")
			conn.Close()
		}()
		client := tls.Client(theirs, cfg)
		io.ReadAll(client)
		client.Close()
	}
}

// Two virtual hosts behind one listener: each has a certificate and sessions of
// its own, and the cache is the one of the Context that accepts.
func ExampleConfig_getConfigForClient() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		log.Fatal(err)
	}
	config := func(name string) ssl.Config {
		return ssl.Config{
			Name:         name,
			Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
			SessionCache: cache,
		}
	}
	admin := config("admin.example")
	admin.CAFile, admin.Verify = caFile, ssl.VerifyRequired
	adminContext, err := ssl.NewContext(admin)
	if err != nil {
		log.Fatal(err)
	}
	defer adminContext.Close()

	front := config("www.example")
	front.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*ssl.Context, error) {
		if hello.ServerName == "admin.example" {
			return adminContext, nil
		}
		return nil, nil // this one
	}
	frontContext, err := ssl.NewContext(front)
	if err != nil {
		log.Fatal(err)
	}
	defer frontContext.Close()

	same := bytes.Equal(frontContext.SessionIDContext(), adminContext.SessionIDContext())
	fmt.Println("a session of one host is good for the other:", same)
	// Output: a session of one host is good for the other: false
}

// What a server of this configuration does, in words, for a log.
func ExampleContext_Explain() {
	server, err := ssl.NewContext(ssl.Config{
		Certificates:     []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
		SessionIDContext: []byte("shop"),
		MaxVersion:       tls.VersionTLS12,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	for line := range strings.Lines(server.Explain()) {
		if strings.HasPrefix(line, "TLS 1.2") {
			fmt.Print(line)
		}
	}
	// Output: TLS 1.2: resumes by a stateless ticket: the session itself, sealed by OpenSSL under a key of this Context, which no other process has and which ends with it; no handler is asked for it; a client that knows no tickets by session id; it is found by the internal cache of this SSL_CTX, in this process alone
}
