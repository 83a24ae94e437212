package ssl

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/sessioncb/openssl/cshim"
)

// chooseHost asks Config.GetConfigForClient which Context is in force for this
// connection, and makes it so. The handshake is suspended: no C frame, no lock
// and no slot of the gate waits. After an error the next step ends the
// handshake with an alert.
func (c *Conn) chooseHost(ctx context.Context) {
	if err := c.adoptHost(ctx); err != nil {
		c.locked(func() error { c.ssl.Refuse(); return nil })
		c.hs.Load().refused = err
	}
}

func (c *Conn) adoptHost(ctx context.Context) error {
	c.mu.Lock()
	var hello *tls.ClientHelloInfo
	if c.ssl != nil {
		hello = helloInfo(c.ssl, c.NetConn())
	}
	c.mu.Unlock()
	if hello == nil {
		return net.ErrClosed
	}
	host, err := c.ctx.side.choose(ctx, c.handshakeLimits(), func() (*Context, error) {
		return c.ctx.getHost(hello)
	})
	if err != nil {
		return &Error{Op: "handshake: GetConfigForClient", Err: err}
	}
	if host == nil || host == c.ctx {
		return c.locked(func() error { c.ssl.Stay(); return nil })
	}
	host.mu.RLock() // its SSL_CTX cannot go away before the SSL holds it
	defer host.mu.RUnlock()
	if host.closed {
		return &Error{Op: "handshake: GetConfigForClient", Err: ErrContextClosed}
	}
	host.born.Store(true)
	if err := c.ctx.mayHost(host); err != nil {
		return &Error{Op: "handshake: GetConfigForClient", Err: err}
	}
	ids := c.ctx.side.newIDs(host.plan.mostTickets() - c.ctx.plan.mostTickets())
	return c.locked(func() error {
		q, ok := c.ssl.Adopt(host.side.c)
		if !ok {
			return opError("handshake: adopt context", q)
		}
		c.ssl.AddIDs(ids)
		c.host.Store(host)
		return nil
	})
}

// locked calls f unless the SSL is freed.
func (c *Conn) locked(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return net.ErrClosed
	}
	return f()
}

// mayHost says why host cannot stand in for c. The callbacks and the cache of
// an SSL stay those of the SSL_CTX that it was made with; a host with others of
// its own would never see them asked. host.mu is held.
func (c *Context) mayHost(host *Context) error {
	switch {
	case !host.identity:
		return errors.New("the Context for this host has no certificate")
	case host.cache != c.cache:
		return errors.New("the Context for this host has not the SessionCache of the Context that accepted the connection, whose callbacks run")
	case host.maxEarlyData > 0 && c.maxEarlyData == 0:
		return errors.New("the Context for this host has MaxEarlyData, but the Context that accepted the connection has not, and has begun without")
	case host.cache == nil && host.bits != 0:
		return errors.New("the Context for this host has SessionCallbacks, which would never be called: give them to the Context that accepts the connection")
	case !c.hosts.sameTrust(c) || !c.hosts.sameTrust(host):
		return errors.New("the Context for this host verifies clients otherwise than another, and a user gave both one SessionIDContext: a session of the one would be resumed on the other")
	}
	return nil
}

// hostTrust remembers under which verification each session id context stands
// that users chose, among the hosts of one listener. A derived one needs no such
// care: it is made of the verification.
type hostTrust struct {
	mu     sync.Mutex
	digest map[string][32]byte
}

// sameTrust says whether c verifies as the first host with its context did.
func (h *hostTrust) sameTrust(c *Context) bool {
	if c.derived {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.digest == nil {
		h.digest = map[string][32]byte{}
	}
	first, ok := h.digest[string(c.sidCtx)]
	if !ok {
		h.digest[string(c.sidCtx)] = c.trust
		return true
	}
	return first == c.trust
}

// choice is what GetConfigForClient came to.
type choice struct {
	host *Context
	err  error
}

// choose calls f within the limits, with its panics contained.
func (s *side) choose(ctx context.Context, l limits, f func() (*Context, error)) (*Context, error) {
	ctx, cancel := l.within(ctx, s.options.lookup)
	defer cancel()
	result := contained(func() choice {
		host, err := f()
		return choice{host, err}
	}, func(e *HandlerPanicError) choice {
		s.panicked(e)
		return choice{err: e}
	}, "GetConfigForClient")
	made, ok := wait(ctx, cancel, l, result)
	if !ok {
		s.counts.late.Add(1)
		return nil, errHostLate
	}
	return made.host, made.err
}

var errHostLate = errors.New("it did not return in time")

// HostContext returns the Context in force: the one that
// Config.GetConfigForClient chose, or that of Server or Client.
func (c *Conn) HostContext() *Context { return c.host.Load() }

// helloInfo makes what crypto/tls tells its GetConfigForClient. text is that of
// cshim.Conn.HelloText, from bytes of the peer: what is malformed is left out.
func helloInfo(s *cshim.Conn, nc net.Conn) *tls.ClientHelloInfo {
	h := &tls.ClientHelloInfo{ServerName: s.ServerName(), Conn: nc}
	for text := s.HelloText(); len(text) >= 4; {
		kind, n := binary.BigEndian.Uint16(text), int(binary.BigEndian.Uint16(text[2:]))
		body := text[4 : 4+n]
		text = text[4+n:]
		if kind != suitesItem {
			h.Extensions = append(h.Extensions, kind)
		}
		switch kind {
		case suitesItem:
			h.CipherSuites = numbers[uint16](body, 2)
		case 10: // supported_groups
			h.SupportedCurves = numbers[tls.CurveID](vector(body, 2), 2)
		case 11: // ec_point_formats
			h.SupportedPoints = vector(body, 1)
		case 13: // signature_algorithms
			h.SignatureSchemes = numbers[tls.SignatureScheme](vector(body, 2), 2)
		case 16: // application_layer_protocol_negotiation
			for list := vector(body, 2); len(list) > 0; {
				p := vector(list, 1)
				if len(p) == 0 {
					break
				}
				h.SupportedProtos = append(h.SupportedProtos, string(p))
				list = list[1+len(p):]
			}
		case 43: // supported_versions
			h.SupportedVersions = numbers[uint16](vector(body, 1), 2)
		}
	}
	if h.SupportedVersions == nil {
		h.SupportedVersions = []uint16{tls.VersionTLS12}
	}
	return h
}

// suitesItem is the item of HelloText that is no extension.
const suitesItem = 0xffff

// vector returns the body of a vector that a length of so many bytes opens, nil
// if it is cut short.
func vector(b []byte, lengthBytes int) []byte {
	if len(b) < lengthBytes {
		return nil
	}
	n := 0
	for _, x := range b[:lengthBytes] {
		n = n<<8 | int(x)
	}
	if b = b[lengthBytes:]; n > len(b) {
		return nil
	}
	return b[:n]
}

// numbers reads big-endian integers of the given size.
func numbers[T ~uint16](b []byte, size int) (list []T) {
	for ; len(b) >= size; b = b[size:] {
		list = append(list, T(binary.BigEndian.Uint16(b)))
	}
	return list
}
