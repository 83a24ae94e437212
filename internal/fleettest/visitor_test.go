package fleettest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// A visitor is a client of one version, perhaps with a certificate. It
// collects its sessions.
type visitor struct {
	t   testing.TB
	ctx *ssl.Context

	mu   sync.Mutex // connections may be at once
	list []*ssl.Session
	end  []byte // the last connection's session, encoded
}

// visitorConfig is what a visitor is made of; name is that of a file
// without its end, "": it has none.
func visitorConfig(version uint16, name string) ssl.Config {
	cfg := clientConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	if name != "" {
		cfg.Certificates = []ssl.Certificate{{ChainFile: cert(name + ".pem"), KeyFile: cert(name + "-key.pem")}}
	}
	return cfg
}

func newVisitor(t testing.TB, cfg ssl.Config) *visitor {
	t.Helper()
	v := &visitor{t: t}
	cfg.SessionCallbacks.New = v
	v.ctx = newContext(t, cfg)
	t.Cleanup(func() {
		for _, s := range v.list {
			s.Close()
		}
	})
	return v
}

// NewSession keeps the session.
func (v *visitor) NewSession(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.list = append(v.list, s.(*ssl.Session))
	return true
}

// last returns the newest session; it stays the visitor's.
func (v *visitor) last() *ssl.Session {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.list) == 0 {
		v.t.Fatal("the client has no session")
	}
	return v.list[len(v.list)-1]
}

// visit connects, offers the session, gets a byte and sends one. A server of
// TLS 1.3 may refuse the client after the client's handshake: then the state is
// of a finished one, and there is an error.
func (v *visitor) visit(addr, name string, offer *ssl.Session) (tls.ConnectionState, error) {
	v.t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.over(nc, name, offer)
}

func (v *visitor) over(nc net.Conn, name string, offer *ssl.Session) (tls.ConnectionState, error) {
	v.t.Helper()
	c, err := ssl.Client(nc, v.ctx, &ssl.ClientOptions{ServerName: name, Session: offer})
	if err != nil {
		nc.Close()
		v.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if err := c.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	state := c.ConnectionState()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return state, err
	}
	if s := c.Session(); s != nil {
		end := marshal(v.t, s)
		s.Close()
		v.mu.Lock()
		v.end = end
		v.mu.Unlock()
	}
	_, err = c.Write([]byte("x"))
	return state, err
}

// meets visits a server that must welcome it, resumed or not, by the word of
// both, and returns what the server saw.
func (v *visitor) meets(m member, addr int, name string, offer *ssl.Session, resumed bool) report {
	v.t.Helper()
	state, err := v.visit(m.addrs()[addr], name, offer)
	if err != nil {
		v.t.Fatalf("the client: %v", err)
	}
	r := took(v.t, m)
	if r.Err != "" {
		v.t.Fatalf("the server: %s", r.Err)
	}
	if state.DidResume != resumed || r.Resumed != resumed {
		v.t.Errorf("resumed: %v by the client, %v by the server, want %v", state.DidResume, r.Resumed, resumed)
	}
	return r
}

// session visits with a full handshake and returns its session.
func (v *visitor) session(m member, addr int, name string) *ssl.Session {
	v.t.Helper()
	v.meets(m, addr, name, nil, false)
	return v.last()
}
