// Command prototype is the peer of the benchmark that shows what Go allows with
// the straightforward design: a reconstruction, from its description, of the
// prototype that was there before the binding. The numbers of that one are of
// another machine, and ratios do not travel between machines.
//
// An SSL is on the descriptor of an ordinary TCP connection, and its steps run
// as the poll functions of syscall.RawConn, one crossing each. As many handshakes
// are in C at once as Go has processors. Session callbacks call Go. There are no
// session objects, no deadlines, no error types, and no use by two goroutines at
// once: it is a floor, and no binding.
//
// What it has not: client certificates, and lookups that wait, which would do so
// inside libssl's callback, with a thread and a place at the gate for themselves.
package main

/*
#cgo pkg-config: libssl libcrypto
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -DOPENSSL_API_COMPAT=30000 -DOPENSSL_NO_DEPRECATED

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

// Of store.go. The pointers are C's, and valid for the call.
extern void prototypeNew(uintptr_t store, unsigned char *id, unsigned int id_len, unsigned char *der, int len);
extern int prototypeGet(uintptr_t store, unsigned char *id, int id_len, unsigned char *der, int room);
extern void prototypeRemove(uintptr_t store, unsigned char *id, unsigned int id_len);

// Of an encoded session: without client certificates it is some hundred bytes.
enum { DER_MAX = 4096 };

static uintptr_t store_of(SSL_CTX *ctx) { return (uintptr_t)SSL_CTX_get_app_data(ctx); }

static int session_new(SSL *ssl, SSL_SESSION *s)
{
    unsigned char der[DER_MAX], *p = der;
    unsigned int id_len;
    const unsigned char *id = SSL_SESSION_get_id(s, &id_len);
    int len = i2d_SSL_SESSION(s, &p);

    if (len > 0)
        prototypeNew(store_of(SSL_get_SSL_CTX(ssl)), (unsigned char *)id, id_len, der, len);
    return 0; // the reference stays libssl's
}

static SSL_SESSION *session_get(SSL *ssl, const unsigned char *id, int id_len, int *copy)
{
    unsigned char der[DER_MAX];
    const unsigned char *p = der;
    int len = prototypeGet(store_of(SSL_get_SSL_CTX(ssl)), (unsigned char *)id, id_len, der, DER_MAX);
    SSL_SESSION *s = NULL;

    *copy = 0; // a fresh object, and libssl's own
    if (len > 0 && (s = d2i_SSL_SESSION(NULL, &p, len)) == NULL)
        ERR_clear_error();
    return s;
}

static void session_removed(SSL_CTX *ctx, SSL_SESSION *s)
{
    unsigned int id_len;
    const unsigned char *id = SSL_SESSION_get_id(s, &id_len);

    prototypeRemove(store_of(ctx), (unsigned char *)id, id_len);
}

// The settings are those of the C peer, whose server.c says why.
static int configure(SSL_CTX *ctx, int version, const char *cert, const char *key)
{
    static const unsigned char id_context[] = "sessioncb bench";

    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                     | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_timeout(ctx, 3600);
    return SSL_CTX_set_min_proto_version(ctx, version) && SSL_CTX_set_max_proto_version(ctx, version)
        && SSL_CTX_set1_groups_list(ctx, "X25519:P-256")
        && SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        && SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256")
        && SSL_CTX_set_session_id_context(ctx, id_context, sizeof id_context - 1)
        && SSL_CTX_use_certificate_chain_file(ctx, cert) == 1
        && SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
}

// Returns new, or NULL and says why on stderr. store is a handle that the session
// callbacks give to Go; 0: no sessions are kept.
static SSL_CTX *make_context(int version, const char *cert, const char *key, uintptr_t store)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (ctx == NULL || !configure(ctx, version, cert, key)) {
        ERR_print_errors_fp(stderr);
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, store != 0);
    if (store != 0) {
        SSL_CTX_set_app_data(ctx, (void *)store);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, session_new);
        SSL_CTX_sess_set_get_cb(ctx, session_get);
        SSL_CTX_sess_set_remove_cb(ctx, session_removed);
    }
    return ctx;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/cgo"
	"unsafe"

	"github.com/sessioncb/openssl/bench/peer"
)

func main() {
	os.Exit(peer.Main(peer.Program{Name: "prototype", Stores: []string{"none", "der"}, New: newServer}))
}

// A server is an SSL_CTX, and what its connections have in common. It is there
// as long as the process.
type server struct {
	ctx  *C.SSL_CTX
	gate chan struct{} // has an element for each handshake that is in C
}

func newServer(o *peer.Options, n *peer.Counters) (*peer.Server, error) {
	if o.LookupDelay > 0 || o.ClientCA != "" {
		return nil, fmt.Errorf("-lookup-delay, -client-ca: %w", peer.ErrNotHad)
	}
	var store cgo.Handle
	if o.Store == "der" {
		store = cgo.NewHandle(newStore(o.MaxSessions, n))
	}
	cert, key := C.CString(o.CertFile), C.CString(o.KeyFile)
	defer C.free(unsafe.Pointer(cert))
	defer C.free(unsafe.Pointer(key))
	s := &server{gate: make(chan struct{}, runtime.GOMAXPROCS(0))}
	// A version has the same number in crypto/tls and in OpenSSL.
	s.ctx = C.make_context(C.int(o.Version), cert, key, C.uintptr_t(store))
	if s.ctx == nil {
		return nil, errors.New("OpenSSL refused the certificate, its key or a setting")
	}
	return &peer.Server{
		Wrap:    func(nc net.Conn) (peer.Conn, error) { return s.wrap(nc) },
		Resumed: func(c peer.Conn) bool { return c.(*conn).resumed },
	}, nil
}
