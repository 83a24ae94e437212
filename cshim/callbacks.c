/*
 * The dispatcher: what OpenSSL calls. Inside a call of ours the event joins
 * the record of that call and comes back in its result, so that Go acts on it
 * with no C frame above and no lock of OpenSSL held. Where C code drives the
 * SSL, Go is called at once. Error marks keep the caller's queue as it was.
 *
 * The context whose callbacks run is the one that the SSL was made with, and
 * SSL_get_SSL_CTX does not tell it: SSL_set_SSL_CTX changes that. Our own SSLs
 * remember it; attached contexts have trampolines of their own (attach.c).
 */
#include <stdio.h>
#include <string.h>
#include "shim.h"
#include "_cgo_export.h"

sc_context *sc_context_of(const SSL_CTX *ctx)
{
    return ctx != NULL ? SSL_CTX_get_ex_data(ctx, sc_context_index) : NULL;
}

int sc_set_context_of(SSL_CTX *ctx, sc_context *c)
{
    return SSL_CTX_set_ex_data(ctx, sc_context_index, c);
}

/* Our connection, if this callback runs inside a call of ours for its SSL. */
sc_conn *sc_conn_of(const SSL *ssl)
{
    sc_record *r = sc_record_current();

    return r != NULL && r->ssl == ssl ? r->conn : NULL;
}

/* ---- of an SSL that this shim drives ---- */

int sc_on_new(SSL *ssl, SSL_SESSION *s)
{
    sc_conn *conn = sc_conn_of(ssl);
    sc_session *b;

    if (conn == NULL)
        return 0;
    ERR_set_mark();
    b = sc_session_box(s);  /* takes the reference that libssl made for us */
    ERR_pop_to_mark();
    if (b == NULL) {
        atomic_fetch_add(&conn->birth->lost, 1);
        return 1;
    }
    *conn->announced_end = b;
    conn->announced_end = &b->next;
    conn->hold = SSL_is_server(ssl);
    return 1;
}

SSL_SESSION *sc_on_get(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    sc_conn *conn = sc_conn_of(ssl);

    *copy = 0;
    return conn != NULL ? sc_hello_session(conn, id, len) : NULL;
}

/* ---- of an SSL that C code drives: c is the context it was made with ---- */

static int passes_on(sc_context *c)
{
    return c->chain || atomic_load(&c->detached);
}

int sc_foreign_new(sc_context *c, SSL *ssl, SSL_SESSION *s)
{
    sc_session *b;

    if (c == NULL)
        return 0;
    if (!atomic_load(&c->detached)) {
        ERR_set_mark();
        SSL_SESSION_up_ref(s);
        b = sc_session_box(s);
        if (b == NULL)
            atomic_fetch_add(&c->lost, 1);
        else if (!sessioncbNew(c->handle, ssl, b))
            sc_session_free(b);
        ERR_pop_to_mark();
    }
    return c->prior_new != NULL && passes_on(c) ? c->prior_new(ssl, s) : 0;
}

static SSL_SESSION *ask_go(sc_context *c, SSL *ssl, const unsigned char *id, int len)
{
    sc_answer a = { NULL, 0, NULL };
    SSL_SESSION *s = NULL;
    int why = SC_MALFORMED;

    if (!sessioncbGet(c->handle, ssl, (unsigned char *)id, len, &a))
        return NULL;
    if (a.live != NULL) {
        s = SSL_SESSION_dup(a.live->session);
        sc_session_free(a.live);
    } else {
        s = sc_decode(a.der, a.len);
        OPENSSL_cleanse(a.der, a.len);
        free(a.der);
    }
    if (s != NULL)
        why = sc_refuse(ssl, SSL_version(ssl), s, id, len, NULL, -1);
    if (why != 0) {
        atomic_fetch_add(&c->refused[why], 1);
        SSL_SESSION_free(s);
        return NULL;
    }
    return s;
}

SSL_SESSION *sc_foreign_get(sc_context *c, SSL *ssl, const unsigned char *id, int len, int *copy)
{
    SSL_SESSION *s = NULL;

    *copy = 0;
    if (c == NULL)
        return NULL;
    if (!atomic_load(&c->detached)) {
        ERR_set_mark();
        s = ask_go(c, ssl, id, len);
        ERR_pop_to_mark();
    }
    if (s == NULL && c->prior_get != NULL && passes_on(c)) {
        *copy = 1;
        s = c->prior_get(ssl, id, len, copy);
    }
    return s;
}

/* ---- remove ---- */

static int past(const sc_session *b)
{
    return b->time >= 0 && b->timeout >= 0 && b->time + b->timeout < sc_clock();
}

static void note_fault(sc_session *b)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);

    if (reason != NULL)
        snprintf(b->fault, sizeof(b->fault), "%s", reason);
    else
        snprintf(b->fault, sizeof(b->fault), "error %08lX", code);
}

/* libssl does not say why; the running call, its SSL and the error queue do. */
static int reason_for(const sc_record *r, sc_session *b)
{
    SSL_SESSION *own;

    if (r == NULL) {
        /*
         * C code made the call. libssl pushes a fatal error before it removes;
         * a C program that leaves its queue dirty makes others look like it.
         */
        if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_SSL) {
            note_fault(b);
            return SC_FAULTY;
        }
        return SC_UNKNOWN;
    }
    switch (r->op) {
    case SC_OP_REMOVE:
        return SC_EXPLICIT;
    case SC_OP_FLUSH:
        return r->when == 0 ? SC_FLUSHED : SC_EXPIRED;
    case SC_OP_ADD:
        return SC_EVICTED;
    case SC_OP_CONTEXT_FREE:
        return SC_CONTEXT_FREED;
    case SC_OP_CONN_FREE:
        return r->unclean && b->session == r->session ? SC_UNCLEAN_CLOSE : SC_CONTEXT_FREED;
    default:
        break;
    }
    own = SSL_get0_session(r->ssl);
    if (b->session == own) {
        if (ERR_peek_error() != 0) {
            note_fault(b);
            return SC_FAULTY;
        }
        return SSL_is_server(r->ssl) ? SC_UNKNOWN : SC_USED;
    }
    if (past(b))
        return SC_EXPIRED;
    /*
     * A lookup removes what is over in TLS 1.2, perhaps by a fraction of a second,
     * and what anti-replay takes in TLS 1.3.
     */
    if (own == NULL && r->conn != NULL && sc_hello_offered(r->conn, b))
        return b->version < TLS1_3_VERSION ? SC_EXPIRED : SC_SINGLE_USE;
    return SC_EVICTED;
}

/*
 * The write lock of the context may be held: no Go code of a user runs here,
 * and no lock is taken. Go takes the list with one atomic exchange.
 */
void sc_on_remove(SSL_CTX *ctx, SSL_SESSION *s)
{
    sc_context *c = sc_context_of(ctx);
    sc_record *r = sc_record_current();
    sc_session *b, *head;

    if (c == NULL)
        return;
    if (!atomic_load(&c->detached)) {
        ERR_set_mark();
        SSL_SESSION_up_ref(s);
        b = sc_session_box(s);
        ERR_pop_to_mark();
        if (b == NULL) {
            atomic_fetch_add(&c->lost, 1);
        } else {
            atomic_fetch_add(&sc_removals_queued, 1);
            b->reason = reason_for(r, b);
            if (r != NULL && r->op == SC_OP_CONN_FREE && b->reason == SC_UNCLEAN_CLOSE)
                r->unclean = 0;
            b->handshake_done = r != NULL && r->conn != NULL && r->conn->done;
            head = atomic_load(&c->removed);
            do {
                b->next = head;
            } while (!atomic_compare_exchange_weak(&c->removed, &head, b));
            if (r != NULL && r->context == c)
                r->events |= SC_EVENT_REMOVED;
            else
                sessioncbEvent(c->handle);
        }
    }
    if (c->prior_remove != NULL && passes_on(c))
        c->prior_remove(ctx, s);
}

/* ---- the end of an SSL_CTX: OpenSSL calls this after the last removal ---- */

void sc_context_ex_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    sc_context *c = ptr;
    sc_record *r = sc_record_current();

    (void)parent; (void)ad; (void)idx; (void)argl; (void)argp;
    if (c == NULL)
        return;
    sc_slot_free(c);
    atomic_store(&c->dead, 1);
    if (r != NULL && r->context == c)
        r->events |= SC_EVENT_DEAD;
    else
        sessioncbEvent(c->handle);
    sc_context_unref(c);
}

void sc_context_unref(sc_context *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    sc_session_free_list(atomic_load(&c->removed));
    OPENSSL_free(c->alpn);
    OPENSSL_free(c->groups);
    sessioncbDelete(c->handle);
    OPENSSL_free(c);
    atomic_fetch_sub(&sc_live_contexts, 1);
}
