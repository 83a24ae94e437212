package main

/*
#include <openssl/err.h>
#include <openssl/ssl.h>

// The steps of a connection. None looks at the error queue unless it failed, and
// one that failed leaves it empty. Done is above 0; what else it came to:
enum { WANT_READ = -1, WANT_WRITE = -2, CLOSED = -3, BROKEN = -4 };

// What accept_step returns when it is done.
enum { FULL = 1, RESUMED = 2 };

static int stopped(SSL *ssl, int r)
{
    switch (SSL_get_error(ssl, r)) {
    case SSL_ERROR_WANT_READ:
        return WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return CLOSED;
    }
    ERR_clear_error();
    return BROKEN;
}

static int accept_step(SSL *ssl)
{
    int r = SSL_accept(ssl);

    return r != 1 ? stopped(ssl, r) : SSL_session_reused(ssl) ? RESUMED : FULL;
}

static int read_step(SSL *ssl, unsigned char *b, int n)
{
    int r = SSL_read(ssl, b, n);

    return r > 0 ? r : stopped(ssl, r);
}

// libssl remembers the address of a write that is to be repeated, but neither
// follows it nor compares it with the next (ACCEPT_MOVING_WRITE_BUFFER).
static int write_step(SSL *ssl, const unsigned char *b, int n)
{
    int r = SSL_write(ssl, b, n);

    return r > 0 ? r : stopped(ssl, r);
}

// Done is when it is sent: nobody waits for the peer's.
static int shutdown_step(SSL *ssl)
{
    int r = SSL_shutdown(ssl);

    return r >= 0 ? 1 : stopped(ssl, r);
}

// Returns new, or NULL.
static SSL *open_conn(SSL_CTX *ctx, int fd)
{
    SSL *ssl = SSL_new(ctx);

    if (ssl == NULL || !SSL_set_fd(ssl, fd)) {
        ERR_clear_error();
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return ssl;
}

// Not of the others: they may look up, store or remove a session.
#cgo noescape open_conn
#cgo nocallback open_conn
*/
import "C"

import (
	"errors"
	"io"
	"net"
	"syscall"
	"unsafe"
)

type operation int

const (
	accept operation = iota
	read
	write
	shutdown
)

// A conn is an SSL on the descriptor of a TCP connection.
type conn struct {
	net.Conn
	raw    syscall.RawConn
	server *server
	ssl    *C.SSL // nil once closed

	// What a step does, and what it came to. poll is once, made a func value with
	// the connection and not at each step.
	poll   func(uintptr) bool
	op     operation
	b      []byte
	result C.int
	waits  C.int // the result with which the RawConn waits and polls again

	open, resumed bool
}

var errBroken = errors.New("the connection is broken")

func (s *server) wrap(nc net.Conn) (*conn, error) {
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, raw: raw, server: s}
	c.poll = c.once
	if err := raw.Control(func(fd uintptr) { c.ssl = C.open_conn(s.ctx, C.int(fd)) }); err != nil {
		return nil, err
	}
	if c.ssl == nil {
		return nil, errors.New("no SSL")
	}
	return c, nil
}

// once is one crossing. The RawConn has noted before it that what becomes ready
// from then on is to be told, so that none is lost between the step that wants
// it and the wait. False: wait and poll again.
func (c *conn) once(uintptr) bool {
	b, n := (*C.uchar)(unsafe.SliceData(c.b)), C.int(min(len(c.b), 1<<30))
	switch c.op {
	case accept:
		c.server.gate <- struct{}{}
		c.result = C.accept_step(c.ssl)
		<-c.server.gate
	case read:
		c.result = C.read_step(c.ssl, b, n)
	case write:
		c.result = C.write_step(c.ssl, b, n)
	case shutdown:
		c.result = C.shutdown_step(c.ssl)
	}
	return c.result != c.waits
}

// run does a step until it is done. waits is what it mostly waits for; should it
// want the other, the RawConn is asked for that.
func (c *conn) run(op operation, b []byte, waits C.int) (n int, err error) {
	c.op, c.b, c.waits = op, b, waits
	for {
		if c.waits == C.WANT_READ {
			err = c.raw.Read(c.poll)
		} else {
			err = c.raw.Write(c.poll)
		}
		switch {
		case err != nil:
			return 0, err
		case c.result > 0:
			return int(c.result), nil
		case c.result == C.CLOSED:
			return 0, io.EOF
		case c.result == C.BROKEN:
			return 0, errBroken
		}
		c.waits = c.result
	}
}

func (c *conn) Handshake() error {
	r, err := c.run(accept, nil, C.WANT_READ)
	c.open, c.resumed = err == nil, r == C.RESUMED
	return err
}

func (c *conn) Read(b []byte) (int, error) { return c.run(read, b, C.WANT_READ) }

func (c *conn) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = c.run(write, b[n:], C.WANT_WRITE)
		n += k
	}
	return n, err
}

// Close sends close_notify if there is room for it, and waits for none. The
// descriptor goes before the SSL, as in the C peer: the other side waits for the
// FIN, and nobody for SSL_free.
func (c *conn) Close() error {
	if c.ssl == nil {
		return net.ErrClosed
	}
	if c.open && c.result != C.BROKEN {
		c.op, c.waits = shutdown, 0
		c.raw.Write(c.poll)
	}
	err := c.Conn.Close()
	C.SSL_free(c.ssl)
	c.ssl = nil
	return err
}
