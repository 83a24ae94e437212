/* Sessions as Go holds them: one reference, and a snapshot to read. */
#include <string.h>
#include <time.h>
#include "shim.h"

int64_t sc_session_time(const SSL_SESSION *s)
{
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
    return (int64_t)SSL_SESSION_get_time_ex(s);
#else
    return (int64_t)SSL_SESSION_get_time(s);
#endif
}

/*
 * Since 3.2 libssl notes times with gettimeofday, before that with time, which
 * reads a clock that the kernel sets once a tick. By that one, up to 10 ms behind,
 * a session that was just made may come from the future.
 */
int64_t sc_clock(void)
{
    struct timespec t;

    if (!sc_counts_fractions())
        return (int64_t)time(NULL);
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec;
}

int sc_counts_fractions(void)
{
    return OpenSSL_version_num() >= 0x30200000L;
}

void sc_free(void *p)
{
    OPENSSL_free(p);
}

sc_session *sc_session_box(SSL_SESSION *s)
{
    sc_session *b = OPENSSL_zalloc(sizeof(*b));
    const unsigned char *p;
    unsigned int len;

    if (b == NULL) {
        SSL_SESSION_free(s);
        return NULL;
    }
    b->session = s;
    p = SSL_SESSION_get_id(s, &len);
    memcpy(b->id, p, len);
    b->id_len = (unsigned char)len;
    p = SSL_SESSION_get0_id_context(s, &len);
    memcpy(b->context, p, len);
    b->context_len = (unsigned char)len;
    b->time = sc_session_time(s);
    b->timeout = SSL_SESSION_get_timeout(s);
    b->version = SSL_SESSION_get_protocol_version(s);
    atomic_fetch_add(&sc_live_sessions, 1);
    return b;
}

void sc_session_free(sc_session *b)
{
    if (b == NULL)
        return;
    SSL_SESSION_free(b->session);
    OPENSSL_free(b);
    atomic_fetch_sub(&sc_live_sessions, 1);
}

void sc_session_free_list(sc_session *b)
{
    while (b != NULL) {
        sc_session *next = b->next;

        sc_session_free(b);
        b = next;
    }
}

sc_session *sc_session_parse(const unsigned char *der, size_t len, sc_errors *e)
{
    SSL_SESSION *s;

    sc_errors_clear();
    s = sc_decode(der, len);
    if (s == NULL) {
        sc_errors_take(e);
        return NULL;
    }
    sc_errors_clear();
    return sc_session_box(s);
}

int sc_session_encode(sc_session *b, unsigned char *out, int cap)
{
    unsigned char *der = NULL;
    int len;

    ERR_set_mark();
    len = i2d_SSL_SESSION(b->session, &der);
    ERR_pop_to_mark();
    if (len <= 0)
        return 0;
    if (len <= cap)
        memcpy(out, der, (size_t)len);
    OPENSSL_clear_free(der, (size_t)len);
    return len;
}

sc_session *sc_session_retain(sc_session *b)
{
    SSL_SESSION_up_ref(b->session);
    return sc_session_box(b->session);
}

sc_session *sc_session_dup(sc_session *b)
{
    SSL_SESSION *s;

    ERR_set_mark();
    s = SSL_SESSION_dup(b->session);
    ERR_pop_to_mark();
    return s != NULL ? sc_session_box(s) : NULL;
}

int sc_session_unshare(sc_session *b)
{
    SSL_SESSION *s;

    ERR_set_mark();
    s = SSL_SESSION_dup(b->session);
    ERR_pop_to_mark();
    if (s == NULL)
        return 0;
    SSL_SESSION_free(b->session);
    b->session = s;
    return 1;
}

int sc_session_set_appdata(sc_session *b, const unsigned char *data, size_t len)
{
    int ok;

    ERR_set_mark();
    ok = sc_set_appdata(b->session, data, len);
    ERR_pop_to_mark();
    return ok;
}

int sc_session_peer_der(sc_session *b, unsigned char **der)
{
    X509 *x = SSL_SESSION_get0_peer(b->session);
    int len;

    *der = NULL;
    if (x == NULL)
        return 0;
    ERR_set_mark();
    len = i2d_X509(x, der);
    ERR_pop_to_mark();
    return len > 0 ? len : 0;
}

/* The setters of tests and of migrations: they change the session, and the snapshot. */

void sc_session_set_time(sc_session *b, int64_t t)
{
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
    SSL_SESSION_set_time_ex(b->session, (time_t)t);
#else
    SSL_SESSION_set_time(b->session, (long)t);
#endif
    b->time = t;
}

void sc_session_set_timeout(sc_session *b, int64_t t)
{
    SSL_SESSION_set_timeout(b->session, (long)t);
    b->timeout = t;
}

int sc_session_set_id_context(sc_session *b, const unsigned char *id, unsigned int len)
{
    int ok;

    ERR_set_mark();
    ok = SSL_SESSION_set1_id_context(b->session, id, len);
    ERR_pop_to_mark();
    if (ok) {
        memcpy(b->context, id, len);
        b->context_len = (unsigned char)len;
    }
    return ok;
}

int sc_session_set_id(sc_session *b, const unsigned char *id, unsigned int len)
{
    int ok;

    ERR_set_mark();
    ok = SSL_SESSION_set1_id(b->session, id, len);
    ERR_pop_to_mark();
    if (ok) {
        memcpy(b->id, id, len);
        b->id_len = (unsigned char)len;
    }
    return ok;
}
