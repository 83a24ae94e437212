/* R56 to R59: the error queue, and an SSL that moves between threads. */
#include "harness.h"

/* Any entry will do: it stands for what somebody left in the queue. */
static void leave_entry(void)
{
    ERR_raise(ERR_LIB_USER, 1);
}

static int queue_is_empty(void)
{
    return ERR_peek_error() == 0;
}

/* One byte is asked for; returns what SSL_get_error makes of the result. */
static int read_error(SSL *ssl)
{
    char byte;
    int result = SSL_read(ssl, &byte, 1);

    return SSL_get_error(ssl, result);
}

static int step_error(SSL *ssl)
{
    int result = SSL_do_handshake(ssl);

    return SSL_get_error(ssl, result);
}

/* A connection that is through its handshake, with nothing left to read. */
static connection established(report *r, scene *sc)
{
    connection c = new_connection(sc->server, sc->client, NULL);

    check(r, handshake(&c) && exchange(&c), "%s: a full handshake",
          version_name(sc->version));
    return c;
}

/*
 * What SSL_get_error says of a call that waits when the thread's queue has an
 * entry of somebody else. Since 4.0 it does not look at the queue.
 */
static int with_entry(int waits)
{
    return OpenSSL_version_num() >= 0x40000000L ? waits : SSL_ERROR_SSL;
}

/* ---- R56 ---- */

/* What another thread sees of a call that was made here. */
typedef struct elsewhere {
    SSL *ssl;
    int result;
    int error;
    int queue_empty;
} elsewhere;

static void look_elsewhere(void *arg)
{
    elsewhere *e = arg;

    e->queue_empty = queue_is_empty();
    e->error = SSL_get_error(e->ssl, e->result);
}

static void read_error_elsewhere(report *r, int version)
{
    const char *name = version_name(version);
    elsewhere e = { 0 };
    connection c;
    scene sc;
    char byte;

    scene_open(&sc, r, version);
    c = established(r, &sc);
    inject_bad_record(c.client);
    ERR_clear_error();
    e.ssl = c.server;
    e.result = SSL_read(c.server, &byte, 1);
    join_thread(start_thread(r, look_elsewhere, &e));
    check(r,
          !queue_is_empty()
              && SSL_get_error(c.server, e.result) == SSL_ERROR_SSL,
          "%s: the thread of the call sees SSL_ERROR_SSL and its reason", name);
    check(r, e.queue_empty, "%s: another thread's queue is empty", name);
    check(r, e.error == (OpenSSL_version_num() >= 0x40000000L ? SSL_ERROR_SSL : SSL_ERROR_SYSCALL),
          "%s: and SSL_get_error there says %d", name, e.error);
    close_abruptly(&c);
    scene_close(&sc);
}

static void contract_R56(report *r)
{
    for_each_version(r, read_error_elsewhere);
}

/* ---- R57 ---- */

static void call_with_stale_entry(report *r, int version)
{
    const char *name = version_name(version);
    connection c;
    scene sc;
    int result, error;

    scene_open(&sc, r, version);
    c = new_connection(sc.server, sc.client, NULL);
    leave_entry();
    error = step_error(c.client);
    check(r, error == SSL_ERROR_WANT_READ && queue_is_empty(),
          "%s: a running handshake clears the queue itself, got %d", name,
          error);
    check(r, handshake(&c) && exchange(&c), "%s: a full handshake", name);

    leave_entry();
    error = read_error(c.server);
    check(r, error == with_entry(SSL_ERROR_WANT_READ),
          "%s: a stale entry makes SSL_read's WANT_READ %d", name, error);
    ERR_clear_error();
    error = read_error(c.server);
    check(r, error == SSL_ERROR_WANT_READ,
          "%s: after ERR_clear_error it is WANT_READ, got %d", name, error);

    check(r, SSL_shutdown(c.server) == 0, "%s: close_notify is sent", name);
    leave_entry();
    result = SSL_shutdown(c.server);
    error = SSL_get_error(c.server, result);
    check(r, error == with_entry(SSL_ERROR_WANT_READ),
          "%s: and that of an SSL_shutdown that waits for the peer %d",
          name, error);
    ERR_clear_error();
    result = SSL_shutdown(c.server);
    error = SSL_get_error(c.server, result);
    check(r, error == SSL_ERROR_WANT_READ,
          "%s: after ERR_clear_error it is WANT_READ, got %d", name, error);
    close_abruptly(&c);
    scene_close(&sc);
}

static void contract_R57(report *r)
{
    for_each_version(r, call_with_stale_entry);
}

/* ---- R58 ---- */

static SSL_SESSION *decode_junk(void)
{
    static const unsigned char junk[] = { 0x30, 0x05, 0x01, 0x02 };
    const unsigned char *p = junk;

    return d2i_SSL_SESSION(NULL, &p, sizeof(junk));
}

/* Tries bytes that are no session, then finds the right ones. */
static SSL_SESSION *find_leaving_entry(recorder *rec, SSL *ssl, session_id id)
{
    SSL_SESSION_free(decode_junk());
    return store_get(rec->store, id.bytes, id.len);
}

static SSL_SESSION *find_with_mark(recorder *rec, SSL *ssl, session_id id)
{
    SSL_SESSION *s;

    ERR_set_mark();
    s = find_leaving_entry(rec, ssl, id);
    ERR_pop_to_mark();
    return s;
}

/* The step in which get_cb runs: the server then waits for the client. */
static int error_of_get_step(scene *sc, SSL_SESSION *session,
                             SSL_SESSION *(*find)(recorder *, SSL *,
                                                  session_id))
{
    SSL_SESSION *offer = SSL_SESSION_dup(session);
    connection c = new_connection(sc->server, sc->client, offer);
    int error;

    sc->rec.on_get = find;
    recorder_clear(&sc->rec);
    SSL_do_handshake(c.client);
    ERR_clear_error();
    error = step_error(c.server);
    check(sc->rec.report,
          sc->rec.get_calls == 1 && handshake(&c)
              && SSL_session_reused(c.server),
          "%s: get_cb hits and the handshake is in order",
          version_name(sc->version));
    close_cleanly(&c);
    SSL_SESSION_free(offer);
    return error;
}

static void leave_entry_in_get(report *r, int version)
{
    const char *name = version_name(version);
    SSL_SESSION *session;
    scene sc;
    int error;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_cache_mode(
        sc.server, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    session = full_handshake(sc.server, sc.client);
    error = error_of_get_step(&sc, session, find_leaving_entry);
    check(r, error == with_entry(SSL_ERROR_WANT_READ),
          "%s: an entry left by get_cb makes WANT_READ %d", name, error);
    error = error_of_get_step(&sc, session, find_with_mark);
    check(r, error == SSL_ERROR_WANT_READ,
          "%s: between ERR_set_mark and ERR_pop_to_mark it stays WANT_READ,"
          " got %d",
          name, error);
    SSL_SESSION_free(session);
    scene_close(&sc);
}

static int retry_leaving_entry(SSL *ssl, int *alert, void *arg)
{
    int *leave = arg;

    if (*leave)
        leave_entry();
    return SSL_CLIENT_HELLO_RETRY;
}

static void leave_entry_in_hello(report *r, int version)
{
    connection c;
    scene sc;
    int leave, error;

    scene_open(&sc, r, version);
    SSL_CTX_set_client_hello_cb(sc.server, retry_leaving_entry, &leave);
    c = new_connection(sc.server, sc.client, NULL);
    SSL_do_handshake(c.client);
    for (leave = 0; leave <= 1; leave++) {
        int expected = leave ? with_entry(SSL_ERROR_WANT_CLIENT_HELLO_CB)
                             : SSL_ERROR_WANT_CLIENT_HELLO_CB;

        ERR_clear_error();
        error = step_error(c.server);
        check(r, error == expected,
              "%s: the ClientHello callback retries and leaves %s entry: %d",
              version_name(version), leave ? "an" : "no", error);
    }
    close_abruptly(&c);
    scene_close(&sc);
}

static void leave_entry_in_callback(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    leave_entry();
}

/* Drives the server alone to its end, with the client's help in between. */
static int server_completes(connection *c)
{
    int i;

    for (i = 0; i < 20; i++) {
        SSL_do_handshake(c->client);
        ERR_clear_error();
        if (SSL_do_handshake(c->server) == 1)
            return 1;
    }
    return 0;
}

static void leave_entry_in_new(report *r, int version)
{
    const char *name = version_name(version);
    connection c;
    scene sc;
    int error;

    scene_open(&sc, r, version);
    sc.rec.on_new = leave_entry_in_callback;
    c = new_connection(sc.server, sc.client, NULL);
    check(r, server_completes(&c) && sc.rec.new_calls == 1,
          "%s: new_cb ran in a handshake that succeeded", name);
    check(r, !queue_is_empty(), "%s: its entry is still in the queue", name);
    error = read_error(c.server);
    check(r, error == with_entry(SSL_ERROR_WANT_READ),
          "%s: and makes the next SSL_read's WANT_READ %d", name, error);
    close_abruptly(&c);
    scene_close(&sc);
}

static void clear_queue(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    ERR_clear_error();
}

static void work_with_mark(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    ERR_set_mark();
    leave_entry();
    ERR_pop_to_mark();
}

/* The caller's own entries, across an SSL_free that calls remove_cb. */
static void keep_callers_entry(scene *sc, const char *what, int kept,
                               void (*on_remove)(recorder *, SSL_CTX *,
                                                 SSL_SESSION *))
{
    report *r = sc->rec.report;
    connection c = established(r, sc);
    int removed;

    sc->rec.on_remove = on_remove;
    recorder_clear(&sc->rec);
    SSL_free(c.client);
    ERR_clear_error();
    leave_entry();
    SSL_free(c.server);
    removed = sc->rec.remove_calls;
    check(r, removed == 1 && queue_is_empty() == !kept,
          "%s: a remove_cb that %s %s the caller's entry",
          version_name(sc->version), what, kept ? "keeps" : "wipes");
    ERR_clear_error();
}

/* The entry that the library itself makes, just before it calls remove_cb. */
static void lose_librarys_entry(scene *sc)
{
    report *r = sc->rec.report;
    connection c = established(r, sc);
    int error;

    sc->rec.on_remove = clear_queue;
    recorder_clear(&sc->rec);
    inject_bad_record(c.client);
    ERR_clear_error();
    error = read_error(c.server);
    check(r, sc->rec.remove_calls == 1 && error != SSL_ERROR_SSL,
          "%s: ERR_clear_error in remove_cb hides a fatal error, got %d",
          version_name(sc->version), error);
    close_abruptly(&c);
}

static void clear_in_remove(report *r, int version)
{
    scene sc;

    scene_open(&sc, r, version);
    keep_callers_entry(&sc, "calls ERR_clear_error", 0, clear_queue);
    keep_callers_entry(&sc, "sets a mark", 1, work_with_mark);
    lose_librarys_entry(&sc);
    scene_close(&sc);
}

static void contract_R58(report *r)
{
    for_each_version(r, leave_entry_in_get);
    for_each_version(r, leave_entry_in_hello);
    for_each_version(r, leave_entry_in_new);
    for_each_version(r, clear_in_remove);
}

/* ---- R59 ---- */

typedef struct one_call {
    int (*call)(SSL *ssl);
    SSL *ssl;
    int result;
    long thread;
} one_call;

static void make_call(void *arg)
{
    one_call *o = arg;

    ERR_clear_error();
    o->thread = thread_id();
    o->result = o->call(o->ssl);
}

/* The SSLs of this rule carry its report. */
static int call_on_new_thread(SSL *ssl, int (*call)(SSL *))
{
    one_call o = { call, ssl, 0, 0 };

    join_thread(start_thread(SSL_get_app_data(ssl), make_call, &o));
    return o.result;
}

static int step_on_new_thread(SSL *ssl)
{
    return call_on_new_thread(ssl, SSL_do_handshake);
}

static int write_byte(SSL *ssl)
{
    return SSL_write(ssl, "x", 1);
}

static int read_byte(SSL *ssl)
{
    char byte;

    return SSL_read(ssl, &byte, 1);
}

static int free_ssl(SSL *ssl)
{
    SSL_free(ssl);
    return 1;
}

static connection moving_connection(report *r, scene *sc, SSL_SESSION *offer)
{
    connection c = new_connection(sc->server, sc->client, offer);

    c.drive = step_on_new_thread;
    SSL_set_app_data(c.server, r);
    SSL_set_app_data(c.client, r);
    return c;
}

static int moving_exchange(connection *c)
{
    return call_on_new_thread(c->server, write_byte) == 1
        && call_on_new_thread(c->client, read_byte) == 1
        && call_on_new_thread(c->client, write_byte) == 1
        && call_on_new_thread(c->server, read_byte) == 1;
}

static void moving_close(connection *c)
{
    call_on_new_thread(c->server, SSL_shutdown);
    call_on_new_thread(c->client, SSL_shutdown);
    call_on_new_thread(c->server, free_ssl);
    call_on_new_thread(c->client, free_ssl);
}

/* Each call on a thread that did not exist before it. */
static void move_between_calls(report *r, int version)
{
    const char *name = version_name(version);
    SSL_SESSION *session;
    connection c;
    scene sc;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_cache_mode(
        sc.server, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    c = moving_connection(r, &sc, NULL);
    check(r, handshake(&c) && sc.rec.new_calls == 1,
          "%s: a full handshake, each step on a new thread", name);
    check(r, moving_exchange(&c), "%s: data likewise", name);
    session = SSL_get1_session(c.client);
    moving_close(&c);

    c = moving_connection(r, &sc, session);
    check(r,
          handshake(&c) && SSL_session_reused(c.server)
              && sc.rec.get_calls == 1,
          "%s: a resumption likewise", name);
    check(r, moving_exchange(&c), "%s: and its data", name);
    moving_close(&c);
    check(r, sc.rec.remove_calls == 0, "%s: the session has not been removed",
          name);
    SSL_SESSION_free(session);
    scene_close(&sc);
}

static void contract_R59(report *r)
{
    for_each_version(r, move_between_calls);
}

const rule errors_rules[] = { { "R56", contract_R56, 0 },
                              { "R57", contract_R57, 0 },
                              { "R58", contract_R58, 0 },
                              { "R59", contract_R59, 0 },
                              { NULL, NULL, 0 } };
