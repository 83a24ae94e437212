/*
 * R28: OpenSSL does not say why it calls remove_session_cb, but the reason
 * follows from public calls. Every library call runs under a record of what is
 * being done, on a clean error queue; classify() reads the innermost one.
 */
#include "harness.h"

#include <pthread.h>

typedef enum {
    UNKNOWN,
    EXPLICIT,
    EXPIRED,
    EVICTED,
    FLUSHED,
    CONTEXT_FREED,
    FAULTY,
    UNCLEAN_CLOSE,
    SINGLE_USE,
    USED,
    REASONS
} reason;

static const char *const reason_names[] = {
    "Unknown", "Explicit", "Expired", "Evicted", "Flushed", "ContextFreed",
    "Faulty", "UncleanClose", "SingleUse", "Used"
};

/* ---- the record ------------------------------------------------------------- */

typedef enum {
    CALL_IO,                        /* handshake, read, write */
    CALL_SSL_FREE,
    CALL_RESET,                     /* SSL_clear, SSL_set_session */
    CALL_REMOVE,
    CALL_FLUSH,
    CALL_ADD,
    CALL_CTX_FREE
} call_kind;

typedef struct call call;
struct call {
    call_kind kind;
    SSL *ssl;
    SSL_SESSION *session;           /* of ssl, when the call began */
    int unclean;                    /* the call closes it without notice */
    long time;                      /* of a flush */
    call *outer;
};

static __thread call *innermost;

static void begin(call *c)
{
    ERR_clear_error();
    c->outer = innermost;
    innermost = c;
}

static void end(call *c)
{
    innermost = c->outer;
}

/* Will freeing or resetting this SSL count as an unclean close? */
static int is_unclean(SSL *ssl)
{
    return SSL_get0_session(ssl) != NULL
           && (SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN) == 0
           && !SSL_in_init(ssl) && !SSL_in_before(ssl);
}

static int call_handshake(SSL *ssl)
{
    call c = { .kind = CALL_IO, .ssl = ssl };
    int ret;

    begin(&c);
    ret = SSL_do_handshake(ssl);
    end(&c);
    return ret;
}

static int call_read(SSL *ssl)
{
    call c = { .kind = CALL_IO, .ssl = ssl };
    char byte;
    int ret;

    begin(&c);
    ret = SSL_read(ssl, &byte, 1);
    end(&c);
    return ret;
}

static void call_ssl_free(SSL *ssl)
{
    call c = { .kind = CALL_SSL_FREE, .ssl = ssl };

    c.session = SSL_get0_session(ssl);
    c.unclean = is_unclean(ssl);
    begin(&c);
    SSL_free(ssl);
    end(&c);
}

static void call_clear(SSL *ssl)
{
    call c = { .kind = CALL_RESET, .ssl = ssl };

    begin(&c);
    SSL_clear(ssl);
    end(&c);
}

static void call_set_session(SSL *ssl, SSL_SESSION *s)
{
    call c = { .kind = CALL_RESET, .ssl = ssl };

    begin(&c);
    SSL_set_session(ssl, s);
    end(&c);
}

static void call_remove(SSL_CTX *ctx, SSL_SESSION *s)
{
    call c = { .kind = CALL_REMOVE, .session = s };

    begin(&c);
    SSL_CTX_remove_session(ctx, s);
    end(&c);
}

static void call_flush(SSL_CTX *ctx, long time)
{
    call c = { .kind = CALL_FLUSH, .time = time };

    begin(&c);
    flush_sessions(ctx, time);
    end(&c);
}

static void call_add(SSL_CTX *ctx, unsigned char tag, long time, long timeout)
{
    call c = { .kind = CALL_ADD };

    begin(&c);
    add_session(ctx, tag, time, timeout);
    end(&c);
}

static void call_ctx_free(SSL_CTX *ctx)
{
    call c = { .kind = CALL_CTX_FREE };

    begin(&c);
    SSL_CTX_free(ctx);
    end(&c);
}

/* ---- what the ClientHello offered ------------------------------------------- */

#define OFFERED_MAX 8

typedef struct offer {
    int count;
    session_id ids[OFFERED_MAX];
} offer;

static int offer_index;

static void free_offer(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
                       long argl, void *argp)
{
    free(ptr);
}

static void make_offer_index(void)
{
    offer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_offer);
}

static size_t number16(const unsigned char *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* Each identity is 2 bytes of length, the identity, 4 bytes of age. */
static void read_identities(offer *o, const unsigned char *list, size_t len)
{
    while (len >= 2) {
        size_t id_len = number16(list);

        if (len < 2 + id_len + 4)
            return;
        if (id_len == 32 && o->count < OFFERED_MAX)
            o->ids[o->count++] = id_from(list + 2, id_len);
        list += 2 + id_len + 4;
        len -= 2 + id_len + 4;
    }
}

/*
 * The extension is consumed while it is parsed: inside remove_cb the identities
 * cannot be read any more, so they are copied here.
 */
static int record_offer(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *extension;
    size_t len;
    offer *o = SSL_get_ex_data(ssl, offer_index);

    if (o == NULL) {
        o = calloc(1, sizeof(*o));
        SSL_set_ex_data(ssl, offer_index, o);
    }
    o->count = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &extension, &len)
        && len > 2 && number16(extension) + 2 <= len)
        read_identities(o, extension + 2, number16(extension));
    return SSL_CLIENT_HELLO_SUCCESS;
}

static int was_offered(SSL *ssl, SSL_SESSION *s)
{
    offer *o = SSL_get_ex_data(ssl, offer_index);
    int i;

    if (o == NULL || SSL_get0_session(ssl) != NULL)
        return 0;
    for (i = 0; i < o->count; i++)
        if (same_id(o->ids[i], id_of(s)))
            return 1;
    return 0;
}

/* ---- the reason --------------------------------------------------------------- */

static int is_expired(SSL_SESSION *s)
{
    return session_time(s) + SSL_SESSION_get_timeout(s) < (long)time(NULL);
}

static reason reason_of_io(SSL *ssl, SSL_SESSION *s)
{
    if (s == SSL_get0_session(ssl)) {
        /* The library reports an error before it removes. */
        if (ERR_peek_error() != 0)
            return FAULTY;
        return SSL_is_server(ssl) ? UNKNOWN : USED;
    }
    if (is_expired(s))
        return EXPIRED;
    if (SSL_is_server(ssl) && was_offered(ssl, s))
        return SINGLE_USE;
    return EVICTED;
}

static reason classify(SSL_SESSION *s)
{
    call *c = innermost;

    if (c == NULL)
        return UNKNOWN;
    switch (c->kind) {
    case CALL_REMOVE:
        return EXPLICIT;
    case CALL_FLUSH:
        return c->time == 0 ? FLUSHED : EXPIRED;
    case CALL_ADD:
        return EVICTED;
    case CALL_CTX_FREE:
        return CONTEXT_FREED;
    case CALL_RESET:
        return UNCLEAN_CLOSE;
    case CALL_SSL_FREE:
        if (!c->unclean || s != c->session)
            return CONTEXT_FREED;   /* this SSL had the last reference */
        c->unclean = 0;
        return UNCLEAN_CLOSE;
    case CALL_IO:
        return reason_of_io(c->ssl, s);
    }
    return UNKNOWN;
}

/* ---- scenarios ------------------------------------------------------------------ */

typedef struct tally {
    int count[REASONS];
    int calls;
    reason last;
} tally;

static void count_reason(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    tally *t = rec->arg;

    t->last = classify(s);
    t->count[t->last]++;
    t->calls++;
}

typedef struct stage {
    scene sc;
    tally seen;
    connection c;
} stage;

static void stage_open(stage *st, report *r, int version)
{
    memset(st, 0, sizeof(*st));
    scene_open(&st->sc, r, version);
    SSL_CTX_set_num_tickets(st->sc.server, 2);
    SSL_CTX_set_client_hello_cb(st->sc.server, record_offer, NULL);
    st->sc.rec.on_remove = count_reason;
    st->sc.rec.arg = &st->seen;
}

static void stage_connect(stage *st, SSL_SESSION *s)
{
    st->c = new_connection(st->sc.server, st->sc.client, s);
    st->c.drive = call_handshake;
    handshake(&st->c);
    exchange(&st->c);
    memset(&st->seen, 0, sizeof(st->seen));
}

static SSL_SESSION *stage_session(stage *st)
{
    SSL_SESSION *s = full_handshake(st->sc.server, st->sc.client);

    memset(&st->seen, 0, sizeof(st->seen));
    return s;
}

/* Frees what is left of the connection and the contexts, uncounted. */
static void stage_close(stage *st)
{
    tally seen = st->seen;

    SSL_free(st->c.client);
    SSL_free(st->c.server);
    ERR_clear_error();
    scene_close(&st->sc);
    st->seen = seen;
}

static void stage_free_server(stage *st)
{
    SSL_CTX *ctx = st->sc.server;

    st->sc.server = NULL;
    call_ctx_free(ctx);
}

static void stage_free_ssl(stage *st)
{
    SSL *ssl = st->c.server;

    st->c.server = NULL;
    call_ssl_free(ssl);
}

static void run_unclean_free(stage *st)
{
    stage_connect(st, NULL);
    stage_free_ssl(st);
}

static void run_clean_free(stage *st)
{
    stage_connect(st, NULL);
    SSL_shutdown(st->c.server);
    stage_free_ssl(st);
}

static void run_clear(stage *st)
{
    stage_connect(st, NULL);
    call_clear(st->c.server);
    SSL_set_shutdown(st->c.server, SSL_SENT_SHUTDOWN);
}

static void run_set_session(stage *st)
{
    SSL_SESSION *s = SSL_SESSION_new();

    stage_connect(st, NULL);
    call_set_session(st->c.server, s);
    SSL_set_shutdown(st->c.server, SSL_SENT_SHUTDOWN);
    SSL_SESSION_free(s);
}

static void run_alert_sent(stage *st)
{
    stage_connect(st, NULL);
    inject_bad_record(st->c.client);
    call_read(st->c.server);
}

static void run_alert_received(stage *st)
{
    stage_connect(st, NULL);
    inject_bad_record(st->c.server);
    call_read(st->c.client);
    call_read(st->c.server);
}

static void run_explicit(stage *st)
{
    stage_connect(st, NULL);
    call_remove(st->sc.server, SSL_get0_session(st->c.server));
    SSL_set_shutdown(st->c.server, SSL_SENT_SHUTDOWN);
}

static void run_flush_expired(stage *st)
{
    call_add(st->sc.server, 1, (long)time(NULL) - 100, 10);
    call_flush(st->sc.server, (long)time(NULL));
}

static void run_flush_all(stage *st)
{
    call_add(st->sc.server, 1, (long)time(NULL), 1000);
    call_flush(st->sc.server, 0);
}

static void run_evict_add(stage *st)
{
    SSL_CTX_sess_set_cache_size(st->sc.server, 1);
    call_add(st->sc.server, 1, (long)time(NULL), 10000);
    call_add(st->sc.server, 2, (long)time(NULL), 10000);
}

static void run_evict_new(stage *st)
{
    SSL_CTX_set_num_tickets(st->sc.server, 1);
    SSL_CTX_sess_set_cache_size(st->sc.server, 1);
    call_add(st->sc.server, 1, (long)time(NULL), 10000);
    st->c = new_connection(st->sc.server, st->sc.client, NULL);
    st->c.drive = call_handshake;
    handshake(&st->c);
    SSL_set_shutdown(st->c.server, SSL_SENT_SHUTDOWN);
}

/* The expired session is planted just before the automatic flush is due. */
static void run_automatic_flush(stage *st)
{
    int i;

    SSL_CTX_set_num_tickets(st->sc.server, 1);
    for (i = 0; i < 253; i++)
        SSL_SESSION_free(full_handshake(st->sc.server, st->sc.client));
    call_add(st->sc.server, 1, (long)time(NULL) - 1000, 10);
    for (i = 0; i < 4; i++) {
        connection c = new_connection(st->sc.server, st->sc.client, NULL);

        c.drive = call_handshake;
        handshake(&c);
        close_cleanly(&c);
    }
}

static void run_expired_lookup(stage *st)
{
    SSL_SESSION *s;

    st->sc.rec.keep = 1;
    st->sc.rec.store = NULL;
    SSL_CTX_set_num_tickets(st->sc.server, 1);
    s = stage_session(st);
    set_session_time(st->sc.rec.kept[0], (long)time(NULL) - 100000);
    st->c = new_connection(st->sc.server, st->sc.client, s);
    st->c.drive = call_handshake;
    handshake(&st->c);
    SSL_set_shutdown(st->c.server, SSL_SENT_SHUTDOWN);
    SSL_SESSION_free(s);
    recorder_release(&st->sc.rec);
}

static void run_ctx_free(stage *st)
{
    SSL_SESSION_free(stage_session(st));
    stage_free_server(st);
}

/* The SSL holds the last reference to the context, and ends cleanly. */
static void run_ctx_free_in_ssl_free(stage *st)
{
    stage_connect(st, NULL);
    SSL_shutdown(st->c.server);
    stage_free_server(st);
    stage_free_ssl(st);
}

/* No record: somebody else called the library. */
static void run_unrecorded(stage *st)
{
    SSL_SESSION *s = new_session(1, (long)time(NULL), 1000);

    SSL_CTX_remove_session(st->sc.server, s);
    SSL_SESSION_free(s);
}

static void run_single_use(stage *st)
{
    SSL_SESSION *s;

    SSL_CTX_set_max_early_data(st->sc.server, 1024);
    s = stage_session(st);
    st->c = new_connection(st->sc.server, st->sc.client, s);
    st->c.drive = call_handshake;
    handshake(&st->c);
    SSL_set_shutdown(st->c.server, SSL_SENT_SHUTDOWN);
    SSL_SESSION_free(s);
}

typedef struct expectation {
    const char *what;
    void (*run)(stage *st);
    int calls12;                    /* calls in TLS 1.2, all for the reason */
    int calls13;
    reason why;
} expectation;

static const expectation expectations[] = {
    { "SSL_free without shutdown", run_unclean_free, 1, 1, UNCLEAN_CLOSE },
    { "SSL_free after shutdown", run_clean_free, 0, 0, UNKNOWN },
    { "SSL_clear", run_clear, 1, 1, UNCLEAN_CLOSE },
    { "SSL_set_session", run_set_session, 1, 1, UNCLEAN_CLOSE },
    { "fatal alert sent", run_alert_sent, 1, 1, FAULTY },
    { "fatal alert received", run_alert_received, 1, 1, FAULTY },
    { "SSL_CTX_remove_session", run_explicit, 1, 1, EXPLICIT },
    { "SSL_CTX_flush_sessions(now)", run_flush_expired, 1, 1, EXPIRED },
    { "SSL_CTX_flush_sessions(0)", run_flush_all, 1, 1, FLUSHED },
    { "eviction in SSL_CTX_add_session", run_evict_add, 1, 1, EVICTED },
    { "eviction by a new session", run_evict_new, 1, 1, EVICTED },
    { "automatic flush", run_automatic_flush, 1, 1, EXPIRED },
    { "lookup of an expired session", run_expired_lookup, 1, 0, EXPIRED },
    { "SSL_CTX_free", run_ctx_free, 1, 2, CONTEXT_FREED },
    { "SSL_CTX_free, finished by SSL_free", run_ctx_free_in_ssl_free, 1, 2,
      CONTEXT_FREED },
    { "anti-replay", run_single_use, 0, 1, SINGLE_USE },
    { "a call without a record", run_unrecorded, 1, 1, UNKNOWN },
};

static void expect(report *r, const expectation *want, int version)
{
    int calls = version == TLS1_2_VERSION ? want->calls12 : want->calls13;
    stage st;

    stage_open(&st, r, version);
    want->run(&st);
    stage_close(&st);
    check(r, st.seen.calls == calls && st.seen.count[want->why] == calls,
          "%s, %s: %d calls, %d for the reason %s, the last %s",
          version_name(version), want->what, st.seen.calls,
          st.seen.count[want->why], reason_names[want->why],
          st.seen.calls > 0 ? reason_names[st.seen.last] : "none");
}

/* One SSL_free with both reasons: its own session, then the context's others. */
static void R28_both_in_one_free(report *r, int version)
{
    int others = version == TLS1_3_VERSION ? 1 : 0;
    stage st;

    stage_open(&st, r, version);
    stage_connect(&st, NULL);
    stage_free_server(&st);
    stage_free_ssl(&st);
    stage_close(&st);
    check(r, st.seen.count[UNCLEAN_CLOSE] == 1
             && st.seen.count[CONTEXT_FREED] == others
             && st.seen.calls == 1 + others,
          "%s, unclean SSL_free that frees the context: UncleanClose %d,"
          " ContextFreed %d", version_name(version),
          st.seen.count[UNCLEAN_CLOSE], st.seen.count[CONTEXT_FREED]);
}

/* A TLS 1.3 client drops the ticket that it used. */
static void R28_client(report *r)
{
    SSL_CTX *server = new_server(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    tally seen = { { 0 }, 0, UNKNOWN };
    recorder rec;
    SSL_SESSION *s;
    connection c;

    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
    record(&rec, r, client, RECORD_REMOVE);
    s = full_handshake(server, client);
    rec.on_remove = count_reason;
    rec.arg = &seen;
    c = new_connection(server, client, s);
    c.drive = call_handshake;
    handshake(&c);
    check(r, seen.calls == 1 && seen.count[USED] == 1,
          "TLS 1.3 client, a used ticket: %d calls, reason %s", seen.calls,
          reason_names[seen.last]);
    close_cleanly(&c);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void contract_R28(report *r)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t i;

    pthread_once(&once, make_offer_index);
    for (i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        expect(r, &expectations[i], TLS1_2_VERSION);
        expect(r, &expectations[i], TLS1_3_VERSION);
    }
    for_each_version(r, R28_both_in_one_free);
    R28_client(r);
}

const rule reason_rules[] = {
    { "R28", contract_R28, 0 },
    { NULL, NULL, 0 },
};
