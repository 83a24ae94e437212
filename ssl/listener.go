package ssl

import (
	"context"
	"errors"
	"net"
)

// Listener accepts TLS connections. Accept never handshakes, so a client that
// is silent blocks nobody.
type Listener struct {
	net.Listener
	ctx *Context
}

// NewListener makes a Listener over inner, whose connections become *Conn of
// ctx. It is an error if ctx has no certificate.
func NewListener(inner net.Listener, ctx *Context) (*Listener, error) {
	switch {
	case inner == nil:
		return nil, &Error{Op: "listen", Err: errors.New("the net.Listener is nil")}
	case ctx == nil:
		return nil, &Error{Op: "listen", Err: errors.New("the Context is nil")}
	case !ctx.serves():
		return nil, &Error{Op: "listen", Err: errNoCertificate}
	}
	return &Listener{inner, ctx}, nil
}

// Listen listens as net.Listen does, for "tcp", "tcp4", "tcp6" or "unix".
func Listen(network, address string, ctx *Context) (*Listener, error) {
	inner, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	l, err := NewListener(inner, ctx)
	if err != nil {
		inner.Close()
		return nil, err
	}
	return l, nil
}

// Accept returns the next connection, a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c, err := Server(nc, l.ctx)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// Dial connects and handshakes; see DialContext.
func Dial(network, address string, ctx *Context, o *ClientOptions) (*Conn, error) {
	return DialContext(context.Background(), network, address, ctx, o)
}

// DialContext connects, handshakes, and returns the connection; c bounds both,
// and does not matter afterwards. An empty ServerName becomes the host of
// address.
func DialContext(c context.Context, network, address string, ctx *Context, o *ClientOptions) (*Conn, error) {
	var options ClientOptions
	if o != nil {
		options = *o
	}
	if options.ServerName == "" && network != "unix" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, &Error{Op: "dial", Err: err}
		}
		options.ServerName = host
	}
	nc, err := new(net.Dialer).DialContext(c, network, address)
	if err != nil {
		return nil, err
	}
	conn, err := Client(nc, ctx, &options)
	if err != nil {
		nc.Close()
		return nil, err
	}
	if err := conn.HandshakeContext(c); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
