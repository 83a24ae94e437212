/* R29-R31: the end of an SSL_CTX. */
#include "harness.h"

#include <pthread.h>

/* What happened, in order: each event takes the next number. */
typedef struct timeline {
    int now;
    int last_remove;
    int readable;                   /* remove_cb calls that saw the ex_data */
    int ctx_hook;
    int ctx_hook_calls;
    long ctx_hook_thread;
    int ssl_hook;
} timeline;

static int ctx_timeline, ssl_timeline;

static void free_ctx_timeline(void *parent, void *ptr, CRYPTO_EX_DATA *ad,
                              int idx, long argl, void *argp)
{
    timeline *t = ptr;

    if (t == NULL)
        return;
    t->ctx_hook = ++t->now;
    t->ctx_hook_calls++;
    t->ctx_hook_thread = thread_id();
}

static void free_ssl_timeline(void *parent, void *ptr, CRYPTO_EX_DATA *ad,
                              int idx, long argl, void *argp)
{
    timeline *t = ptr;

    if (t != NULL)
        t->ssl_hook = ++t->now;
}

static void make_timeline_indexes(void)
{
    ctx_timeline = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL,
                                            free_ctx_timeline);
    ssl_timeline = SSL_get_ex_new_index(0, NULL, NULL, NULL,
                                        free_ssl_timeline);
}

static void note_remove(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    timeline *t = rec->arg;

    t->last_remove = ++t->now;
    if (SSL_CTX_get_ex_data(ctx, ctx_timeline) == t)
        t->readable++;
}

/* A scene with two tickets in TLS 1.3, watched by a timeline. */
static void open_watched(scene *sc, report *r, int version, timeline *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_timeline_indexes);
    memset(t, 0, sizeof(*t));
    scene_open(sc, r, version);
    SSL_CTX_set_num_tickets(sc->server, 2);
    SSL_CTX_set_ex_data(sc->server, ctx_timeline, t);
    sc->rec.on_remove = note_remove;
    sc->rec.arg = t;
}

static int sessions_of(int version)
{
    return version == TLS1_3_VERSION ? 2 : 1;
}

static void free_server(scene *sc)
{
    SSL_CTX_free(sc->server);
    sc->server = NULL;
}

/* ---- R29: the order --------------------------------------------------------- */

static void R29_order(report *r, int version)
{
    const char *name = version_name(version);
    timeline t;
    scene sc;

    open_watched(&sc, r, version, &t);
    SSL_SESSION_free(full_handshake(sc.server, sc.client));
    free_server(&sc);
    check(r, sc.rec.remove_calls == sessions_of(version),
          "%s: remove_cb for each of the %d cached sessions", name,
          sc.rec.remove_calls);
    check(r, t.readable == sc.rec.remove_calls,
          "%s: the context's ex_data was readable in each", name);
    check(r, t.ctx_hook_calls == 1 && t.ctx_hook > t.last_remove,
          "%s: the ex_data free hook ran %d time, as event %d after %d", name,
          t.ctx_hook_calls, t.ctx_hook, t.last_remove);
    scene_close(&sc);
}

static void contract_R29(report *r)
{
    for_each_version(r, R29_order);
}

/* ---- R30: a connection holds its context ------------------------------------ */

typedef struct ssl_end {
    SSL *ssl;
    long thread;
} ssl_end;

static void free_ssl(void *arg)
{
    ssl_end *end = arg;

    end->thread = thread_id();
    SSL_free(end->ssl);
}

static void R30_last_connection(report *r, int version)
{
    const char *name = version_name(version);
    timeline t;
    scene sc;
    connection c;
    ssl_end end;

    open_watched(&sc, r, version, &t);
    c = new_connection(sc.server, sc.client, NULL);
    handshake(&c);
    exchange(&c);
    SSL_set_ex_data(c.server, ssl_timeline, &t);
    free_server(&sc);
    check(r, sc.rec.remove_calls == 0 && t.ctx_hook_calls == 0,
          "%s: SSL_CTX_free with a live SSL does nothing", name);
    check(r, exchange(&c), "%s: the connection goes on", name);
    SSL_shutdown(c.server);
    SSL_free(c.client);
    end.ssl = c.server;
    join_thread(start_thread(r, free_ssl, &end));
    check(r, sc.rec.remove_calls == sessions_of(version)
             && t.ctx_hook_calls == 1,
          "%s: the last SSL_free calls remove_cb (%d) and the hook (%d)", name,
          sc.rec.remove_calls, t.ctx_hook_calls);
    check(r, end.thread != thread_id() && end.thread == t.ctx_hook_thread
             && end.thread == sc.rec.removed_thread,
          "%s: on the thread of that SSL_free", name);
    check(r, t.ssl_hook > 0 && t.ssl_hook < t.last_remove
             && t.ssl_hook < t.ctx_hook,
          "%s: the SSL's own hook ran before them", name);
    scene_close(&sc);
}

static void contract_R30(report *r)
{
    for_each_version(r, R30_last_connection);
}

/* ---- R31: silence, and what outlives the context ----------------------------- */

static void R31_silent(report *r, int version)
{
    timeline t;
    scene sc;

    open_watched(&sc, r, version, &t);
    SSL_SESSION_free(full_handshake(sc.server, sc.client));
    SSL_CTX_sess_set_remove_cb(sc.server, NULL);
    free_server(&sc);
    check(r, sc.rec.remove_calls == 0 && t.ctx_hook_calls == 1,
          "%s: remove_cb taken back before SSL_CTX_free: %d calls, the hook"
          " runs", version_name(version), sc.rec.remove_calls);
    scene_close(&sc);
}

static void R31_orphan(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    SSL_SESSION *s;

    scene_open(&sc, r, version);
    sc.rec.keep = 1;
    SSL_SESSION_free(full_handshake(sc.server, sc.client));
    s = sc.rec.kept[0];
    check(r, SSL_SESSION_is_resumable(s), "%s: resumable while cached", name);
    scene_close(&sc);
    check(r, id_of(s).len == 32 && !SSL_SESSION_is_resumable(s),
          "%s: it outlives its context, not resumable any more", name);
    check(r, SSL_SESSION_set_timeout(s, 77) == 1
             && SSL_SESSION_get_timeout(s) == 77,
          "%s: SSL_SESSION_set_timeout does not touch the dead context", name);
    recorder_release(&sc.rec);
}

static void contract_R31(report *r)
{
    for_each_version(r, R31_silent);
    for_each_version(r, R31_orphan);
}

const rule ctx_rules[] = {
    { "R29", contract_R29, 0 },
    { "R30", contract_R30, 0 },
    { "R31", contract_R31, 1 },
    { NULL, NULL, 0 },
};
