package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// Ways to resume, as the log and the HTTP answer name them.
const (
	fullHandshake    = "no"
	bySessionID      = "session id"
	byStatefulTicket = "stateful ticket"
)

// conns are the connections of one server.
type conns struct {
	cache *sessioncb.Cache
	log   *slog.Logger
	count *handshakeCounters

	mu      sync.Mutex
	open    map[*ssl.Conn]*conn
	stopped bool // no connection is taken any more
}

func newConns(cache *sessioncb.Cache, log *slog.Logger) *conns {
	return &conns{cache: cache, log: log, count: newHandshakeCounters(), open: make(map[*ssl.Conn]*conn)}
}

// callbacks are the Cache's, with the lookups noted.
func (s *conns) callbacks() sessioncb.Callbacks {
	cb := s.cache.Callbacks()
	cb.Get = &noted{Cache: s.cache, conns: s}
	return cb
}

// noted is the Cache as a GetHandler (a SingleUser and an IDMaker too), which
// notes what each client offered and what became of it.
type noted struct {
	*sessioncb.Cache
	conns *conns
}

var (
	_ sessioncb.SingleUser = (*noted)(nil)
	_ sessioncb.IDMaker    = (*noted)(nil)
)

// GetSession asks the Cache.
func (n *noted) GetSession(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	s := n.conns
	answer, err := n.Cache.GetSession(ctx, c, id)
	l := lookup{id: id, result: "not found"}
	switch {
	case err != nil:
		l.result = err.Error()
	case answer.Encoded() != nil:
		l.result = "found"
	}
	if sc, ok := c.(*ssl.Conn); ok {
		s.mu.Lock()
		if c := s.open[sc]; c != nil {
			c.lookups = append(c.lookups, l)
		}
		s.mu.Unlock()
	}
	return answer, err
}

// add takes a connection, unless it comes too late.
func (s *conns) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.open[c.Conn] = c
	}
	return !s.stopped
}

// stop takes no more connections, and closes those that have not sent a
// request: net/http would wait some seconds for one.
func (s *conns) stop() {
	s.mu.Lock()
	s.stopped = true
	var unused []*conn
	for _, c := range s.open {
		if !c.active {
			unused = append(unused, c)
		}
	}
	s.mu.Unlock()
	for _, c := range unused {
		c.Close()
	}
}

// listener makes a conn of each connection that is accepted.
type listener struct {
	net.Listener
	conns *conns
}

// Accept returns the next connection, a *conn.
func (l listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc.(*ssl.Conn), conns: l.conns}
	if !l.conns.add(c) {
		c.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// conn is a connection whose handshake is reported once.
type conn struct {
	*ssl.Conn
	conns *conns

	// Under conns.mu:
	lookups []lookup
	active  bool // net/http has read of it

	once   sync.Once
	report report
}

// lookup is one question of the handshake to the store.
type lookup struct {
	id     []byte
	result string // "found", "not found" or an error
}

func (l lookup) String() string { return fmt.Sprintf("%s (%s)", short(l.id), l.result) }

// report says what a handshake came to.
type report struct {
	state   tls.ConnectionState
	host    string // the Name of the context that GetConfigForClient chose, or of the default
	client  string // the subject of the client's certificate, or ""
	resumed string
	offered string // what the client offered and the store said, or ""
	session string // the id, short
}

// ConnectionState handshakes and reports it to the log; net/http calls it
// before anything else.
func (c *conn) ConnectionState() tls.ConnectionState {
	c.once.Do(func() {
		c.report.state = c.Conn.ConnectionState()
		if !c.report.state.HandshakeComplete {
			c.conns.count.failed.Inc()
			c.logFailure(c.Conn.Handshake())
			return
		}
		c.report.resumed = howResumed(c.report.state)
		c.report.host = c.Conn.Context().Name()
		if certs := c.report.state.PeerCertificates; len(certs) > 0 {
			c.report.client = certs[0].Subject.String()
		}
		c.conns.count.done.WithLabelValues(tls.VersionName(c.report.state.Version), c.report.resumed).Inc()
		if s := c.Conn.Session(); s != nil {
			c.report.session = short(s.ID())
			s.Close()
		}
		c.conns.mu.Lock()
		lookups := c.lookups
		c.conns.mu.Unlock()
		var offered []string
		for _, l := range lookups {
			offered = append(offered, l.String())
		}
		c.report.offered = strings.Join(offered, ", ")
		c.logHandshake()
	})
	return c.report.state
}

// Close closes the connection and forgets it.
func (c *conn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c.Conn)
	c.conns.mu.Unlock()
	return c.Conn.Close()
}

func (c *conn) markActive() {
	c.conns.mu.Lock()
	c.active = true
	c.conns.mu.Unlock()
}

// howResumed names the way. There is one for each version: the server gives
// no tickets in TLS 1.2 and only stateful ones in TLS 1.3.
func howResumed(s tls.ConnectionState) string {
	switch {
	case !s.DidResume:
		return fullHandshake
	case s.Version == tls.VersionTLS13:
		return byStatefulTicket
	}
	return bySessionID
}

func (c *conn) logHandshake() {
	r := &c.report
	attrs := []any{
		"remote", c.RemoteAddr().String(),
		"version", tls.VersionName(r.state.Version),
		"suite", tls.CipherSuiteName(r.state.CipherSuite),
		"server_name", r.state.ServerName,
		"resumed", r.resumed,
		"session", r.session,
	}
	if r.host != "" {
		attrs = append(attrs, "host", r.host)
	}
	if r.client != "" {
		attrs = append(attrs, "client", r.client)
	}
	if r.offered != "" {
		attrs = append(attrs, "offered", r.offered)
	}
	c.conns.log.Info("handshake", attrs...)
}

func (c *conn) logFailure(err error) {
	level := slog.LevelWarn
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		level = slog.LevelInfo // a client that went away, or we did
	}
	c.conns.log.Log(context.Background(), level, "handshake failed", "remote", c.RemoteAddr().String(), "error", err)
}

// short is the beginning of a session id: enough to find it by.
func short(id []byte) string { return hex.EncodeToString(id[:min(len(id), 8)]) }
