/*
 * How long a session may be resumed. In TLS 1.3 every resumption makes a new
 * session with a whole new lifetime, so a client that comes often enough would
 * never be verified again. The time of the full handshake that a session goes
 * back to is noted in its appdata, which is encoded, sealed in tickets and
 * inherited by the sessions that a resumption makes; none of them is given a
 * lifetime that ends later than max_age after it.
 */
#include <string.h>
#include "shim.h"

/* Before the user's appdata: this, and the time in 8 bytes, big endian. */
static const unsigned char magic[8] = { 's', 'c', 'b', 'o', 'r', 'i', 'g', '1' };
enum { NOTE = 16 };

static const unsigned char *all_appdata(const SSL_SESSION *s, size_t *len)
{
    void *p = NULL;

    *len = 0;
    /* It borrows from the session, which its prototype does not declare const. */
    SSL_SESSION_get0_ticket_appdata((SSL_SESSION *)s, &p, len);
    return p;
}

static int noted(const unsigned char *p, size_t len)
{
    return len >= NOTE && memcmp(p, magic, sizeof(magic)) == 0;
}

const unsigned char *sc_appdata(const SSL_SESSION *s, size_t *len)
{
    const unsigned char *p = all_appdata(s, len);

    if (!noted(p, *len))
        return p;
    *len -= NOTE;
    return p + NOTE;
}

/* 0 where there is none. */
static int64_t noted_origin(const SSL_SESSION *s)
{
    size_t len, i;
    const unsigned char *p = all_appdata(s, &len);
    uint64_t t = 0;

    if (!noted(p, len))
        return 0;
    for (i = sizeof(magic); i < NOTE; i++)
        t = t << 8 | p[i];
    return (int64_t)t;
}

int64_t sc_origin(const SSL_SESSION *s)
{
    int64_t t = noted_origin(s), made = sc_session_time(s);

    /*
     * A C server's session has no note: it counts from itself. So does one that
     * claims to come from the future: a clock was set back, or the store lies.
     */
    return t > 0 && t < made ? t : made;
}

int sc_outlived(const sc_conn *c, const SSL_SESSION *s)
{
    return c->host->max_age > 0 && sc_origin(s) < sc_clock() - c->host->max_age;
}

/* data may be part of what the session holds now. */
static int set_noted(SSL_SESSION *s, int64_t origin, const unsigned char *data, size_t len)
{
    unsigned char *all = OPENSSL_malloc(NOTE + len);
    int i, ok;

    if (all == NULL)
        return 0;
    memcpy(all, magic, sizeof(magic));
    for (i = NOTE - 1; i >= (int)sizeof(magic); i--, origin >>= 8)
        all[i] = (unsigned char)origin;
    if (len > 0)
        memcpy(all + NOTE, data, len);
    ok = SSL_SESSION_set1_ticket_appdata(s, all, NOTE + len);
    OPENSSL_free(all);
    return ok;
}

int sc_set_appdata(SSL_SESSION *s, const unsigned char *data, size_t len)
{
    int64_t origin = noted_origin(s);

    return origin > 0 ? set_noted(s, origin, data, len)
        : SSL_SESSION_set1_ticket_appdata(s, data, len);
}

int sc_set_origin(SSL_SESSION *s, int64_t origin)
{
    size_t len;
    const unsigned char *data = sc_appdata(s, &len);

    return set_noted(s, origin, data, len);
}

/* The origin of a new session of TLS 1.3, which it notes; 0 when out of memory. */
static int64_t note_origin(const sc_conn *c, SSL_SESSION *s)
{
    int64_t noted = noted_origin(s), origin = sc_origin(s);

    if (noted > 0 && noted == origin)
        return origin;  /* inherited, or of a ticket before this one */
    if (SSL_session_reused(c->ssl) && c->origin > 0 && c->origin < origin)
        origin = c->origin;
    return sc_set_origin(s, origin) ? origin : 0;
}

void sc_bound_age(sc_conn *c, SSL_SESSION *s)
{
    int64_t life = SSL_CTX_get_timeout(c->host->ctx);
    int64_t made = sc_session_time(s);

    if (c->host->max_age > 0) {
        /* One of TLS 1.2 has no descendants with a time of their own. */
        int64_t origin = SSL_version(c->ssl) >= TLS1_3_VERSION ? note_origin(c, s) : made;
        int64_t left = origin + c->host->max_age - made;

        if (life > left)
            life = left;
        if (life < 1)
            life = 1;
    }
    if (life != SSL_SESSION_get_timeout(s))
        SSL_SESSION_set_timeout(s, (long)life);
}

/*
 * libssl calls it before it makes a ticket, stateful or not; the session is the
 * connection's alone then, but for TLS 1.2 resumptions, which renew nothing.
 */
static int before_ticket(SSL *ssl, void *arg)
{
    sc_conn *c = sc_conn_of(ssl);

    (void)arg;
    if (c != NULL && (SSL_version(ssl) >= TLS1_3_VERSION || !SSL_session_reused(ssl))) {
        ERR_set_mark();
        sc_bound_age(c, SSL_get_session(ssl));
        ERR_pop_to_mark();
    }
    return 1;
}

/*
 * And this with what it found in a stateless ticket. What a store would not be
 * believed is no good here either: a host that was chosen can have a smaller
 * bound, or require a certificate, under the same session id context.
 */
static SSL_TICKET_RETURN after_ticket(SSL *ssl, SSL_SESSION *s, const unsigned char *name, size_t name_len,
                                      SSL_TICKET_STATUS status, void *arg)
{
    sc_conn *c = sc_conn_of(ssl);

    (void)name; (void)name_len; (void)arg;
    switch (status) {
    case SSL_TICKET_SUCCESS:
    case SSL_TICKET_SUCCESS_RENEW:
        if (c != NULL && (sc_outlived(c, s) || sc_lacks_peer(ssl, s)))
            return SSL_TICKET_RETURN_IGNORE_RENEW;
        if (c != NULL)
            c->origin = sc_origin(s);
        return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
    case SSL_TICKET_EMPTY:
    case SSL_TICKET_NO_DECRYPT:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    default:
        return SSL_TICKET_RETURN_ABORT;
    }
}

void sc_context_max_age(sc_context *c, int64_t seconds)
{
    c->max_age = seconds;
    SSL_CTX_set_session_ticket_cb(c->ctx, before_ticket, after_ticket, NULL);
}
