package ssl

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/sessioncb/openssl/cshim"
)

// ErrorEntry is one entry of OpenSSL's error queue (ERR_get_error_all).
type ErrorEntry struct {
	Code    uint64 // the packed error code
	Library string // "SSL routines"
	Reason  string // "certificate verify failed"
	File    string // of OpenSSL's source
	Line    int
	Data    string // what the library added, or ""
}

// Error is a failure of OpenSSL: what was asked, and everything that the
// crossing which failed found. It never holds key material.
type Error struct {
	// Op is the operation: "handshake", "read", "new context: certificate" ...
	Op string
	// Code is SSL_get_error's value (1 is SSL_ERROR_SSL, 5 SSL_ERROR_SYSCALL);
	// 0 when no connection was involved.
	Code int
	// Queue is the error queue, oldest first; it can be empty.
	Queue []ErrorEntry
	// Err is the cause outside OpenSSL: a syscall.Errno, io.ErrUnexpectedEOF,
	// a *VerifyError; or nil.
	Err error

	truncated bool
}

// Error says the operation, the reasons and the cause in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("ssl: ")
	b.WriteString(e.Op)
	for _, q := range e.Queue {
		b.WriteString(": ")
		switch {
		case q.Reason != "":
			b.WriteString(q.Reason)
		case q.Library != "":
			b.WriteString(q.Library)
		default:
			fmt.Fprintf(&b, "error %08X", q.Code)
		}
		if q.Data != "" {
			fmt.Fprintf(&b, " (%s)", q.Data)
		}
	}
	switch {
	case e.Err != nil:
		fmt.Fprintf(&b, ": %v", e.Err)
	case len(e.Queue) == 0 && e.Code != 0:
		fmt.Fprintf(&b, ": SSL_get_error %d", e.Code)
	case len(e.Queue) == 0:
		b.WriteString(": rejected by libssl, which gave no reason")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is says that a connection which the peer cut is an unexpected end.
func (e *Error) Is(target error) bool { return e.truncated && target == io.ErrUnexpectedEOF }

// VerifyError says why a peer's certificate was not accepted
// (SSL_get_verify_result).
type VerifyError struct {
	Code   int64  // X509_V_ERR_*
	Reason string // X509_verify_cert_error_string
}

func (e *VerifyError) Error() string { return "certificate: " + e.Reason }

// HandlerPanicError is a panic of a session handler, or its runtime.Goexit.
// The handshake goes on: a miss for Get, not kept for New, delivered for Remove,
// no early data for AllowEarlyData.
type HandlerPanicError struct {
	Handler string // "New", "Get", "Remove" or "AllowEarlyData"
	Value   any    // what was given to panic; nil for Goexit
	Stack   []byte
}

func (e *HandlerPanicError) Error() string {
	if e.Value == nil {
		return "ssl: " + e.Handler + " handler called runtime.Goexit"
	}
	return fmt.Sprintf("ssl: %s handler panicked: %v", e.Handler, e.Value)
}

// opError makes an Error of a failed call that had no connection.
func opError(op string, q cshim.Queue) error {
	e := &Error{Op: op, Queue: entries(q)}
	if q.Errno != 0 {
		e.Err = q.Errno
	}
	return e
}

func entries(q cshim.Queue) []ErrorEntry {
	var list []ErrorEntry
	for _, x := range q.Entries {
		list = append(list, ErrorEntry(x))
	}
	return list
}

// stepError makes an Error of the failed step; the Conn's lock is held.
func stepError(op string, c *cshim.Conn) error {
	code, errno, verify, q := c.Failure()
	e := &Error{Op: op, Code: code, Queue: entries(q)}
	switch {
	case errno == syscall.ENOBUFS:
		e.Err = errors.New("the peer asks for answers and does not read them")
	case errno != 0:
		e.Err = errno
		e.truncated = errno == syscall.ECONNRESET || errno == syscall.EPIPE
	case verify != 0 && op == "handshake":
		e.Err = &VerifyError{Code: verify, Reason: cshim.VerifyErrorString(verify)}
	}
	return e
}

// transportError renames the operation of a transport's error, so that a
// deadline reads "read tcp ...: i/o timeout" whatever waited for it.
func transportError(op string, err error) error {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &Error{Op: op, Err: err, truncated: true}
	}
	var o *net.OpError
	if errors.As(err, &o) && (errors.Is(o.Err, os.ErrDeadlineExceeded) || errors.Is(o.Err, net.ErrClosed)) {
		x := *o
		x.Op = op
		return &x
	}
	return err
}
