/* R1, R2, R5-R10: new_session_cb, the session it gets and what may be done. */
#include "harness.h"

#include <pthread.h>

/* ---- R1: the reference --------------------------------------------------- */

static void note_birth(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    *(unsigned long *)rec->arg = session_birth(s);
}

static void one_connection(scene *sc)
{
    connection c = new_connection(sc->server, sc->client, NULL);

    check(sc->rec.report, handshake(&c) && exchange(&c), "%s: handshake",
          version_name(sc->version));
    close_cleanly(&c);
}

static void reference_of_new(report *r, int version, int keep)
{
    scene sc;
    unsigned long birth = 0;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_cache_mode(sc.server, SSL_SESS_CACHE_SERVER
                                   | SSL_SESS_CACHE_NO_INTERNAL);
    sc.rec.keep = keep;
    sc.rec.on_new = note_birth;
    sc.rec.arg = &birth;
    one_connection(&sc);
    check(r, sc.rec.new_calls == 1, "%s, returns %d: one call",
          version_name(version), keep);
    check(r, session_destroyed(birth) == !keep,
          "%s, returns %d: after the connection the session is %s",
          version_name(version), keep, keep ? "alive" : "destroyed");
    scene_close(&sc);
    if (!keep)
        return;
    check(r, !session_destroyed(birth),
          "%s, returns 1: alive after SSL_CTX_free", version_name(version));
    recorder_release(&sc.rec);
    check(r, session_destroyed(birth),
          "%s, returns 1: one SSL_SESSION_free destroys it",
          version_name(version));
}

static void R1_both_returns(report *r, int version)
{
    reference_of_new(r, version, 0);
    reference_of_new(r, version, 1);
}

static int some_new_cb(SSL *ssl, SSL_SESSION *s)
{
    return 0;
}

static SSL_SESSION *some_get_cb(SSL *ssl, const unsigned char *id, int len,
                                int *copy)
{
    return NULL;
}

static void some_remove_cb(SSL_CTX *ctx, SSL_SESSION *s)
{
}

/* The other three functions of the manual page. */
static void R1_getters(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_3_VERSION);

    check(r, SSL_CTX_sess_get_new_cb(ctx) == NULL
             && SSL_CTX_sess_get_get_cb(ctx) == NULL
             && SSL_CTX_sess_get_remove_cb(ctx) == NULL,
          "a new context has no callbacks");
    SSL_CTX_sess_set_new_cb(ctx, some_new_cb);
    SSL_CTX_sess_set_get_cb(ctx, some_get_cb);
    SSL_CTX_sess_set_remove_cb(ctx, some_remove_cb);
    check(r, SSL_CTX_sess_get_new_cb(ctx) == some_new_cb
             && SSL_CTX_sess_get_get_cb(ctx) == some_get_cb
             && SSL_CTX_sess_get_remove_cb(ctx) == some_remove_cb,
          "the getters return what was set");
    SSL_CTX_free(ctx);
}

static void contract_R1(report *r)
{
    R1_getters(r);
    for_each_version(r, R1_both_returns);
}

/* ---- R2: returning 0 removes nothing ------------------------------------- */

static void R2_stays_cached(report *r, int version)
{
    scene sc;
    SSL_SESSION *s;
    connection c;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    check(r, sc.rec.new_calls == 1 && SSL_CTX_sess_number(sc.server) == 1,
          "%s: new_cb returned 0, internal cache holds %ld",
          version_name(version), SSL_CTX_sess_number(sc.server));
    c = new_connection(sc.server, sc.client, s);
    check(r, handshake(&c) && SSL_session_reused(c.server)
             && sc.rec.get_calls == 0,
          "%s: resumed from the internal cache", version_name(version));
    close_cleanly(&c);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void contract_R2(report *r)
{
    for_each_version(r, R2_stays_cached);
}

/* ---- R5: the session is complete ------------------------------------------ */

static int choose_first_protocol(SSL *ssl, const unsigned char **out,
                                 unsigned char *out_len,
                                 const unsigned char *in, unsigned int in_len,
                                 void *arg)
{
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static int acknowledge_name(SSL *ssl, int *alert, void *arg)
{
    return SSL_TLSEXT_ERR_OK;
}

static void encode_first(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    der *d = rec->arg;

    if (d->bytes == NULL)
        *d = encode(s);
}

static void check_fields(report *r, int version, SSL_SESSION *s, X509 *peer)
{
    const unsigned char *alpn;
    size_t alpn_len;
    const char *name = version_name(version);
    const char *host = SSL_SESSION_get0_hostname(s);

    SSL_SESSION_get0_alpn_selected(s, &alpn, &alpn_len);
    check(r, SSL_SESSION_get0_peer(s) != NULL
             && X509_cmp(SSL_SESSION_get0_peer(s), peer) == 0,
          "%s: has the peer's certificate", name);
    check(r, host != NULL && strcmp(host, "host.example") == 0,
          "%s: has the host name", name);
    check(r, alpn_len == 2 && memcmp(alpn, "h2", 2) == 0, "%s: has the ALPN",
          name);
    check(r, SSL_SESSION_get_master_key(s, NULL, 0) > 0,
          "%s: has the master key", name);
    check(r, SSL_SESSION_get0_cipher(s) != NULL
             && SSL_SESSION_get_protocol_version(s) == version,
          "%s: has cipher and version", name);
    check(r, SSL_SESSION_get_timeout(s) == 7200, "%s: has the timeout", name);
}

static void R5_complete(report *r, int version)
{
    static const unsigned char h2[] = { 2, 'h', '2' };
    EVP_PKEY *key = new_key();
    X509 *peer = new_certificate(key, "client");
    der inside = { NULL, 0 }, later;
    scene sc;
    connection c;
    SSL_SESSION *s;

    scene_open(&sc, r, version);
    sc.rec.on_new = encode_first;
    sc.rec.arg = &inside;
    SSL_CTX_set_verify(sc.server, SSL_VERIFY_PEER, accept_any_peer);
    SSL_CTX_set_alpn_select_cb(sc.server, choose_first_protocol, NULL);
    SSL_CTX_set_tlsext_servername_callback(sc.server, acknowledge_name);
    SSL_CTX_use_certificate(sc.client, peer);
    SSL_CTX_use_PrivateKey(sc.client, key);
    c = new_connection(sc.server, sc.client, NULL);
    SSL_set_alpn_protos(c.client, h2, sizeof(h2));
    SSL_set_tlsext_host_name(c.client, "host.example");
    check(r, handshake(&c) && exchange(&c), "%s: handshake",
          version_name(version));
    s = decode(inside);
    if (check(r, s != NULL, "%s: encoded inside new_cb, it decodes",
              version_name(version)))
        check_fields(r, version, s, peer);
    later = encode(SSL_get0_session(c.server));
    check(r, same_der(inside, later),
          "%s: byte for byte the session after handshake and I/O",
          version_name(version));
    SSL_SESSION_free(s);
    free_der(&inside);
    free_der(&later);
    close_cleanly(&c);
    scene_close(&sc);
    X509_free(peer);
    EVP_PKEY_free(key);
}

static void contract_R5(report *r)
{
    for_each_version(r, R5_complete);
}

/* ---- R6: each ticket is its own object ------------------------------------ */

static void R6_own_objects(report *r)
{
    scene sc;
    connection c;
    der first, after;
    int i, n;

    scene_open_authentication(&sc, r);
    sc.rec.keep = 1;
    c = new_connection(sc.server, sc.client, NULL);
    check(r, handshake(&c) && sc.rec.kept_count == 2
             && sc.rec.kept[0] != sc.rec.kept[1],
          "two tickets, two objects");
    first = encode(sc.rec.kept[0]);
    exchange(&c);
    authenticate_later(&c);
    n = sc.rec.kept_count;
    if (check(r, n == 4, "%d sessions after post-handshake authentication", n))
        check(r, SSL_SESSION_get0_peer(sc.rec.kept[1]) == NULL
                 && SSL_SESSION_get0_peer(sc.rec.kept[3]) != NULL,
              "only the later sessions have the peer's certificate");
    for (i = 1; i < n; i++)
        check(r, !same_id(id_of(sc.rec.kept[0]), id_of(sc.rec.kept[i])),
              "session %d has an id of its own", i);
    close_abruptly(&c);
    after = encode(sc.rec.kept[0]);
    check(r, same_der(first, after),
          "the first session's encoding is unchanged at the end");
    free_der(&first);
    free_der(&after);
    scene_close(&sc);
    recorder_release(&sc.rec);
}

/* TLS 1.2 has one session; the connection's end does not change it either. */
static void R6_unchanged_12(report *r)
{
    scene sc;
    connection c;
    der first, after;

    scene_open(&sc, r, TLS1_2_VERSION);
    sc.rec.keep = 1;
    c = new_connection(sc.server, sc.client, NULL);
    handshake(&c);
    check(r, sc.rec.kept_count == 1, "TLS 1.2: one session");
    first = encode(sc.rec.kept[0]);
    exchange(&c);
    close_abruptly(&c);
    after = encode(sc.rec.kept[0]);
    check(r, same_der(first, after), "TLS 1.2: unchanged at the end");
    free_der(&first);
    free_der(&after);
    scene_close(&sc);
    recorder_release(&sc.rec);
}

static void contract_R6(report *r)
{
    R6_own_objects(r);
    R6_unchanged_12(r);
}

/* ---- R7: ex_data is copied shallowly -------------------------------------- */

/* Put on a session as ex_data; its free hook counts. */
typedef struct tag {
    int freed;
} tag;

static int shallow_index, cleared_index;

static void free_tag(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
                     long argl, void *argp)
{
    tag *t = ptr;

    if (t != NULL)
        t->freed++;
}

static int clear_copy(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from,
                      void **from_d, int idx, long argl, void *argp)
{
    *from_d = NULL;
    return 1;
}

static void make_tag_indexes(void)
{
    shallow_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL,
                                                 free_tag);
    cleared_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, clear_copy,
                                                 free_tag);
}

typedef struct tagging {
    int index;
    tag tag;
} tagging;

static void tag_first(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    tagging *t = rec->arg;

    if (rec->kept_count == 0)
        SSL_SESSION_set_ex_data(s, t->index, &t->tag);
}

/* Two tickets; the first is tagged when it is announced. */
static void tag_two_tickets(report *r, int index, int inherited, int frees)
{
    tagging t = { index, { 0 } };
    const char *hook = inherited ? "no dup hook" : "dup hook clears";
    scene sc;
    connection c;

    scene_open(&sc, r, TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(sc.server, 2);
    sc.rec.keep = 1;
    sc.rec.on_new = tag_first;
    sc.rec.arg = &t;
    c = new_connection(sc.server, sc.client, NULL);
    if (check(r, handshake(&c) && sc.rec.kept_count == 2, "%s: two tickets",
              hook))
        check(r, (SSL_SESSION_get_ex_data(sc.rec.kept[1], index) == &t.tag)
                 == inherited,
              "%s: ticket 2 %s ticket 1's pointer", hook,
              inherited ? "carries" : "does not carry");
    close_cleanly(&c);
    scene_close(&sc);
    recorder_release(&sc.rec);
    check(r, t.tag.freed == frees, "%s: the free hook ran %d times on it",
          hook, t.tag.freed);
}

static void contract_R7(report *r)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_tag_indexes);
    tag_two_tickets(r, shallow_index, 1, 2);
    tag_two_tickets(r, cleared_index, 0, 1);
}

/* ---- R8: no lock is held --------------------------------------------------- */

typedef struct inside_result {
    int held;
    int added;
    int number;
    int removed;
} inside_result;

static void use_cache(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    inside_result *res = rec->arg;
    SSL_CTX *ctx = rec->ctx;

    res->held = lock_is_held(rec->report, ctx);
    add_session(ctx, 1, (long)time(NULL), 1000);
    res->number = (int)SSL_CTX_sess_number(ctx);
    res->removed = SSL_CTX_remove_session(ctx, s);
    SSL_CTX_add_session(ctx, s);
    res->added = (int)SSL_CTX_sess_number(ctx);
    flush_sessions(ctx, (long)time(NULL));
}

static void R8_lock(report *r, int version)
{
    inside_result res = { -1, -1, -1, -1 };
    scene sc;

    scene_open(&sc, r, version);
    sc.rec.on_new = use_cache;
    sc.rec.arg = &res;
    one_connection(&sc);
    check(r, res.held == 0, "%s: the context's lock is free inside new_cb",
          version_name(version));
    check(r, res.number == 2 && res.removed == 1 && res.added == 2,
          "%s: add (%d cached), remove (returned %d) and add again (%d cached)"
          " do their work inside", version_name(version), res.number,
          res.removed, res.added);
    scene_close(&sc);
}

static void contract_R8(report *r)
{
    for_each_version(r, R8_lock);
}

/* ---- R9: insertion first, then new_cb -------------------------------------- */

typedef struct order {
    int cached;                     /* was the new session in the cache? */
    int removed_before;             /* remove_cb calls before new_cb */
} order;

static void note_order(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    order *o = rec->arg;

    o->removed_before = rec->remove_calls;
    o->cached = (int)SSL_CTX_sess_number(rec->ctx) == 1
                && !same_id(rec->removed_id, id_of(s));
}

static void R9_order(report *r, int version)
{
    order o = { -1, -1 };
    scene sc;

    scene_open(&sc, r, version);
    SSL_CTX_sess_set_cache_size(sc.server, 1);
    add_session(sc.server, 1, (long)time(NULL), 1000);
    sc.rec.on_new = note_order;
    sc.rec.arg = &o;
    one_connection(&sc);
    check(r, sc.rec.new_calls == 1 && o.removed_before == 1,
          "%s: remove_cb of the evicted session ran before new_cb",
          version_name(version));
    check(r, o.cached == 1, "%s: inside new_cb the new session is cached",
          version_name(version));
    scene_close(&sc);
}

static void contract_R9(report *r)
{
    for_each_version(r, R9_order);
}

/* ---- R10: a resumption in TLS 1.3 is a new lifetime ------------------------ */

#define LIMIT 300                   /* the context's timeout, in seconds */
#define STEP 200                    /* how much older each lookup finds them */

static const char origin[] = "origin";

/* Sessions without application data come from a full handshake. */
static void mark_origin(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    void *data;
    size_t len;

    SSL_SESSION_get0_ticket_appdata(s, &data, &len);
    if (len == 0)
        SSL_SESSION_set1_ticket_appdata(s, origin, sizeof(origin));
}

static void age_by_arg(recorder *rec, SSL_SESSION *s)
{
    set_session_time(s, session_time(s) - *(long *)rec->arg);
}

/* Offers s; its successor replaces it, and the server's view is returned. */
static attempt resume_and_follow(scene *sc, SSL_SESSION **s,
                                 SSL_SESSION **server_view)
{
    SSL_SESSION *offer = SSL_SESSION_dup(*s);
    connection c = new_connection(sc->server, sc->client, offer);
    attempt a = { 0 };

    a.completed = handshake(&c) && exchange(&c);
    a.resumed = SSL_session_reused(c.server);
    SSL_SESSION_free(*s);
    *s = SSL_get1_session(c.client);
    *server_view = SSL_get1_session(c.server);
    close_cleanly(&c);
    SSL_SESSION_free(offer);
    return a;
}

static void open_aging(scene *sc, report *r, int version, long *age)
{
    scene_open(sc, r, version);
    SSL_CTX_set_session_cache_mode(sc->server, SSL_SESS_CACHE_SERVER
                                   | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_timeout(sc->server, LIMIT);
    sc->rec.on_new = mark_origin;
    sc->rec.alter = age_by_arg;
    sc->rec.arg = age;
}

/* Three steps of 200 s each, where the limit is 300 s. */
static void R10_chain(report *r)
{
    long age = STEP, start = (long)time(NULL);
    scene sc;
    SSL_SESSION *s, *seen;
    void *data;
    size_t len;
    int step;

    open_aging(&sc, r, TLS1_3_VERSION, &age);
    s = full_handshake(sc.server, sc.client);
    for (step = 1; step <= 3; step++) {
        check(r, resume_and_follow(&sc, &s, &seen).resumed,
              "TLS 1.3: resumed %d s after the only full handshake, limit %d",
              step * STEP, LIMIT);
        check(r, session_time(seen) >= start
                 && SSL_SESSION_get_timeout(seen) == LIMIT,
              "TLS 1.3: its new session lives %d s from now", LIMIT);
        SSL_SESSION_get0_ticket_appdata(seen, &data, &len);
        check(r, len == sizeof(origin) && memcmp(data, origin, len) == 0,
              "TLS 1.3: it inherits the application data of the first");
        SSL_SESSION_free(seen);
    }
    check(r, sc.rec.new_calls == 4, "TLS 1.3: each resumption announced one");
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R10_id_expires(report *r)
{
    long age = STEP;
    scene sc;
    SSL_SESSION *s, *seen;

    open_aging(&sc, r, TLS1_2_VERSION, &age);
    s = full_handshake(sc.server, sc.client);
    check(r, resume_and_follow(&sc, &s, &seen).resumed
             && sc.rec.new_calls == 1,
          "TLS 1.2: resumed at %d s, no new session", STEP);
    SSL_SESSION_free(seen);
    age = 2 * STEP;
    check(r, !resume_and_follow(&sc, &s, &seen).resumed
             && sc.rec.remove_calls == 1,
          "TLS 1.2: expired at %d s", 2 * STEP);
    SSL_SESSION_free(seen);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void contract_R10(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_3_VERSION);

    check(r, SSL_CTX_get_timeout(ctx) == 7200, "default timeout: %ld s",
          SSL_CTX_get_timeout(ctx));
    SSL_CTX_free(ctx);
    R10_chain(r);
    R10_id_expires(r);
}

const rule new_rules[] = {
    { "R1", contract_R1, 1 },
    { "R2", contract_R2, 0 },
    { "R5", contract_R5, 0 },
    { "R6", contract_R6, 1 },
    { "R7", contract_R7, 1 },
    { "R8", contract_R8, 0 },
    { "R9", contract_R9, 0 },
    { "R10", contract_R10, 0 },
    { NULL, NULL, 0 },
};
