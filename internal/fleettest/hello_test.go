package fleettest

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sessioncb/openssl/ssl"
)

// deadEnd is a net.Conn that keeps what is written, and from which nothing comes.
type deadEnd struct{ sent []byte }

func (d *deadEnd) Write(b []byte) (int, error)      { d.sent = append(d.sent, b...); return len(b), nil }
func (d *deadEnd) Read([]byte) (int, error)         { return 0, io.EOF }
func (d *deadEnd) Close() error                     { return nil }
func (d *deadEnd) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (d *deadEnd) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (d *deadEnd) SetDeadline(time.Time) error      { return nil }
func (d *deadEnd) SetReadDeadline(time.Time) error  { return nil }
func (d *deadEnd) SetWriteDeadline(time.Time) error { return nil }

// flight records what a client sends before it gets an answer: its ClientHello
// with the session, and the early data.
func (v *visitor) flight(name string, offer *ssl.Session, early string) []byte {
	v.t.Helper()
	var wire deadEnd
	c, err := ssl.Client(&wire, v.ctx, &ssl.ClientOptions{ServerName: name, Session: offer})
	if err != nil {
		v.t.Fatal(err)
	}
	defer c.Close()
	if early != "" {
		if _, err := c.WriteEarlyData([]byte(early)); err != nil {
			v.t.Fatal(err)
		}
	} else if err := c.Handshake(); !errors.Is(err, io.ErrUnexpectedEOF) {
		v.t.Fatalf("a handshake with nobody: %v", err)
	}
	if len(wire.sent) < 100 || wire.sent[0] != 22 || wire.sent[5] != 1 {
		v.t.Fatalf("no ClientHello was written: %x", wire.sent)
	}
	return wire.sent
}

// hello records a ClientHello and returns the message without its record.
func (v *visitor) hello(name string, offer *ssl.Session) []byte {
	v.t.Helper()
	b := v.flight(name, offer, "")
	n := 5 + int(binary.BigEndian.Uint16(b[3:]))
	if len(b) < n || n < 9 {
		v.t.Fatalf("no ClientHello in one record: %x", b)
	}
	return b[5:n]
}

// records cuts a message into records.
func records(message []byte) (b []byte) {
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		b = append(b, 22, 3, 1, byte(n>>8), byte(n))
		b = append(b, message[:n]...)
		message = message[n:]
	}
	return b
}

// vector returns the length of a vector with its own length of size bytes.
func vector(b []byte, size int) int {
	n := 0
	for _, x := range b[:size] {
		n = n<<8 | int(x)
	}
	return size + n
}

// Where the session id of a ClientHello is: behind four bytes of message
// header, version and random.
const sessionIDAt = 4 + 2 + 32

// extensionsAt says where the extensions of a ClientHello begin, at their length.
func extensionsAt(hello []byte) int {
	at := sessionIDAt
	at += vector(hello[at:], 1)       // session id
	at += vector(hello[at:], 2)       // cipher suites
	return at + vector(hello[at:], 1) // compression methods
}

// withSessionID puts another session id of the same length into a ClientHello.
func withSessionID(t testing.TB, hello, id []byte) []byte {
	t.Helper()
	if int(hello[sessionIDAt]) != len(id) {
		t.Fatalf("the ClientHello has a session id of %d bytes, not %d", hello[sessionIDAt], len(id))
	}
	hello = bytes.Clone(hello)
	copy(hello[sessionIDAt+1:], id)
	return hello
}

const pskExtension = 41

// offered returns where the pre_shared_key extension begins, which is the
// last, and its first identity: id with length, and age.
func offered(t testing.TB, hello []byte) (at int, identity []byte) {
	t.Helper()
	for at = extensionsAt(hello) + 2; at < len(hello) && binary.BigEndian.Uint16(hello[at:]) != pskExtension; {
		at += 2 + vector(hello[at+2:], 2)
	}
	if at >= len(hello) {
		t.Fatal("the ClientHello offers no session")
	}
	first := hello[at+6:]
	return at, first[:vector(first, 2)+4]
}

// identityOf is that of an id, with an age that means nothing.
func identityOf(id []byte) []byte {
	return append(append([]byte{byte(len(id) >> 8), byte(len(id))}, id...), 0, 0, 0, 0)
}

// A binding makes the binder of an identity, over the ClientHello before the
// binders; the same length each time.
type binding func(partial []byte) []byte

// withIdentities returns the ClientHello with these identities in place of those
// that it has.
func withIdentities(t testing.TB, hello []byte, identities [][]byte, bindings []binding) []byte {
	t.Helper()
	at, _ := offered(t, hello)
	all := bytes.Join(identities, nil)
	binders := 0
	for _, b := range bindings {
		binders += 1 + len(b(nil))
	}
	length := func(at, n int) { binary.BigEndian.PutUint16(hello[at:], uint16(n)) }
	hello = append(bytes.Clone(hello[:at]), 0, pskExtension, 0, 0, 0, 0)
	length(at+2, 2+len(all)+2+binders)
	length(at+4, len(all))
	hello = append(hello, all...)
	extensions := extensionsAt(hello)
	total := len(hello) + 2 + binders
	length(extensions, total-extensions-2)
	hello[1] = byte((total - 4) >> 16)
	length(2, total-4)
	partial := bytes.Clone(hello)
	hello = binary.BigEndian.AppendUint16(hello, uint16(binders))
	for _, f := range bindings {
		b := f(partial)
		hello = append(append(hello, byte(len(b))), b...)
	}
	return hello
}

// resumption is the binding of a session's owner (RFC 8446, 4.2.11.2). The
// master key of a TLS 1.3 session is the pre-shared key.
func resumption(t testing.TB, s *ssl.Session) binding {
	t.Helper()
	secret := fieldsOf(t, marshal(t, s)).Secret
	h := sha256.New
	if s.CipherSuite() == tls.TLS_AES_256_GCM_SHA384 {
		h = sha512.New384
	}
	size := h().Size()
	early, err := hkdf.Extract(h, secret, make([]byte, size))
	if err != nil {
		t.Fatal(err)
	}
	key := expandLabel(t, h, early, "res binder", h().Sum(nil))
	finished := expandLabel(t, h, key, "finished", nil)
	return func(partial []byte) []byte {
		transcript := h()
		transcript.Write(partial)
		mac := hmac.New(h, finished)
		mac.Write(transcript.Sum(nil))
		return mac.Sum(nil)
	}
}

// expandLabel is HKDF-Expand-Label for as many bytes as the hash has.
func expandLabel(t testing.TB, h func() hash.Hash, secret []byte, label string, context []byte) []byte {
	t.Helper()
	size := h().Size()
	label = "tls13 " + label
	info := append([]byte{byte(size >> 8), byte(size), byte(len(label))}, label...)
	info = append(append(info, byte(len(context))), context...)
	out, err := hkdf.Expand(h, secret, string(info), size)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// An answer is the first record of a server: a ServerHello, or an alert.
type answer struct {
	alert     byte
	sessionID []byte
	selected  int // identity; -1: none
}

// answerTo sends a ClientHello to a server and returns its answer, and the
// connection, which goes on.
func answerTo(t testing.TB, addr string, hello []byte) (answer, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(records(hello)); err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(c)
	if err != nil {
		c.Close()
		t.Fatalf("the server's answer: %v", err)
	}
	return a, c
}

// hangUp ends a connection as a client does that goes away: no reset.
func hangUp(c net.Conn) {
	c.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, c)
	c.Close()
}

func readAnswer(r io.Reader) (a answer, err error) {
	a.selected = -1
	header := make([]byte, 5)
	if _, err := io.ReadFull(r, header); err != nil {
		return a, err
	}
	b := make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return a, err
	}
	switch {
	case header[0] == 21 && len(b) == 2:
		a.alert = b[1]
		return a, nil
	case header[0] != 22 || len(b) < 4 || b[0] != 2:
		return a, fmt.Errorf("no ServerHello: %x %x", header, b)
	}
	b = b[:vector(b[1:], 3)+1]
	at := sessionIDAt
	n := vector(b[at:], 1)
	a.sessionID = b[at+1 : at+n]
	at += n + 3 // cipher suite, compression
	if at == len(b) {
		return a, nil
	}
	for at += 2; at < len(b); at += 2 + vector(b[at+2:], 2) {
		if binary.BigEndian.Uint16(b[at:]) == pskExtension {
			a.selected = int(binary.BigEndian.Uint16(b[at+4:]))
		}
	}
	return a, nil
}
