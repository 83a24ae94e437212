package ssl

import (
	"context"
	"errors"
	"net"
)

// Listener accepts TLS connections. Accept never waits for a handshake, so a
// client that is silent blocks nobody.
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

// Listen listens as net.Listen does, for "tcp", "tcp4", "tcp6" or "unix". A TCP
// socket is the package's own: see ListenTCP.
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
	l.own()
	return l, nil
}

// ListenTCP makes a Listener as NewListener does, but takes the socket of inner
// and closes inner: the package then waits for its connections in a way of its
// own, which spares each Read a system call. Listen does the same; ListenTCP is for
// the socket of a net.ListenConfig, or one that comes from elsewhere. A goroutine
// that waits for its peer may keep its thread and a processor (GOMAXPROCS)
// meanwhile, for 500 us at a time, if few connections are busy; Close and
// deadlines are seen after that.
//
// Where a Context asks Go for nothing in a handshake (no GetHandler, no
// GetConfigForClient, MaxEarlyData or SlowPrivateKey), threads of C accept, and
// make the handshake before Accept returns its connection; Handshake then says
// how it ended. Connections that Accept has not returned end with the Listener, and
// with the Context. While 1024 of them wait for Accept, no more are accepted.
//
// NetConn is no *net.TCPConn, but has its methods CloseRead, CloseWrite,
// SetLinger, SetNoDelay, SetKeepAlive, SetKeepAlivePeriod, SetReadBuffer,
// SetWriteBuffer and SyscallConn. TCP_NODELAY and keep-alive are as package net
// sets them by default.
func ListenTCP(inner *net.TCPListener, ctx *Context) (*Listener, error) {
	if inner == nil {
		return nil, &Error{Op: "listen", Err: errors.New("the net.TCPListener is nil")}
	}
	l, err := NewListener(inner, ctx)
	if err != nil {
		return nil, err
	}
	l.own()
	return l, nil
}

// own takes over the socket if that is possible. If not, nothing is lost but time.
func (l *Listener) own() {
	tcp, ok := l.Listener.(*net.TCPListener)
	if !ok || polls.start() != nil {
		return
	}
	if d := openDoor(tcp, l.ctx); d != nil {
		l.Listener = d
	} else if a := newAcceptor(tcp); a != nil {
		l.Listener = a
	}
}

// Accept returns the next connection, a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	nc, err := l.next()
	if err != nil {
		return nil, err
	}
	if c, ok := nc.(*Conn); ok { // of a door
		return c, nil
	}
	c, err := Server(nc, l.ctx)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (l *Listener) next() (net.Conn, error) {
	a, ok := l.Listener.(*acceptor)
	if !ok {
		return l.Listener.Accept()
	}
	s, err := a.next()
	if err != nil {
		return nil, err
	}
	return s, nil
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
