/*
 * The ClientHello: it names the sessions that will be looked up. Recording
 * them here and suspending the handshake lets the lookup run with no C frame
 * and no thread waiting; get_session_cb finds the answers in place.
 */
#include <string.h>
#include "shim.h"

static int reads_tls13(const SSL *ssl)
{
    int max = SSL_get_max_proto_version((SSL *)ssl);

    return (max == 0 || max >= TLS1_3_VERSION)
        && (SSL_get_options(ssl) & SSL_OP_NO_TLSv1_3) == 0;
}

static int offers_tls13(SSL *ssl)
{
    const unsigned char *p;
    size_t n, i;

    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &p, &n))
        return 0;
    for (i = 1; i + 1 < n; i += 2)
        if (p[i] == 3 && p[i + 1] == 4)
            return 1;
    return 0;
}

/* Whether TLS 1.3 tickets are keys of a lookup, and not sealed state. */
static int stateful_tickets(const SSL *ssl)
{
    uint64_t o = SSL_get_options(ssl);

    return (o & SSL_OP_NO_TICKET) != 0
        || (SSL_get_max_early_data(ssl) > 0 && (o & SSL_OP_NO_ANTI_REPLAY) == 0);
}

static sc_lookup *find(const sc_conn *c, const unsigned char *id, size_t len)
{
    int i;

    for (i = 0; i < c->lookups; i++) {
        sc_lookup *l = &c->lookup[i];

        if (l->id_len == len && memcmp(l->id, id, len) == 0)
            return l;
    }
    return NULL;
}

static void record(sc_conn *c, const unsigned char *id, size_t len)
{
    sc_lookup *l;

    if (len == 0 || len > SSL_MAX_SSL_SESSION_ID_LENGTH || find(c, id, len) != NULL
        || c->lookups == 2 * SC_MAX_LOOKUPS)
        return;
    l = OPENSSL_realloc(c->lookup, (size_t)(c->lookups + 1) * sizeof(*l));
    if (l == NULL)
        return;
    c->lookup = l;
    l += c->lookups++;
    memset(l, 0, sizeof(*l));
    memcpy(l->id, id, len);
    l->id_len = (unsigned char)len;
    l->answered = !c->birth->parks;
}

/*
 * The identities of the pre_shared_key extension. It is parsed in place later:
 * inside get_session_cb it no longer shows them. An attacker can name 1,700 in
 * one ClientHello, so only the first few are looked up.
 */
static void record_identities(sc_conn *c)
{
    const unsigned char *p, *end;
    size_t n;
    int seen = 0;

    if (!SSL_client_hello_get0_ext(c->ssl, TLSEXT_TYPE_psk, &p, &n) || n < 2)
        return;
    end = p + 2 + (p[0] << 8 | p[1]);
    if (end > p + n)
        return;
    for (p += 2; end - p >= 2 && seen < SC_MAX_LOOKUPS; seen++) {
        size_t len = (size_t)(p[0] << 8 | p[1]);

        p += 2;
        if ((size_t)(end - p) < len + 4)
            return;
        if (len == SSL_MAX_SSL_SESSION_ID_LENGTH)
            record(c, p, len);
        p += len + 4;
    }
}

static void record_session_id(sc_conn *c)
{
    const unsigned char *p;
    size_t n;

    /* A ticket goes before the id that comes with it. */
    if ((SSL_get_options(c->ssl) & SSL_OP_NO_TICKET) == 0
        && SSL_client_hello_get0_ext(c->ssl, TLSEXT_TYPE_session_ticket, &p, &n) && n > 0)
        return;
    n = SSL_client_hello_get0_session_id(c->ssl, &p);
    record(c, p, n);
}

/* Copies the SNI name of the ClientHello, cut off at cap; its length. */
static int hello_server_name(SSL *ssl, char *out, int cap)
{
    const unsigned char *p;
    size_t n, len;

    out[0] = '\0';
    /* list length (2), type host_name (1), name length (2), name */
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n)
        || n < 5 || p[2] != TLSEXT_NAMETYPE_host_name)
        return 0;
    len = (size_t)(p[3] << 8 | p[4]);
    if (len > n - 5 || len >= (size_t)cap || memchr(p + 5, '\0', len) != NULL)
        return 0;
    memcpy(out, p + 5, len);
    out[len] = '\0';
    return (int)len;
}

int sc_foreign_server_name(SSL *ssl, char *out, int cap)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    if (name == NULL)
        return hello_server_name(ssl, out, cap);
    strncpy(out, name, (size_t)cap - 1);
    out[cap - 1] = '\0';
    return (int)strlen(out);
}

static int refuse(sc_conn *c, const SSL_SESSION *s, const unsigned char *id, int len)
{
    int why = sc_refuse(c->ssl, c->version, s, id, len, c->host->sid_ctx, (int)c->host->sid_ctx_len);

    if (why == 0 && sc_outlived(c, s))
        why = SC_PAST;
    return why;
}

/* Whether libssl will be given one of the answers. */
static int resumes(sc_conn *c)
{
    int i, good = 0;

    ERR_set_mark();
    for (i = 0; !good && i < c->lookups; i++) {
        sc_lookup *l = &c->lookup[i];

        if (l->der != NULL && l->decoded == NULL)
            l->decoded = sc_decode(l->der, l->der_len);
        if (l->live != NULL)
            good = refuse(c, l->live->session, l->id, l->id_len) == 0;
        else if (l->decoded != NULL)
            good = refuse(c, l->decoded, l->id, l->id_len) == 0;
    }
    ERR_pop_to_mark();
    return good;
}

/*
 * Whether the key exchange of a resumption is a quick one, whatever the client offers
 * is taken: with ffdhe8192 it lasts 100 ms. TLS 1.2 has none.
 */
static int quick_shares(sc_conn *c)
{
    const unsigned char *p, *end;
    size_t n;

    if (c->version != TLS1_3_VERSION || !SSL_client_hello_get0_ext(c->ssl, TLSEXT_TYPE_key_share, &p, &n) || n < 2)
        return 1;
    for (end = p + n, p += 2; end - p >= 4; p += n) {
        int group = p[0] << 8 | p[1];

        n = 4 + (size_t)(p[2] << 8 | p[3]);
        if (n > (size_t)(end - p))
            return 1;          /* libssl says so */
        switch (group) {
        case 0x0017:           /* P-256 */
        case 0x001d:           /* X25519 */
        case 0x11ec:           /* X25519MLKEM768 */
            break;
        default:
            if (p[0] != p[1] || (p[0] & 0x0f) != 0x0a)  /* nobody takes what RFC 8701 offers */
                return 0;
        }
    }
    return 1;
}

int sc_hello_cb(SSL *ssl, int *alert, void *arg)
{
    sc_record *r = sc_record_current();
    char name[TLSEXT_MAXLEN_host_name + 1];
    const unsigned char *p;
    sc_conn *c;
    size_t n;
    int i;

    (void)arg;
    if (r == NULL || r->ssl != ssl || r->conn == NULL)
        return SSL_CLIENT_HELLO_SUCCESS;
    c = r->conn;
    hello_server_name(ssl, name, sizeof(name));
    if (!c->hello_seen) {
        c->hello_seen = 1;
        if (name[0] != '\0' && (c->server_name = OPENSSL_strdup(name)) == NULL) {
            *alert = SSL_AD_INTERNAL_ERROR;
            return SSL_CLIENT_HELLO_ERROR;
        }
    } else if (strcmp(name, c->server_name != NULL ? c->server_name : "") != 0) {
        /* After a HelloRetryRequest the name is another: the host was chosen for the first. */
        *alert = SSL_AD_ILLEGAL_PARAMETER;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (c->birth->asks_host && !c->host_chosen) {
        sc_hello_describe(c);
        return SSL_CLIENT_HELLO_RETRY;
    }
    OPENSSL_free(c->hello_text);
    c->hello_text = NULL;
    c->hello_text_len = 0;
    if (c->host_chosen < 0
        || (c->birth->asks_host && c->host->groups != NULL && SSL_set1_groups_list(ssl, c->host->groups) != 1)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    c->early.offered = SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_early_data, &p, &n);
    c->version = reads_tls13(ssl) && offers_tls13(ssl) ? TLS1_3_VERSION : TLS1_2_VERSION;
    if ((c->birth->callbacks & (SC_GET | SC_REMOVE)) != 0) {
        if (c->version != TLS1_3_VERSION)
            record_session_id(c);
        else if (stateful_tickets(ssl))
            record_identities(c);
    }
    for (i = 0; i < c->lookups; i++)
        if (!c->lookup[i].answered)
            return SSL_CLIENT_HELLO_RETRY;
    c->step.heavy = c->step.in_place == SC_NOTHING
        || (c->step.in_place == SC_QUICK_RESUMPTION && !(resumes(c) && quick_shares(c)));
    return c->step.heavy ? SSL_CLIENT_HELLO_RETRY : SSL_CLIENT_HELLO_SUCCESS;
}

/*
 * The answers, in the order of the open lookups: a byte 0 for a miss, 1 with
 * four bytes of length (big endian) and an encoding, 2 with eight bytes that
 * are an sc_session pointer in native order, which is taken.
 */
void sc_hello_answer(sc_conn *c, const unsigned char *p, size_t len)
{
    const unsigned char *end = p + len;
    int i;

    for (i = 0; i < c->lookups; i++) {
        sc_lookup *l = &c->lookup[i];
        sc_session *b;
        size_t n;

        if (l->answered)
            continue;
        l->answered = 1;
        if (p == end)
            continue;
        switch (*p++) {
        case 1:
            n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
            l->der = OPENSSL_memdup(p + 4, n);
            l->der_len = l->der != NULL ? n : 0;
            p += 4 + n;
            break;
        case 2:
            memcpy(&b, p, sizeof(b));
            l->live = b;
            p += sizeof(b);
            break;
        default:
            break;
        }
    }
}

void sc_hello_free(sc_conn *c)
{
    int i;

    for (i = 0; i < c->lookups; i++) {
        OPENSSL_clear_free(c->lookup[i].der, c->lookup[i].der_len);
        sc_session_free(c->lookup[i].live);
        SSL_SESSION_free(c->lookup[i].decoded);
    }
    OPENSSL_free(c->lookup);
    c->lookup = NULL;
    c->lookups = 0;
}

int sc_hello_offered(const sc_conn *c, const sc_session *b)
{
    return find(c, b->id, b->id_len) != NULL;
}

/*
 * A private object at every call: with HelloRetryRequest libssl asks twice for
 * one id, and may have spoilt the first object by then.
 */
SSL_SESSION *sc_hello_session(sc_conn *c, const unsigned char *id, int len)
{
    sc_lookup *l = find(c, id, (size_t)len);
    SSL_SESSION *s = NULL;
    int why = SC_MALFORMED;

    if (l == NULL || (l->der == NULL && l->live == NULL))
        return NULL;
    ERR_set_mark();
    s = l->decoded;
    l->decoded = NULL;
    if (s == NULL)
        s = l->live != NULL ? SSL_SESSION_dup(l->live->session) : sc_decode(l->der, l->der_len);
    if (s != NULL)
        why = refuse(c, s, id, len);
    ERR_pop_to_mark();
    if (why != 0) {
        atomic_fetch_add(&c->birth->refused[why], 1);
        SSL_SESSION_free(s);
        return NULL;
    }
    c->origin = sc_origin(s);
    return s;
}

int sc_conn_judge(sc_conn *c, const unsigned char *id, int id_len,
                  const unsigned char *der, size_t len, sc_session *live)
{
    SSL_SESSION *s;
    int why = SC_MALFORMED;

    ERR_set_mark();
    if (live != NULL) {
        why = refuse(c, live->session, id, id_len);
    } else if ((s = sc_decode(der, len)) != NULL) {
        why = refuse(c, s, id, id_len);
        SSL_SESSION_free(s);
    }
    ERR_pop_to_mark();
    return why;
}
