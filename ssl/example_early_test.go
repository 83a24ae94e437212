package ssl_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/ssl"
)

// earlyListener accepts connections for net/http that serve early data.
type earlyListener struct{ net.Listener }

func (l earlyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &earlyConn{Conn: c.(*ssl.Conn)}, nil
}

// earlyConn reads early data first, and writes without waiting for the end of
// the handshake.
type earlyConn struct {
	*ssl.Conn
	once  sync.Once
	early *ssl.EarlyData
	err   error
}

func (c *earlyConn) open() error {
	c.once.Do(func() { c.early, c.err = c.Conn.EarlyData(context.Background()) })
	return c.err
}

// ConnectionState is what net/http asks for first.
func (c *earlyConn) ConnectionState() tls.ConnectionState {
	c.open() // an error comes again, from Read
	return c.Conn.ConnectionState()
}

func (c *earlyConn) Read(b []byte) (int, error) {
	if err := c.open(); err != nil {
		return 0, err
	}
	n, err := c.early.Read(b)
	if err == io.EOF {
		return c.Conn.Read(b) // when the handshake has finished
	}
	return n, err
}

func (c *earlyConn) Write(b []byte) (int, error) {
	if err := c.open(); err != nil {
		return 0, err
	}
	return c.early.Write(b)
}

// connKey finds the connection in the context of a request.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// tooEarly answers 425 Too Early to a request that could be a replay, unless
// its method is safe: the client sends it again after the handshake (RFC 8470).
func tooEarly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*earlyConn)
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
		default:
			if !c.ConnectionState().HandshakeComplete {
				http.Error(w, "too early", http.StatusTooEarly)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// A net/http server that serves GET in early data, and asks for everything else
// again after the handshake.
func ExampleConn_EarlyData() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	// SingleUse: no session is found twice, so no early data is accepted twice.
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey(), SingleUse: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx, err := ssl.NewContext(ssl.Config{
		Certificates: []ssl.Certificate{{ChainFile: chainFile, KeyFile: keyFile}},
		SessionCache: cache,
		MaxEarlyData: 16 << 10,
		AllowEarlyData: func(_ context.Context, c sessioncb.Conn) bool {
			return c.ServerName() == "localhost"
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ctx.Close()
	l, err := ssl.Listen("tcp", "127.0.0.1:0", ctx)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{
		Handler: tooEarly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "served %s", r.Method)
		})),
		ConnContext: withConn,
	}
	defer srv.Close()
	go srv.Serve(earlyListener{l})

	client := newEarlyClient()
	defer client.close()
	fmt.Println(client.do(l.Addr().String(), "POST")) // no session yet
	fmt.Println(client.do(l.Addr().String(), "POST")) // in early data
	fmt.Println(client.do(l.Addr().String(), "GET"))
	// Output:
	// served POST, early data: false
	// 425 Too Early, then served POST, early data: true
	// served GET, early data: true
}

// earlyClient sends its request in early data if it has a session for that.
type earlyClient struct {
	ctx     *ssl.Context
	mu      sync.Mutex
	session *ssl.Session
}

func newEarlyClient() *earlyClient {
	c := &earlyClient{}
	var err error
	c.ctx, err = ssl.NewContext(ssl.Config{CAFile: caFile, SessionCallbacks: sessioncb.Callbacks{New: c}})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func (c *earlyClient) NewSession(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	if old := c.swap(s.(*ssl.Session)); old != nil {
		old.Close()
	}
	return true
}

// swap gives the session away: one is for one use.
func (c *earlyClient) swap(s *ssl.Session) *ssl.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.session
	c.session = s
	return old
}

func (c *earlyClient) close() {
	if s := c.swap(nil); s != nil {
		s.Close()
	}
	c.ctx.Close()
}

// do makes a request on a new connection, and says what became of it.
func (c *earlyClient) do(addr, method string) string {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	session := c.swap(nil)
	if session != nil {
		defer session.Close()
	}
	conn, err := ssl.Client(nc, c.ctx, &ssl.ClientOptions{ServerName: "localhost", Session: session})
	if err != nil {
		nc.Close()
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	request := []byte(method + " / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if method == "POST" {
		request = []byte("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
	}
	if session != nil && session.MaxEarlyData() >= uint32(len(request)) {
		if _, err := conn.WriteEarlyData(request); err != nil {
			return err.Error()
		}
	}
	if err := conn.Handshake(); err != nil {
		return err.Error()
	}
	if !conn.EarlyDataAccepted() { // the server has seen nothing of it
		if _, err := conn.Write(request); err != nil {
			return err.Error()
		}
	}
	said := ""
	for r := bufio.NewReader(conn); ; {
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return err.Error()
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err.Error()
		}
		if response.StatusCode != http.StatusTooEarly {
			return fmt.Sprintf("%s%s, early data: %v", said, body, conn.EarlyDataAccepted())
		}
		said += response.Status + ", then "
		if _, err := conn.Write(request); err != nil {
			return err.Error()
		}
	}
}
