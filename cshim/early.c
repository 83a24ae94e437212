/*
 * Early data (0-RTT). A server reads it with SSL_read_early_data until it ends,
 * and only then goes on with SSL_do_handshake: one call of the wrong kind and
 * libssl refuses the rest. What nobody asked for is kept here for the first
 * SSL_read, when it is no longer replayable.
 */
#include <errno.h>
#include <string.h>
#include "shim.h"

/*
 * A byte of early data can be a record of its own, 18 bytes with type and tag.
 * Of refused early data libssl counts the type too as it passes over it, and
 * with the maximum itself would cut off an honest client that writes by the byte.
 * This is enough however it counts.
 */
enum { MOST_CIPHERTEXT = 18, SMALLEST_RECEIVE = SSL3_RT_MAX_PLAIN_LENGTH };

/*
 * What is skipped is bounded by what any server of the fleet may have promised,
 * not by what this one takes: the promise can be of before it was lowered.
 */
enum { MOST_RECEIVE = SC_MOST_EARLY_DATA * MOST_CIPHERTEXT + SMALLEST_RECEIVE };

/*
 * libssl's own guard against replays needs its internal cache, and sees one
 * process. Here the store's claim is the guard, for the whole fleet.
 */
void sc_early_enable(sc_context *c, uint32_t max)
{
    c->early_max = max;
    SSL_CTX_set_options(c->ctx, SSL_OP_NO_ANTI_REPLAY);
    SSL_CTX_set_max_early_data(c->ctx, max);
    SSL_CTX_set_recv_max_early_data(c->ctx, MOST_RECEIVE);
    SSL_CTX_set_allow_early_data_cb(c->ctx, sc_early_allow, NULL);
}

/*
 * Go decided when it answered the lookup. A session that promises more than
 * this server keeps, or nothing, is resumed without; as is one of another
 * cipher suite than the one chosen now, which RFC 8446 (4.2.10) asks for, at
 * the price of the connection with other clients, and libssl does not see to.
 */
int sc_early_allow(SSL *ssl, void *arg)
{
    sc_record *r = sc_record_current();
    sc_conn *c = r != NULL && r->ssl == ssl ? r->conn : NULL;
    SSL_SESSION *s = SSL_get0_session(ssl);
    const SSL_CIPHER *chosen = SSL_get_pending_cipher(ssl);
    uint32_t max;

    (void)arg;
    if (c == NULL || !c->early.allowed || s == NULL || chosen == NULL)
        return 0;
    max = SSL_SESSION_get_max_early_data(s);
    return max > 0 && max <= c->host->early_max
        && SSL_CIPHER_get_id(chosen) == SSL_CIPHER_get_id(SSL_SESSION_get0_cipher(s));
}

/* libssl bounds how much comes. */
static int keep(sc_early *e, const unsigned char *p, size_t n)
{
    if (e->len + n > e->cap) {
        size_t cap = e->cap * 2 > e->len + n ? e->cap * 2 : e->len + n;
        unsigned char *q = OPENSSL_clear_realloc(e->data, e->cap, cap);

        if (q == NULL)
            return 0;
        e->data = q;
        e->cap = cap;
    }
    memcpy(e->data + e->len, p, n);
    e->len += n;
    return 1;
}

size_t sc_early_take(sc_conn *c, unsigned char *buf, size_t len)
{
    sc_early *e = &c->early;
    size_t n = e->len - e->pos;

    if (n > len)
        n = len;
    if (n > 0)
        memcpy(buf, e->data + e->pos, n);
    e->pos += n;
    if (e->pos == e->len)
        sc_early_free(c);
    return n;
}

void sc_early_free(sc_conn *c)
{
    OPENSSL_clear_free(c->early.data, c->early.cap);
    c->early.data = NULL;
    c->early.cap = c->early.len = c->early.pos = 0;
}

/* Between the server's flight and the client's. */
int sc_early_open(sc_conn *c)
{
    return SSL_is_server(c->ssl) && !SSL_in_init(c->ssl)
        && SSL_get_state(c->ssl) == TLS_ST_EARLY_DATA
        && SSL_get_early_data_status(c->ssl) == SSL_EARLY_DATA_ACCEPTED;
}

int sc_early_handshake(sc_conn *c, int until, unsigned char *buf, size_t len)
{
    unsigned char record[SSL3_RT_MAX_PLAIN_LENGTH];
    sc_early *e = &c->early;

    if (c->birth->early_max == 0 || !SSL_is_server(c->ssl))
        return SSL_do_handshake(c->ssl);
    if (until == SC_UNTIL_DATA && e->len > e->pos) {
        c->result.n = sc_early_take(c, buf, len);
        return SC_EARLY_HERE;
    }
    while (!e->ended) {
        int direct = until == SC_UNTIL_DATA;
        size_t n = 0;

        switch (SSL_read_early_data(c->ssl, direct ? buf : record, direct ? len : sizeof(record), &n)) {
        case SSL_READ_EARLY_DATA_SUCCESS:
            e->accepted = 1;
            if (direct) {
                c->result.n = n;
                return SC_EARLY_HERE;
            }
            direct = keep(e, record, n);
            OPENSSL_cleanse(record, n);
            if (!direct) {
                c->sys = ENOMEM;
                return -1;
            }
            break;
        case SSL_READ_EARLY_DATA_FINISH:
            e->ended = 1;
            e->accepted = SSL_get_early_data_status(c->ssl) == SSL_EARLY_DATA_ACCEPTED;
            break;
        default:
            if (until == SC_UNTIL_EARLY && sc_early_open(c)
                && SSL_get_error(c->ssl, -1) == SSL_ERROR_WANT_READ) {
                e->accepted = 1;
                return SC_EARLY_HERE;
            }
            return -1;
        }
        if (until == SC_UNTIL_EARLY && e->accepted)
            return SC_EARLY_HERE;
    }
    /* Accepted and at its end: without a byte more, or asked for again. */
    if (until != SC_UNTIL_DONE && e->accepted)
        return SC_EARLY_HERE;
    return SSL_do_handshake(c->ssl);
}

void sc_early_rest(sc_conn *c, unsigned char *buf, size_t len)
{
    memset(&c->result, 0, sizeof(c->result));
    c->result.n = sc_early_take(c, buf, len);
}

/* ---- client ---- */

static int offers_alpn(const sc_context *c, const unsigned char *name, size_t len)
{
    size_t i;

    for (i = 0; i < c->alpn_len; i += 1 + c->alpn[i])
        if (c->alpn[i] == len && memcmp(c->alpn + i + 1, name, len) == 0)
            return 1;
    return 0;
}

/* Why libssl would not send early data, most of which it would fail over. */
static int obstacle(sc_conn *c, SSL_SESSION *s)
{
    int min = SSL_get_min_proto_version(c->ssl), max = SSL_get_max_proto_version(c->ssl);
    const unsigned char *alpn;
    const char *made_for, *name;
    int64_t age;
    size_t len;

    if (!SSL_in_before(c->ssl))
        return SC_EARLY_BEGUN;
    if (s == NULL)
        return SC_EARLY_NO_SESSION;
    if (SSL_SESSION_get_max_early_data(s) == 0)
        return SC_EARLY_NOT_PROMISED;
    if (SSL_SESSION_get_protocol_version(s) != TLS1_3_VERSION
        || min > TLS1_3_VERSION || (max != 0 && max < TLS1_3_VERSION))
        return SC_EARLY_WRONG_VERSION;
    age = sc_clock() - sc_session_time(s);
    if (!SSL_SESSION_is_resumable(s) || !SSL_SESSION_has_ticket(s)
        || age < 0 || age >= (int64_t)SSL_SESSION_get_ticket_lifetime_hint(s)
        || age >= (int64_t)SSL_SESSION_get_timeout(s))
        return SC_EARLY_PAST;
    made_for = SSL_SESSION_get0_hostname(s);
    name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
    if (made_for != NULL && (name == NULL || strcmp(made_for, name) != 0))
        return SC_EARLY_OTHER_NAME;
    SSL_SESSION_get0_alpn_selected(s, &alpn, &len);
    if (len > 0 && !offers_alpn(c->host, alpn, len))
        return SC_EARLY_OTHER_ALPN;
    return 0;
}

int sc_early_start(sc_conn *c, const unsigned char *buf, size_t len, uint32_t *max)
{
    SSL_SESSION *s = SSL_get0_session(c->ssl);
    sc_record r = { .op = SC_OP_IO, .ssl = c->ssl, .conn = c, .context = c->birth };
    size_t n = 0;
    int why, ret;

    sc_errors_clear();
    memset(&c->result, 0, sizeof(c->result));
    c->sys = 0;
    ERR_set_mark();
    why = obstacle(c, s);
    ERR_pop_to_mark();
    *max = why == 0 ? SSL_SESSION_get_max_early_data(s) : 0;
    if (why != 0 || len > *max)
        return why;
    if (len > SSL3_RT_MAX_PLAIN_LENGTH)
        len = SSL3_RT_MAX_PLAIN_LENGTH;
    sc_record_enter(&r);
    /* There is no transport in this call: the next step sends both, in one write. */
    ret = SSL_write_early_data(c->ssl, buf, len, &n);
    sc_record_leave(&r);
    c->result.events = r.events;
    c->result.n = n;
    c->result.pending = c->kept_len - c->kept_pos;
    if (ret != 1)
        sc_conn_failed(c, SSL_get_error(c->ssl, ret));
    return 0;
}
