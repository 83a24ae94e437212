/* R60 to R62: callbacks and threads. */
#include "harness.h"

#include <pthread.h>

/* ---- R60 ---- */

#define CROWD 4
#define PATIENCE_SECONDS 20

/*
 * Callbacks of one context meet here: each waits until all are inside, or gives
 * up when they do not come.
 */
typedef struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t all_here;
    int inside;
    int most;
} meeting;

static void meet(meeting *m)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_SECONDS;
    pthread_mutex_lock(&m->mutex);
    if (++m->inside > m->most)
        m->most = m->inside;
    if (m->most == CROWD)
        pthread_cond_broadcast(&m->all_here);
    while (m->most < CROWD)
        if (pthread_cond_timedwait(&m->all_here, &m->mutex, &limit) != 0)
            break;
    m->inside--;
    pthread_mutex_unlock(&m->mutex);
}

/* The same callbacks as the harness's, but for several threads at once. */
typedef enum { MEET_NOWHERE, MEET_IN_NEW, MEET_IN_GET, MEET_IN_REMOVE } where;

typedef struct place_of_meeting {
    meeting meeting;
    where where;
    store *store;
    SSL_CTX *server;
    SSL_CTX *client;
    SSL_SESSION *session;
    int completed; /* atomic */
} place_of_meeting;

static int new_and_meet(SSL *ssl, SSL_SESSION *s)
{
    place_of_meeting *p = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (p->where == MEET_IN_NEW)
        meet(&p->meeting);
    store_put(p->store, s);
    return 0;
}

static SSL_SESSION *get_and_meet(SSL *ssl, const unsigned char *id, int len,
                                 int *copy)
{
    place_of_meeting *p = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    *copy = 0;
    if (p->where == MEET_IN_GET)
        meet(&p->meeting);
    return store_get(p->store, id, (size_t)len);
}

static void remove_and_meet(SSL_CTX *ctx, SSL_SESSION *s)
{
    place_of_meeting *p = SSL_CTX_get_app_data(ctx);

    if (p->where == MEET_IN_REMOVE)
        meet(&p->meeting);
}

/* One connection of its thread. */
static void connect_once(void *arg)
{
    place_of_meeting *p = arg;
    SSL_SESSION *offer =
        p->where == MEET_IN_GET ? SSL_SESSION_dup(p->session) : NULL;
    connection c = new_connection(p->server, p->client, offer);

    if (handshake(&c) && SSL_session_reused(c.server) == (offer != NULL))
        __atomic_add_fetch(&p->completed, 1, __ATOMIC_SEQ_CST);
    if (p->where == MEET_IN_REMOVE)
        close_abruptly(&c);
    else
        close_cleanly(&c);
    SSL_SESSION_free(offer);
}

static void check_meeting(report *r, place_of_meeting *p, int version,
                          where where, const char *callback)
{
    rule_thread *threads[CROWD];
    int i;

    p->where = where;
    p->meeting.inside = p->meeting.most = 0;
    p->completed = 0;
    for (i = 0; i < CROWD; i++)
        threads[i] = start_thread(r, connect_once, p);
    for (i = 0; i < CROWD; i++)
        join_thread(threads[i]);
    check(r, p->meeting.most == CROWD && p->completed == CROWD,
          "%s: %d threads at once inside %s of one context",
          version_name(version), p->meeting.most, callback);
    p->where = MEET_NOWHERE;
}

static void meet_in_callbacks(report *r, int version)
{
    place_of_meeting p = { .meeting = { .mutex = PTHREAD_MUTEX_INITIALIZER,
                                        .all_here =
                                            PTHREAD_COND_INITIALIZER } };

    p.store = store_new();
    p.server = new_stateful_server(version);
    p.client = new_client(version, version);
    SSL_CTX_set_app_data(p.server, &p);
    SSL_CTX_set_session_cache_mode(
        p.server, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(p.server, new_and_meet);
    SSL_CTX_sess_set_get_cb(p.server, get_and_meet);
    SSL_CTX_sess_set_remove_cb(p.server, remove_and_meet);
    p.session = full_handshake(p.server, p.client);

    check_meeting(r, &p, version, MEET_IN_NEW, "new_cb");
    check_meeting(r, &p, version, MEET_IN_GET, "get_cb");
    check_meeting(r, &p, version, MEET_IN_REMOVE, "remove_cb without the lock");

    SSL_SESSION_free(p.session);
    SSL_CTX_free(p.client);
    SSL_CTX_free(p.server);
    store_free(p.store);
}

/* What other threads do with the cache while remove_cb runs. */
typedef struct cache_user {
    const char *what;
    void (*use)(void *arg); /* arg is the scene */
    rule_thread *thread;
    int finished; /* before remove_cb returned */
} cache_user;

static void use_by_flush(void *arg)
{
    flush_sessions(((scene *)arg)->server, 1);
}

static void use_by_add(void *arg)
{
    add_session(((scene *)arg)->server, 'a', (long)time(NULL), 1000);
}

static void use_by_remove(void *arg)
{
    SSL_SESSION *s = new_session('r', (long)time(NULL), 1000);

    SSL_CTX_remove_session(((scene *)arg)->server, s);
    SSL_SESSION_free(s);
}

/* A handshake by itself: its session enters the cache. */
static void use_by_handshake(void *arg)
{
    scene *sc = arg;
    connection c = new_connection(sc->server, sc->client, NULL);

    handshake(&c);
    close_cleanly(&c);
}

#define CACHE_USERS 4

typedef struct stall {
    scene scene;
    cache_user users[CACHE_USERS];
    int started;
} stall;

static void start_cache_users(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    stall *st = rec->arg;
    int i;

    if (st->started)
        return;
    st->started = 1;
    for (i = 0; i < CACHE_USERS; i++)
        st->users[i].thread =
            start_thread(rec->report, st->users[i].use, &st->scene);
    for (i = 0; i < CACHE_USERS; i++)
        st->users[i].finished = thread_finishes(st->users[i].thread);
}

static void stall_open(stall *st, report *r, int version)
{
    static const cache_user users[CACHE_USERS] = {
        { "SSL_CTX_flush_sessions", use_by_flush, NULL, 0 },
        { "SSL_CTX_add_session", use_by_add, NULL, 0 },
        { "SSL_CTX_remove_session", use_by_remove, NULL, 0 },
        { "a handshake", use_by_handshake, NULL, 0 },
    };

    memset(st, 0, sizeof(*st));
    scene_open(&st->scene, r, version);
    memcpy(st->users, users, sizeof(users));
    st->scene.rec.arg = st;
    st->scene.rec.on_remove = start_cache_users;
}

static void stall_close(stall *st, int must_finish, const char *where)
{
    report *r = st->scene.rec.report;
    const char *name = version_name(st->scene.version);
    int i;

    if (check(r, st->started, "%s: remove_cb ran in %s", name, where))
        for (i = 0; i < CACHE_USERS; i++) {
            join_thread(st->users[i].thread);
            check(r, st->users[i].finished == must_finish,
                  "%s: meanwhile %s of another thread %s", name,
                  st->users[i].what, must_finish ? "finishes" : "waits");
        }
    st->scene.rec.on_remove = NULL;
    scene_close(&st->scene);
}

static void stall_cache_users(report *r, int version)
{
    connection c;
    stall st;

    stall_open(&st, r, version);
    add_session(st.scene.server, 'x', (long)time(NULL), 1000);
    flush_sessions(st.scene.server, 0);
    stall_close(&st, !removes_under_lock(r), "SSL_CTX_flush_sessions");

    stall_open(&st, r, version);
    c = new_connection(st.scene.server, st.scene.client, NULL);
    check(r, handshake(&c), "%s: a full handshake", version_name(version));
    close_abruptly(&c);
    stall_close(&st, 1, "SSL_free");
}

static void contract_R60(report *r)
{
    for_each_version(r, meet_in_callbacks);
    for_each_version(r, stall_cache_users);
}

/* ---- R61 ---- */

/* The threads on which the three callbacks of one session ran. */
typedef struct thread_log {
    scene scene;
    SSL_SESSION *session;
    long caller;
    long in_new, in_get, in_remove;
    int still_called; /* callbacks that ran before the call had ended */
    int calling;
} thread_log;

static void log_new(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    thread_log *log = rec->arg;

    log->in_new = thread_id();
    log->still_called += log->calling;
}

static SSL_SESSION *log_get(recorder *rec, SSL *ssl, session_id id)
{
    thread_log *log = rec->arg;

    log->in_get = thread_id();
    log->still_called += log->calling;
    return store_get(rec->store, id.bytes, id.len);
}

static void log_remove(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    thread_log *log = rec->arg;

    log->in_remove = thread_id();
    log->still_called += log->calling;
}

static void call_library(void *arg)
{
    thread_log *log = arg;
    SSL_SESSION *offer;
    connection c;

    log->caller = thread_id();
    log->calling = 1;
    log->session = full_handshake(log->scene.server, log->scene.client);
    offer = SSL_SESSION_dup(log->session);
    /* The resumption makes no other ticket, so new_cb ran once. */
    SSL_CTX_set_num_tickets(log->scene.server, 0);
    c = new_connection(log->scene.server, log->scene.client, offer);
    handshake(&c);
    close_abruptly(&c);
    SSL_SESSION_free(offer);
    log->calling = 0;
}

static void stay_on_callers_thread(report *r, int version)
{
    const char *name = version_name(version);
    thread_log log;

    memset(&log, 0, sizeof(log));
    scene_open(&log.scene, r, version);
    SSL_CTX_set_session_cache_mode(
        log.scene.server, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    log.scene.rec.arg = &log;
    log.scene.rec.on_new = log_new;
    log.scene.rec.on_get = log_get;
    log.scene.rec.on_remove = log_remove;
    join_thread(start_thread(r, call_library, &log));
    check(r, log.caller != thread_id() && log.in_new == log.caller,
          "%s: new_cb runs on the thread of the library call", name);
    check(r, log.in_get == log.caller, "%s: so does get_cb", name);
    check(r, log.in_remove == log.caller, "%s: so does remove_cb", name);
    check(r, log.still_called == 3,
          "%s: each of the three ends before that call does", name);
    log.scene.rec.on_remove = NULL;
    SSL_SESSION_free(log.session);
    scene_close(&log.scene);
}

static void contract_R61(report *r)
{
    for_each_version(r, stay_on_callers_thread);
}

/* ---- R62 ---- */

/*
 * The library keeps no copy of a callback's pointer: it reads the context's at
 * the moment of the call. So a change reaches SSLs that exist, on any thread.
 */
static void change_callback_of_live_ssl(report *r, int version)
{
    const char *name = version_name(version);
    int (*callback)(SSL *, SSL_SESSION *);
    connection before, after;
    scene sc;

    scene_open(&sc, r, version);
    callback = SSL_CTX_sess_get_new_cb(sc.server);
    before = new_connection(sc.server, sc.client, NULL);
    SSL_CTX_sess_set_new_cb(sc.server, NULL);
    check(r, handshake(&before) && sc.rec.new_calls == 0,
          "%s: a callback taken back after SSL_new is not called", name);
    close_cleanly(&before);

    after = new_connection(sc.server, sc.client, NULL);
    SSL_CTX_sess_set_new_cb(sc.server, callback);
    check(r, handshake(&after) && sc.rec.new_calls == 1,
          "%s: a callback set after SSL_new is called", name);
    close_cleanly(&after);
    scene_close(&sc);
}

/* The safe way: callbacks set once, what they do behind a handle. */
typedef struct handle {
    int *counter; /* atomic: where a new session is counted */
    int first, second;
    int stop; /* atomic */
    int switches;
    int completed; /* atomic */
    SSL_CTX *server;
    SSL_CTX *client;
} handle;

#define LOAD_THREADS 3
#define LOAD_HANDSHAKES 20

static int count_by_handle(SSL *ssl, SSL_SESSION *s)
{
    handle *h = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    int *counter = __atomic_load_n(&h->counter, __ATOMIC_SEQ_CST);

    if (counter != NULL)
        __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void switch_counter(void *arg)
{
    struct timespec pause = { 0, 100000 };
    handle *h = arg;

    while (!__atomic_load_n(&h->stop, __ATOMIC_SEQ_CST)) {
        int *counter = h->switches++ % 2 == 0 ? &h->second : &h->first;

        __atomic_store_n(&h->counter, counter, __ATOMIC_SEQ_CST);
        nanosleep(&pause, NULL);
    }
}

static void handshake_repeatedly(void *arg)
{
    handle *h = arg;
    int i;

    for (i = 0; i < LOAD_HANDSHAKES; i++) {
        connection c = new_connection(h->server, h->client, NULL);

        if (handshake(&c))
            __atomic_add_fetch(&h->completed, 1, __ATOMIC_SEQ_CST);
        close_cleanly(&c);
    }
}

static void change_behind_handle(report *r, int version)
{
    const char *name = version_name(version);
    rule_thread *switcher, *load[LOAD_THREADS];
    handle h;
    int i;

    memset(&h, 0, sizeof(h));
    h.counter = &h.first;
    h.server = new_stateful_server(version);
    h.client = new_client(version, version);
    SSL_CTX_set_app_data(h.server, &h);
    SSL_CTX_sess_set_new_cb(h.server, count_by_handle);
    switcher = start_thread(r, switch_counter, &h);
    for (i = 0; i < LOAD_THREADS; i++)
        load[i] = start_thread(r, handshake_repeatedly, &h);
    for (i = 0; i < LOAD_THREADS; i++)
        join_thread(load[i]);
    __atomic_store_n(&h.stop, 1, __ATOMIC_SEQ_CST);
    join_thread(switcher);
    check(r, h.completed == LOAD_THREADS * LOAD_HANDSHAKES && h.switches > 0,
          "%s: %d handshakes while the handle changed %d times", name,
          h.completed, h.switches);
    check(r, h.first + h.second == h.completed,
          "%s: each session was counted once, by the one or the other: %d + %d",
          name, h.first, h.second);
    SSL_CTX_free(h.client);
    SSL_CTX_free(h.server);
}

static void contract_R62(report *r)
{
    for_each_version(r, change_callback_of_live_ssl);
    for_each_version(r, change_behind_handle);
}

const rule threads_rules[] = { { "R60", contract_R60, 0 },
                               { "R61", contract_R61, 0 },
                               { "R62", contract_R62, 0 },
                               { NULL, NULL, 0 } };
