/*
 * One connection as a C program serves it: handshake, then a byte at a time.
 * A lower-case letter is sent back; an upper-case letter is an order, and what
 * the order does to the session is what the tests look at.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "chost.h"

enum { PATIENCE_MS = 60000 };

/* Waits for what the step asked for: 1, or 0 when the connection is over. */
static int wait_for(SSL *ssl, int error)
{
    struct pollfd p = { .fd = SSL_get_fd(ssl) };
    int n;

    if (error == SSL_ERROR_WANT_READ)
        p.events = POLLIN;
    else if (error == SSL_ERROR_WANT_WRITE)
        p.events = POLLOUT;
    else
        return 0;
    n = poll(&p, 1, PATIENCE_MS);
    return n == 1 || (n < 0 && errno == EINTR);
}

/* A step that succeeded leaves the queue empty, whatever the callbacks did. */
static void note_queue(ch_server *s)
{
    if (ERR_peek_error() != 0)
        atomic_fetch_add(&s->dirty, 1);
}

typedef int (*step)(SSL *, void *);

/* Runs a step to its end: SSL_ERROR_NONE, or why not. */
static int run(ch_server *s, SSL *ssl, step f, void *arg)
{
    int r, error;

    do {
        ERR_clear_error();
        r = f(ssl, arg);
        error = r > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, r);
    } while (wait_for(ssl, error));
    if (error == SSL_ERROR_NONE)
        note_queue(s);
    return error;
}

static int step_accept(SSL *ssl, void *arg)
{
    (void)arg;
    return SSL_accept(ssl);
}

static int step_read(SSL *ssl, void *arg)
{
    return SSL_read(ssl, arg, 1);
}

static int step_write(SSL *ssl, void *arg)
{
    return SSL_write(ssl, arg, 1);
}

/* The SSL that the options ask for, not used yet. */
static SSL *make_ssl(ch_server *s)
{
    SSL *ssl = SSL_new(s->ctx), *copy;

    if (ssl == NULL)
        return NULL;
    if (s->options.birth == CH_SWITCH_DUP && SSL_set_SSL_CTX(ssl, s->second) == NULL) {
        SSL_free(ssl);
        return NULL;
    }
    if (s->options.birth == CH_DUP || s->options.birth == CH_SWITCH_DUP) {
        copy = SSL_dup(ssl);
        SSL_free(ssl);
        ssl = copy;
    }
    if (ssl != NULL)
        SSL_set_accept_state(ssl);
    return ssl;
}

/* The end that keeps the session: our close_notify, whether or not it arrives. */
static void close_cleanly(SSL *ssl)
{
    ERR_clear_error();
    SSL_shutdown(ssl);
    ERR_clear_error();
}

/* What is no TLS record: the peer answers with a fatal alert. */
static void write_garbage(SSL *ssl)
{
    static const char garbage[64] = "this is no record of TLS";

    send(SSL_get_fd(ssl), garbage, sizeof(garbage), MSG_NOSIGNAL);
}

/* Follows an order: 1 when the connection goes on. */
static int follow(SSL *ssl, char order)
{
    switch (order) {
    case 'Q':  /* ends cleanly */
        close_cleanly(ssl);
        return 0;
    case 'F':  /* SSL_free without SSL_shutdown */
        return 0;
    case 'X':  /* the same, with an old error in the queue */
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        return 0;
    case 'L':
        SSL_clear(ssl);
        return 0;
    case 'S':  /* another session, on an established connection */
        SSL_set_session(ssl, NULL);
        return 0;
    case 'R':
        SSL_CTX_remove_session(SSL_get_SSL_CTX(ssl), SSL_get0_session(ssl));
        return 1;
    case 'G':
        write_garbage(ssl);
        return 1;
    default:
        return 1;
    }
}

static void converse(ch_server *s, SSL *ssl)
{
    char byte;

    for (;;) {
        int error = run(s, ssl, step_read, &byte);

        if (error == SSL_ERROR_ZERO_RETURN)
            close_cleanly(ssl);
        if (error != SSL_ERROR_NONE)
            return;
        if (byte >= 'A' && byte <= 'Z' && !follow(ssl, byte))
            return;
        if (run(s, ssl, step_write, &byte) != SSL_ERROR_NONE)
            return;
    }
}

/*
 * A reference on the connection's session, held in the ledger until the SSL is
 * gone: if libssl destroyed the session before, one free was too many.
 */
static SSL_SESSION *hold_session(SSL *ssl)
{
    SSL_SESSION *held = SSL_get1_session(ssl);

    if (held != NULL)
        ch_ledger_hold(held);
    return held;
}

static void do_fault(ch_server *s, SSL_SESSION *held)
{
    switch (atomic_exchange(&s->fault, CH_NO_FAULT)) {
    case CH_CONNECTION_LEAKS:
        SSL_SESSION_up_ref(held);
        break;
    case CH_CONNECTION_DOUBLE_FREES:
        SSL_SESSION_free(held);
        break;
    default:
        break;
    }
}

void ch_serve(ch_server *s, int fd)
{
    SSL_SESSION *held = NULL;
    SSL *ssl = make_ssl(s);

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        ch_failed(s, "SSL_new");
        SSL_free(ssl);
        return;
    }
    if (run(s, ssl, step_accept, NULL) != SSL_ERROR_NONE) {
        ch_failed(s, "SSL_accept");
    } else {
        atomic_fetch_add(&s->accepted, 1);
        if (SSL_session_reused(ssl))
            atomic_fetch_add(&s->resumed, 1);
        held = hold_session(ssl);
        converse(s, ssl);
    }
    SSL_free(ssl);
    ERR_clear_error();
    if (held != NULL) {
        do_fault(s, held);
        ch_ledger_free(held);
    }
    atomic_fetch_add(&s->ended, 1);
}
