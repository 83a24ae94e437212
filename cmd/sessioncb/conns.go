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
	"sync/atomic"

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
	cache     *sessioncb.Cache
	log       *slog.Logger
	count     *handshakeCounters
	earlyData bool // early data may come

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
	case answer.Encoded() != nil || answer.Session() != nil:
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

	begun, finished sync.Once   // the handshake
	early           *early      // nil: none was accepted
	late            atomic.Bool // something came that is not early data

	mu     sync.Mutex
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
	session string // the id, short; "" until the handshake has finished
	early   string // what became of early data, or ""
}

// ConnectionState handshakes and reports it to the log; net/http calls it
// before anything else. With early data the handshake finishes later.
func (c *conn) ConnectionState() tls.ConnectionState {
	c.begun.Do(func() {
		if c.conns.earlyData && c.beginEarly() {
			return
		}
		c.finished.Do(func() { c.finish(c.Conn.Handshake()) })
	})
	return c.reported().state
}

// finish completes the report and logs it.
func (c *conn) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.report.state = c.Conn.ConnectionState()
		c.conns.count.failed.Inc()
		c.logFailure(err)
		return
	}
	c.describe(c.Conn.ConnectionState())
	if s := c.Conn.Session(); s != nil {
		c.report.session = short(s.ID())
		s.Close()
	}
	c.conns.count.done.WithLabelValues(tls.VersionName(c.report.state.Version), c.report.resumed).Inc()
	c.logHandshake()
}

// describe takes what is known of the handshake so far. c.mu is held.
func (c *conn) describe(state tls.ConnectionState) {
	r := &c.report
	r.state, r.resumed = state, howResumed(state)
	r.host = c.Conn.HostContext().Name()
	if certs := state.PeerCertificates; len(certs) > 0 {
		r.client = certs[0].Subject.String()
	}
	c.conns.mu.Lock()
	defer c.conns.mu.Unlock()
	var offered []string
	for _, l := range c.lookups {
		offered = append(offered, l.String())
	}
	r.offered = strings.Join(offered, ", ")
}

func (c *conn) reported() report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}

// Close closes the connection and forgets it.
func (c *conn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c.Conn)
	active := c.active
	c.conns.mu.Unlock()
	if c.early != nil {
		c.early.end(active)
	}
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
	if r.early != "" {
		attrs = append(attrs, "early_data", r.early)
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
