/* An SSL_CTX of ours: made, configured once, asked for its cache. */
#include <limits.h>
#include <string.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "shim.h"

/*
 * Acknowledging the name makes libssl keep it in the session and on resumption.
 * It is also the one callback of a TLS 1.2 handshake in which a new session is
 * the connection's alone: once it is in a cache, to change it races with whoever
 * takes it out.
 */
static int acknowledge_name(SSL *ssl, int *alert, void *arg)
{
    sc_conn *c = sc_conn_of(ssl);

    (void)alert; (void)arg;
    if (c != NULL && SSL_version(ssl) < TLS1_3_VERSION && SSL_is_server(ssl) && !SSL_session_reused(ssl)) {
        ERR_set_mark();
        sc_bound_age(c, SSL_get_session(ssl));
        ERR_pop_to_mark();
    }
    return SSL_TLSEXT_ERR_OK;
}

/* The first of ours that the client offers; nothing in common ends the handshake. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned int in_len, void *arg)
{
    sc_context *c = arg;
    unsigned char *chosen;

    (void)ssl;
    if (c->alpn == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&chosen, out_len, c->alpn, c->alpn_len, in, in_len)
        != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int fail(sc_errors *e)
{
    sc_errors_take(e);
    return 0;
}

sc_context *sc_context_new(uintptr_t handle, sc_errors *e)
{
    sc_context *c;

    sc_errors_clear();
    c = OPENSSL_zalloc(sizeof(*c));
    if (c == NULL) {
        fail(e);
        return NULL;
    }
    atomic_fetch_add(&sc_live_contexts, 1);
    c->refs = 1;
    c->handle = handle;
    c->ctx = SSL_CTX_new(TLS_method());
    if (c->ctx == NULL || !sc_set_context_of(c->ctx, c)) {
        fail(e);
        SSL_CTX_free(c->ctx);
        OPENSSL_free(c);
        atomic_fetch_sub(&sc_live_contexts, 1);
        return NULL;
    }
    c->refs = 2;
    /* A bare end of the transport is told from a close_notify by the BIO, and keeps the session. */
    SSL_CTX_set_options(c->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
    /* The chain is what is configured, whatever the trust store could add to it. */
    SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                     | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(c->ctx, 1);
    SSL_CTX_set_client_hello_cb(c->ctx, sc_hello_cb, NULL);
    SSL_CTX_set_tlsext_servername_callback(c->ctx, acknowledge_name);
    SSL_CTX_set_alpn_select_cb(c->ctx, select_alpn, c);
    SSL_CTX_set_generate_session_id(c->ctx, sc_make_id);
    sc_pulse(c->ctx);
    return c;
}

unsigned sc_context_close(sc_context *c)
{
    sc_record r = { .op = SC_OP_CONTEXT_FREE, .context = c };

    sc_record_enter(&r);
    SSL_CTX_free(c->ctx);
    sc_record_leave(&r);
    return r.events;
}

/* ---- identity ---- */

int sc_context_chain(sc_context *c, const unsigned char *pem, size_t len, sc_errors *e)
{
    BIO *b;
    X509 *x;
    int ok;

    sc_errors_clear();
    b = BIO_new_mem_buf(pem, (int)len);
    if (b == NULL)
        return fail(e);
    x = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL);
    ok = x != NULL && SSL_CTX_use_certificate(c->ctx, x) == 1
        && SSL_CTX_clear_chain_certs(c->ctx) == 1;
    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL) {
        ok = SSL_CTX_add0_chain_cert(c->ctx, x) == 1;
        if (!ok)
            X509_free(x);
    }
    BIO_free(b);
    if (!ok || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return fail(e);
    ERR_clear_error();
    return 1;
}

typedef struct { const unsigned char *pass; size_t len; } passphrase;

/* Never asks on the terminal. */
static int give_passphrase(char *buf, int size, int writing, void *arg)
{
    passphrase *p = arg;

    (void)writing;
    if (p->pass == NULL || p->len > (size_t)size)
        return -1;
    memcpy(buf, p->pass, p->len);
    return (int)p->len;
}

int sc_context_key(sc_context *c, const unsigned char *pem, size_t len,
                   const unsigned char *pass, size_t pass_len, sc_errors *e)
{
    passphrase p = { pass, pass_len };
    X509 *cert = SSL_CTX_get0_certificate(c->ctx);  /* the one set last */
    EVP_PKEY *key = NULL;
    BIO *b;
    int ok;

    sc_errors_clear();
    b = BIO_new_mem_buf(pem, (int)len);
    if (b == NULL)
        return fail(e);
    key = PEM_read_bio_PrivateKey(b, NULL, give_passphrase, &p);
    BIO_free(b);
    ok = key != NULL && cert != NULL && X509_check_private_key(cert, key) == 1
        && SSL_CTX_use_PrivateKey(c->ctx, key) == 1
        && SSL_CTX_check_private_key(c->ctx) == 1;
    EVP_PKEY_free(key);
    if (!ok)
        return fail(e);
    ERR_clear_error();
    return 1;
}

/* ---- trust ---- */

int sc_context_trust_pem(sc_context *c, const unsigned char *pem, size_t len, int name_to_clients, sc_errors *e)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c->ctx);
    BIO *b;
    X509 *x;
    int count = 0, ok = 1;

    sc_errors_clear();
    b = BIO_new_mem_buf(pem, (int)len);
    if (b == NULL)
        return fail(e);
    while (ok && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL) {
        ok = X509_STORE_add_cert(store, x) == 1
            && (!name_to_clients || SSL_CTX_add_client_CA(c->ctx, x) == 1);
        X509_free(x);
        count++;
    }
    BIO_free(b);
    if (!ok || count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return fail(e);
    ERR_clear_error();
    return 1;
}

/*
 * The digest of each certificate in pem, for as many as most; what this reads is
 * what libssl trusts, in any form of PEM that it takes. Returns how many.
 */
int sc_cert_digests(const unsigned char *pem, size_t len, unsigned char *out, int most)
{
    BIO *b;
    X509 *x;
    int count = 0;

    ERR_set_mark();
    b = BIO_new_mem_buf(pem, (int)len);
    while (b != NULL && count < most && (x = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL)) != NULL) {
        count += X509_digest(x, EVP_sha256(), out + count * SC_DIGEST, NULL) == 1;
        X509_free(x);
    }
    BIO_free(b);
    ERR_pop_to_mark();
    return count;
}

int sc_context_trust_dir(sc_context *c, const char *dir, sc_errors *e)
{
    sc_errors_clear();
    return SSL_CTX_load_verify_dir(c->ctx, dir) == 1 ? 1 : fail(e);
}

int sc_context_trust_system(sc_context *c, sc_errors *e)
{
    sc_errors_clear();
    if (SSL_CTX_set_default_verify_paths(c->ctx) != 1)
        return fail(e);
    ERR_clear_error();  /* a missing default file leaves entries, and is no failure */
    return 1;
}

void sc_context_verify(sc_context *c, int mode, int depth)
{
    SSL_CTX_set_verify(c->ctx, mode, NULL);
    if (depth >= 0)
        SSL_CTX_set_verify_depth(c->ctx, depth);
}

/* ---- protocol ---- */

int sc_context_versions(sc_context *c, int min, int max, sc_errors *e)
{
    sc_errors_clear();
    if (SSL_CTX_set_min_proto_version(c->ctx, min) != 1
        || SSL_CTX_set_max_proto_version(c->ctx, max) != 1)
        return fail(e);
    return 1;
}

/* An SSL that would be of no other groups, to see whether libssl takes the list. */
static int takes_groups(sc_context *c, const char *groups)
{
    SSL *ssl = SSL_new(c->ctx);
    int ok = ssl != NULL && SSL_set1_groups_list(ssl, groups) == 1;

    SSL_free(ssl);
    return ok;
}

int sc_context_ciphers(sc_context *c, const char *list, const char *suites,
                       const char *groups, sc_errors *e)
{
    sc_errors_clear();
    if ((list != NULL && SSL_CTX_set_cipher_list(c->ctx, list) != 1)
        || (suites != NULL && SSL_CTX_set_ciphersuites(c->ctx, suites) != 1))
        return fail(e);
    if (groups == NULL)
        return 1;
    /*
     * Not set on the SSL_CTX if Go chooses the context: an SSL copies them from there
     * when it is made, and one that adopts another could not get the system's back.
     */
    if (c->asks_host ? !takes_groups(c, groups) : SSL_CTX_set1_groups_list(c->ctx, groups) != 1)
        return fail(e);
    OPENSSL_free(c->groups);
    c->groups = OPENSSL_strdup(groups);
    return c->groups != NULL ? 1 : fail(e);
}

int sc_context_alpn(sc_context *c, const unsigned char *protos, unsigned int len, sc_errors *e)
{
    sc_errors_clear();
    c->alpn = OPENSSL_memdup(protos, len);
    c->alpn_len = len;
    /* Returns 0 for success, unlike all others. */
    if (c->alpn == NULL || SSL_CTX_set_alpn_protos(c->ctx, protos, len) != 0)
        return fail(e);
    return 1;
}

void sc_context_ask_host(sc_context *c)
{
    c->asks_host = 1;
}

void sc_context_early_data(sc_context *c, uint32_t max)
{
    SSL_CTX_set_max_early_data(c->ctx, max);
    SSL_CTX_set_recv_max_early_data(c->ctx, max);
}

/* ---- sessions ---- */

int sc_context_sid_ctx(sc_context *c, const unsigned char *id, unsigned int len, sc_errors *e)
{
    sc_errors_clear();
    if (SSL_CTX_set_session_id_context(c->ctx, id, len) != 1)
        return fail(e);
    memcpy(c->sid_ctx, id, len);
    c->sid_ctx_len = len;
    return 1;
}

/* Negative values leave what is there. */
void sc_context_cache(sc_context *c, long mode, long size, long timeout,
                      int no_ticket, int num_tickets)
{
    SSL_CTX_set_session_cache_mode(c->ctx, mode);
    if (size >= 0)
        SSL_CTX_sess_set_cache_size(c->ctx, size);
    if (timeout >= 0)
        SSL_CTX_set_timeout(c->ctx, timeout);
    if (no_ticket)
        SSL_CTX_set_options(c->ctx, SSL_OP_NO_TICKET);
    if (num_tickets >= 0)
        SSL_CTX_set_num_tickets(c->ctx, (size_t)num_tickets);
}

void sc_context_callbacks(sc_context *c, int bits)
{
    int change = bits | c->callbacks;

    if (change & SC_NEW)
        SSL_CTX_sess_set_new_cb(c->ctx, bits & SC_NEW ? sc_on_new : NULL);
    if (change & SC_GET)
        SSL_CTX_sess_set_get_cb(c->ctx, bits & SC_GET ? sc_on_get : NULL);
    if (change & SC_REMOVE)
        SSL_CTX_sess_set_remove_cb(c->ctx, bits & SC_REMOVE ? sc_on_remove : NULL);
    c->callbacks = bits;
    c->parks = (bits & SC_GET) != 0;
}

void sc_context_stats(sc_context *c, sc_stats *s)
{
    s->number = SSL_CTX_sess_number(c->ctx);
    s->connect = SSL_CTX_sess_connect(c->ctx);
    s->connect_good = SSL_CTX_sess_connect_good(c->ctx);
    s->connect_renegotiate = SSL_CTX_sess_connect_renegotiate(c->ctx);
    s->accept = SSL_CTX_sess_accept(c->ctx);
    s->accept_good = SSL_CTX_sess_accept_good(c->ctx);
    s->accept_renegotiate = SSL_CTX_sess_accept_renegotiate(c->ctx);
    s->hits = SSL_CTX_sess_hits(c->ctx);
    s->cb_hits = SSL_CTX_sess_cb_hits(c->ctx);
    s->misses = SSL_CTX_sess_misses(c->ctx);
    s->timeouts = SSL_CTX_sess_timeouts(c->ctx);
    s->cache_full = SSL_CTX_sess_cache_full(c->ctx);
}

/* The former value, for the setters too. */
int64_t sc_context_number(sc_context *c, int what, int64_t value)
{
    switch (what) {
    case SC_GET_SIZE:
        return SSL_CTX_sess_get_cache_size(c->ctx);
    case SC_SET_SIZE:
        return SSL_CTX_sess_set_cache_size(c->ctx, (long)value);
    case SC_GET_TIMEOUT:
        return SSL_CTX_get_timeout(c->ctx);
    default:
        return SSL_CTX_set_timeout(c->ctx, (long)value);
    }
}

int sc_context_add(sc_context *c, sc_session *b, unsigned *events)
{
    sc_record r = { .op = SC_OP_ADD, .context = c };
    SSL_SESSION *s;
    int ok = 0;

    sc_record_enter(&r);
    ERR_set_mark();
    /* One object in the caches of two contexts corrupts their lists. */
    s = SSL_SESSION_dup(b->session);
    if (s != NULL)
        ok = SSL_CTX_add_session(c->ctx, s);
    SSL_SESSION_free(s);
    ERR_pop_to_mark();
    sc_record_leave(&r);
    *events = r.events;
    return ok;
}

int sc_context_remove(sc_context *c, sc_session *b, unsigned *events)
{
    sc_record r = { .op = SC_OP_REMOVE, .context = c };
    int ok;

    sc_record_enter(&r);
    ERR_set_mark();
    ok = SSL_CTX_remove_session(c->ctx, b->session);
    ERR_pop_to_mark();
    sc_record_leave(&r);
    *events = r.events;
    return ok;
}

void sc_context_flush(sc_context *c, int64_t when, unsigned *events)
{
    sc_record r = { .op = SC_OP_FLUSH, .context = c, .when = when };

    sc_record_enter(&r);
    ERR_set_mark();
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
    SSL_CTX_flush_sessions_ex(c->ctx, (time_t)when);
#else
    SSL_CTX_flush_sessions(c->ctx, (long)when);
#endif
    ERR_pop_to_mark();
    sc_record_leave(&r);
    *events = r.events;
}
