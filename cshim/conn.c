/*
 * Connections. A step clears the error queue, calls OpenSSL, reads
 * SSL_get_error and the queue, and sends what may leave, in one crossing:
 * goroutines move between threads, the queue does not.
 */
#include <errno.h>
#include <string.h>
#include <openssl/sslerr.h>
#include <openssl/x509v3.h>
#include "shim.h"

/* Answers that a peer makes us write while it reads none of them. */
enum {
    MOST_UNREAD_ANSWERS = 64 * 1024,
    MOST_WRITTEN = 1024 * 1024,   /* in one crossing */
    MULTI_BLOCK = 8 * SSL3_RT_MAX_PLAIN_LENGTH
};

static sc_conn *new_conn(sc_context *ctx, SSL_CTX *ssl_ctx, int server)
{
    sc_conn *c;
    BIO *b;

    sc_errors_clear();
    c = OPENSSL_zalloc(sizeof(*c));
    if (c == NULL) {
        sc_errors_clear();
        return NULL;
    }
    c->birth = c->host = ctx;
    c->announced_end = &c->announced;
    c->ssl = SSL_new(ssl_ctx);
    /* They come with the SSL_CTX, or where Go chooses that, with the ClientHello. */
    b = c->ssl != NULL && (server || !ctx->asks_host || ctx->groups == NULL || SSL_set1_groups_list(c->ssl, ctx->groups) == 1)
        ? sc_bio_new(c) : NULL;
    if (b == NULL) {
        c->errors = OPENSSL_malloc(sizeof(*c->errors));
        if (c->errors != NULL)
            sc_errors_take(c->errors);
        SSL_free(c->ssl);
        c->ssl = NULL;
        return c;
    }
    SSL_set_bio(c->ssl, b, b);
    if (server)
        SSL_set_accept_state(c->ssl);
    else
        SSL_set_connect_state(c->ssl);
    atomic_fetch_add(&sc_live_conns, 1);
    return c;
}

sc_conn *sc_conn_new(sc_context *ctx, int server) { return new_conn(ctx, ctx->ctx, server); }

sc_conn *sc_conn_accepted(sc_context *ctx, SSL_CTX *ssl_ctx)
{
    sc_conn *c = new_conn(ctx, ssl_ctx, 1);

    if (c != NULL)
        c->polled = 1;
    return c;
}

void sc_conn_discard(sc_conn *c)
{
    if (c == NULL)
        return;
    OPENSSL_free(c->errors);
    OPENSSL_free(c);
}

/*
 * Whether the session may stand for a full handshake of this client: libssl
 * verifies no name on a resumption, and fails if the context is another.
 */
static int may_offer(const sc_conn *c, SSL_SESSION *s, const char *host, const char *ip, int verify)
{
    const unsigned char *id;
    unsigned int len;
    X509 *leaf = SSL_SESSION_get0_peer(s);

    id = SSL_SESSION_get0_id_context(s, &len);
    if (len != c->host->sid_ctx_len || memcmp(id, c->host->sid_ctx, len) != 0)
        return 0;
    if (!verify)
        return 1;
    if (leaf == NULL)
        return 0;
    if (ip != NULL)
        return X509_check_ip_asc(leaf, ip, 0) == 1;
    return host != NULL
        && X509_check_host(leaf, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

int sc_conn_client(sc_conn *c, const char *sni, const char *host, const char *ip,
                   int verify, sc_session *offer, sc_errors *e)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(c->ssl);
    int ok = 1;

    sc_errors_clear();
    if (sni != NULL)
        ok = SSL_set_tlsext_host_name(c->ssl, sni) == 1;
    if (ok && host != NULL) {
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        ok = X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
    }
    if (ok && ip != NULL)
        ok = X509_VERIFY_PARAM_set1_ip_asc(param, ip) == 1;
    SSL_set_verify(c->ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (ok && offer != NULL && may_offer(c, offer->session, host, ip, verify)) {
        /* A TLS 1.3 client that offers an object twice is refused the second time. */
        SSL_SESSION *s = SSL_SESSION_dup(offer->session);

        ok = s != NULL && SSL_set_session(c->ssl, s) == 1;
        /* Nobody is verified on a resumption: the verdict of the session counts. */
        if (ok && verify && SSL_get_verify_result(c->ssl) != X509_V_OK)
            ok = SSL_set_session(c->ssl, NULL) == 1;
        SSL_SESSION_free(s);
    }
    if (!ok)
        sc_errors_take(e);
    return ok;
}

/* ---- steps ---- */

static void begin(sc_conn *c, sc_record *r, sc_io *io, int eof)
{
    sc_errors_clear();
    memset(&c->result, 0, sizeof(c->result));
    c->slow_pulses = 0;
    if (c->rest != NULL) {
        io->in = c->rest;
        io->in_len = c->rest_len;
    }
    c->io = io;
    if (eof)
        c->eof = 1;
    c->sys = 0;
    sc_session_free_list(c->dropped);
    c->dropped = NULL;
    if (c->door != NULL && c->door->post == NULL) {
        OPENSSL_free(c->door);
        c->door = NULL;
    }
    r->op = SC_OP_IO;
    r->ssl = c->ssl;
    r->conn = c;
    r->context = c->birth;
    sc_record_enter(r);
}

static void end(sc_conn *c, sc_record *r)
{
    sc_record_leave(r);
    c->result.events = r->events;
    c->result.in = c->io->fd >= 0 ? (size_t)c->quiet : c->io->in_pos;
    c->quiet = 0;
    c->result.out = c->io->out_len;
    c->result.pending = c->kept_len - c->kept_pos;
    sc_bio_keep_ahead(c);
    c->io = NULL;
}

static void failed(sc_conn *c, int ssl_error, int sys)
{
    c->idle = 0;
    c->result.status = SC_FAILED;
    c->result.ssl_error = ssl_error;
    c->result.sys = sys;
    c->result.verify = SSL_get_verify_result(c->ssl);
    if (c->errors == NULL)
        c->errors = OPENSSL_malloc(sizeof(*c->errors));
    if (c->errors != NULL)
        sc_errors_take(c->errors);
    if (ssl_error == SSL_ERROR_SSL)
        c->fatal = 1;
}

void sc_conn_failed(sc_conn *c, int ssl_error) { failed(c, ssl_error, c->sys); }

/* What the call that returned ret came to. */
static void classify(sc_conn *c, int ret)
{
    int e = SSL_get_error(c->ssl, ret);

    switch (e) {
    case SSL_ERROR_NONE:
        c->result.status = SC_DONE;
        break;
    case SSL_ERROR_WANT_READ:
        c->result.status = SC_WANT_READ;
        break;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        c->result.status = c->step.heavy ? SC_WANT_POOL : SC_WANT_LOOKUP;
        break;
    case SSL_ERROR_ZERO_RETURN:
        c->result.status = c->eof ? SC_TRUNCATED : SC_CLOSED;
        break;
    case SSL_ERROR_SYSCALL:
        if (c->eof && c->sys == 0 && ERR_peek_error() == 0) {
            c->result.status = SC_TRUNCATED;
            break;
        }
        /* fall through */
    default:
        failed(c, e, c->sys);
        break;
    }
}

/* Sends what is kept, apart from what the call itself came to. */
static void push(sc_conn *c)
{
    c->sys = 0;
    sc_bio_push(c);
    c->result.write_sys = c->sys;
}

/*
 * Whether a client that must have a certificate resumed a session that has
 * none. Such sessions are not taken from a store or a ticket; one in libssl's
 * own cache, where only a program of ours can have put it, nobody looks at.
 */
static int unproved(const sc_conn *c)
{
    return SSL_is_server(c->ssl) && SSL_session_reused(c->ssl)
        && sc_lacks_peer(c->ssl, SSL_get0_session(c->ssl));
}

/* Nothing of it leaves: not its tickets, nor their announcement. */
static void refuse_unproved(sc_conn *c)
{
    sc_session_free_list(c->announced);
    c->announced = NULL;
    c->announced_end = &c->announced;
    c->hold = 0;
    OPENSSL_free(c->kept);
    c->kept = NULL;
    c->kept_cap = c->kept_len = c->kept_pos = 0;
    ERR_raise(ERR_LIB_SSL, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
    failed(c, SSL_ERROR_SSL, 0);
}

void sc_conn_handshake(sc_conn *c, int fd, const unsigned char *in, size_t in_len, int eof,
                       unsigned char *out, size_t out_cap, const unsigned char *answers, size_t answers_len,
                       int until, unsigned char *early, size_t early_len)
{
    sc_io io = { .fd = fd, .in = in, .in_len = in_len, .out = out, .out_cap = out_cap };
    sc_record r;
    int ret;

    begin(c, &r, &io, eof);
    if (answers != NULL)
        sc_hello_answer(c, answers, answers_len);
    c->gather = 1;
    ret = sc_early_handshake(c, until, early, early_len);
    c->gather = 0;
    if (ret == SC_EARLY_HERE)
        c->result.status = SC_EARLY;
    else
        classify(c, ret);
    c->resumes = SSL_session_reused(c->ssl);
    if (c->result.status == SC_DONE && unproved(c))
        refuse_unproved(c);
    if (c->result.status == SC_DONE) {
        c->done = 1;
        c->early.accepted = SSL_get_early_data_status(c->ssl) == SSL_EARLY_DATA_ACCEPTED;
        c->version = SSL_version(c->ssl);
        sc_hello_free(c);
    }
    push(c);
    end(c, &r);
}

/* Whether the peer makes us answer, and reads no answer. */
static int flooded(sc_conn *c)
{
    if (c->kept_len - c->kept_pos <= MOST_UNREAD_ANSWERS)
        return 0;
    push(c);
    return c->kept_len - c->kept_pos > MOST_UNREAD_ANSWERS;
}

void sc_conn_read(sc_conn *c, int fd, const unsigned char *in, size_t in_len, int eof,
                  unsigned char *buf, size_t len)
{
    sc_io io = { .fd = fd, .in = in, .in_len = in_len };
    sc_record r;
    int ret;

    begin(c, &r, &io, eof);
    if (flooded(c)) {
        failed(c, SSL_ERROR_SYSCALL, ENOBUFS);
    } else if (c->early.len > 0) {
        c->result.n = sc_early_take(c, buf, len);
    } else if (!sc_bio_look_ahead(c)) {
        c->result.status = SC_WANT_READ;
        push(c);
    } else {
        ret = SSL_read_ex(c->ssl, buf, len, &c->result.n);
        if (ret != 1)
            classify(c, ret);
        push(c);
    }
    end(c, &r);
    /* A Write changes it in init only, and what puts the SSL there clears it: a ticket, a KeyUpdate. */
    c->idle = c->polled && c->done && c->result.status != SC_FAILED && c->rest == NULL && c->ahead_sys == 0 && c->early.len == 0
        && !SSL_has_pending(c->ssl) && !SSL_in_init(c->ssl);
}

void sc_conn_peek(sc_conn *c, int fd, const unsigned char *in, size_t in_len, int eof)
{
    unsigned char byte;
    sc_io io = { .fd = fd, .in = in, .in_len = in_len };
    sc_record r;
    size_t n;
    int ret;

    begin(c, &r, &io, eof);
    c->idle = 0;
    if (flooded(c)) {
        failed(c, SSL_ERROR_SYSCALL, ENOBUFS);
    } else {
        ret = SSL_peek_ex(c->ssl, &byte, 1, &n);
        if (ret != 1)
            classify(c, ret);
        push(c);
    }
    end(c, &r);
}

void sc_conn_write(sc_conn *c, int fd, unsigned char *out, size_t out_cap, const unsigned char *buf, size_t len)
{
    const unsigned char *p = buf;
    size_t some = len < MOST_WRITTEN ? len : MOST_WRITTEN;
    sc_io io = { .fd = fd, .out = out, .out_cap = out_cap };
    sc_record r;
    int ret = 1;

    begin(c, &r, &io, 0);
    sc_bio_push(c);
    /*
     * libssl writes a record a call; nothing new while the transport is full. Where
     * the peer keeps up it never is: then others have their turn with the SSL, and
     * the rest is for the next crossing.
     */
    while (c->sys == 0 && c->kept_len == 0 && c->result.n < some) {
        size_t n = 0, want = some - c->result.n;

        if (c->done) {
            /* With CBC it writes many records at once, full transport or not. */
            want = want < MULTI_BLOCK ? want : MULTI_BLOCK;
            ret = SSL_write_ex(c->ssl, p + c->result.n, want, &n);
        } else {
            /* A client's would write all of it at once. */
            want = want < SSL3_RT_MAX_PLAIN_LENGTH ? want : SSL3_RT_MAX_PLAIN_LENGTH;
            ret = SSL_write_early_data(c->ssl, p + c->result.n, want, &n);
        }
        if (ret != 1)
            break;
        c->result.n += n;
    }
    if (ret != 1)
        classify(c, ret);
    else if (c->sys != 0)
        failed(c, SSL_ERROR_SYSCALL, c->sys);
    else if (c->result.n < some || c->kept_len > c->kept_pos)
        c->result.status = SC_WANT_WRITE;
    end(c, &r);
}

void sc_conn_flush(sc_conn *c, int fd, unsigned char *out, size_t out_cap, int release)
{
    sc_io io = { .fd = fd, .out = out, .out_cap = out_cap };
    sc_record r;

    begin(c, &r, &io, 0);
    if (release)
        c->hold = 0;
    sc_bio_push(c);
    if (c->sys != 0)
        failed(c, SSL_ERROR_SYSCALL, c->sys);
    else if (c->kept_len > c->kept_pos)
        c->result.status = SC_WANT_WRITE;
    end(c, &r);
}

void sc_conn_shutdown(sc_conn *c, int fd, unsigned char *out, size_t out_cap)
{
    sc_io io = { .fd = fd, .out = out, .out_cap = out_cap };
    sc_record r;

    begin(c, &r, &io, 0);
    c->gather = 1;
    if ((c->done || sc_early_open(c)) && !c->fatal && (SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN) == 0) {
        /* A queued ticket or KeyUpdate would make SSL_shutdown fail. */
        if (SSL_in_init(c->ssl))
            SSL_do_handshake(c->ssl);
        SSL_shutdown(c->ssl);
    }
    c->gather = 0;
    push(c);
    if (c->result.write_sys != 0)
        failed(c, SSL_ERROR_SYSCALL, c->result.write_sys);
    else if (c->kept_len > c->kept_pos)
        c->result.status = SC_WANT_WRITE;
    sc_errors_clear();
    end(c, &r);
}

unsigned sc_conn_free(sc_conn *c, int mark)
{
    sc_record r = { .op = SC_OP_CONN_FREE, .ssl = c->ssl, .conn = c, .context = c->birth };
    int shutdown = SSL_get_shutdown(c->ssl);

    sc_errors_clear();
    if (mark && !c->fatal) {
        shutdown |= SSL_SENT_SHUTDOWN;
        SSL_set_shutdown(c->ssl, shutdown);
    }
    r.session = SSL_get0_session(c->ssl);
    r.unclean = r.session != NULL && (shutdown & SSL_SENT_SHUTDOWN) == 0
        && !SSL_in_init(c->ssl) && !SSL_in_before(c->ssl);
    sc_record_enter(&r);
    SSL_free(c->ssl);
    sc_record_leave(&r);
    sc_errors_clear();
    sc_hello_free(c);
    sc_early_free(c);
    sc_session_free_list(c->announced);
    sc_session_free_list(c->dropped);
    OPENSSL_free(c->kept);
    OPENSSL_free(c->rest);
    OPENSSL_free(c->door);
    OPENSSL_free(c->server_name);
    OPENSSL_free(c->hello_text);
    OPENSSL_free(c->ids);
    OPENSSL_free(c->errors);
    OPENSSL_free(c);
    atomic_fetch_sub(&sc_live_conns, 1);
    return r.events;
}

int sc_conn_new_ticket(sc_conn *c)
{
    int ok;

    c->idle = 0;
    ERR_set_mark();
    ok = SSL_new_session_ticket(c->ssl);
    ERR_pop_to_mark();
    return ok;
}

int sc_conn_key_update(sc_conn *c, int request)
{
    int ok;

    c->idle = 0;
    ERR_set_mark();
    ok = SSL_key_update(c->ssl, request ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
    ERR_pop_to_mark();
    return ok;
}

/* ---- state ---- */

static int append_der(unsigned char **list, size_t *len, X509 *x)
{
    int n = i2d_X509(x, NULL);
    unsigned char *p;

    if (n <= 0)
        return 0;
    p = OPENSSL_realloc(*list, *len + 4 + (size_t)n);
    if (p == NULL)
        return 0;
    *list = p;
    p += *len;
    *p++ = (unsigned char)(n >> 24);
    *p++ = (unsigned char)(n >> 16);
    *p++ = (unsigned char)(n >> 8);
    *p++ = (unsigned char)n;
    i2d_X509(x, &p);
    *len += 4 + (size_t)n;
    return 1;
}

static void append_chain(unsigned char **list, size_t *len, const STACK_OF(X509) *chain, int from)
{
    int i;

    for (i = from; i < sk_X509_num(chain); i++)
        if (!append_der(list, len, sk_X509_value(chain, i)))
            return;
}

void sc_conn_state(sc_conn *c, sc_state *s)
{
    const SSL_CIPHER *cipher;
    X509 *leaf;

    memset(s, 0, sizeof(*s));
    ERR_set_mark();
    s->version = SSL_version(c->ssl);
    s->resumed = SSL_session_reused(c->ssl);
    cipher = SSL_get_current_cipher(c->ssl);
    if (cipher != NULL)
        s->cipher = SSL_CIPHER_get_protocol_id(cipher);
    SSL_get0_alpn_selected(c->ssl, &s->alpn, &s->alpn_len);
    s->server_name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
    if (s->server_name == NULL)
        s->server_name = c->server_name;
    leaf = SSL_get0_peer_certificate(c->ssl);
    if (leaf != NULL && append_der(&s->certs, &s->certs_len, leaf))
        /* Only a client's chain begins with the leaf. */
        append_chain(&s->certs, &s->certs_len, SSL_get_peer_cert_chain(c->ssl),
                     SSL_is_server(c->ssl) ? 0 : 1);
    append_chain(&s->verified, &s->verified_len, SSL_get0_verified_chain(c->ssl), 0);
    s->verify = SSL_get_verify_result(c->ssl);
    s->ocsp_len = SSL_get_tlsext_status_ocsp_resp(c->ssl, &s->ocsp);
    ERR_pop_to_mark();
}

void sc_state_free(sc_state *s)
{
    OPENSSL_free(s->certs);
    OPENSSL_free(s->verified);
}

int sc_conn_export(sc_conn *c, unsigned char *out, size_t out_len, const char *label, size_t label_len,
                   const unsigned char *context, size_t context_len, int use_context)
{
    int ok;

    ERR_set_mark();
    ok = SSL_export_keying_material(c->ssl, out, out_len, label, label_len,
                                    context, context_len, use_context);
    ERR_pop_to_mark();
    return ok == 1;
}

sc_session *sc_conn_session(sc_conn *c)
{
    SSL_SESSION *s = SSL_get0_session(c->ssl);

    ERR_set_mark();
    s = s != NULL ? SSL_SESSION_dup(s) : NULL;
    ERR_pop_to_mark();
    return s != NULL ? sc_session_box(s) : NULL;
}
