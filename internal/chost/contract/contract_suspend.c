/* R34, R36, R37, R40: lookups while the handshake is suspended. */
#include "park.h"

/* ---- R34 ---- */

/* Calls once and checks that the server stopped in its ClientHello callback. */
static void check_suspended(report *r, int (*call)(SSL *), SSL *server,
                            const char *what, int version)
{
    int result, error;

    ERR_clear_error();
    result = call(server);
    error = SSL_get_error(server, result);
    check(r, result == -1, "%s: %s returns -1, got %d", version_name(version),
          what, result);
    check(r, error == SSL_ERROR_WANT_CLIENT_HELLO_CB,
          "%s: SSL_get_error is SSL_ERROR_WANT_CLIENT_HELLO_CB, got %d",
          version_name(version), error);
    check(r, SSL_want(server) == SSL_CLIENT_HELLO_CB, "%s: SSL_want agrees",
          version_name(version));
    check(r, ERR_peek_error() == 0, "%s: the error queue is empty",
          version_name(version));
}

static void step_server(void *arg)
{
    ERR_clear_error();
    SSL_do_handshake(arg);
}

static void suspend_and_resume(report *r, int version)
{
    const char *name = version_name(version);
    SSL_CTX *client = new_client(version, version);
    SSL_SESSION *session;
    connection c;
    rule_thread *thread;
    unsigned long served;
    park p;

    park_start(&p, r, new_stateful_server(version));
    session = full_handshake(p.ctx, client);
    check(r, session != NULL && p.hello_calls == 1 && p.suspensions == 0,
          "%s: a client that offers nothing is not suspended", name);

    c = parked_connection(&p, client, session);
    SSL_do_handshake(c.client);
    check_suspended(r, SSL_accept, c.server, "SSL_accept", version);
    check(r, p.rec.get_calls == 0, "%s: get_cb has not run", name);
    check_suspended(r, SSL_do_handshake, c.server, "a retry before the answer",
                    version);
    check(r, p.hello_calls == 2 && p.rec.get_calls == 0,
          "%s: that retry only ran the ClientHello callback again", name);

    answer_lookup(c.server, &p);
    thread = start_thread(r, step_server, c.server);
    join_thread(thread);
    served = p.rec.got_birth;
    check(r, p.hello_calls == 3 && p.rec.get_calls == 1 && served != 0,
          "%s: after the answer the callback runs again and get_cb serves",
          name);
    check(r, p.get_thread != 0 && p.get_thread != thread_id(),
          "%s: the retry ran on another thread", name);
    check(r, handshake(&c) && resumed(&c), "%s: the session is resumed", name);
    check(r, exchange(&c), "%s: data flows both ways", name);
    close_cleanly(&c);
    check(r, session_destroyed(served),
          "%s: the object served with copy=0 is gone", name);
    check(r, p.lookups_alive == 0, "%s: so is the lookup", name);

    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

/* Sends early data on a ticket; the server reads it in two calls. */
static void read_early_data_suspended(report *r, park *p, SSL_CTX *client,
                                      SSL_SESSION *session, int ticket_is_there)
{
    connection c = parked_connection(p, client, session);
    char data[16];
    size_t n = 0;
    int result, error;

    check(r, SSL_write_early_data(c.client, "early", 5, &n),
          "the client sends early data");
    ERR_clear_error();
    result = SSL_read_early_data(c.server, data, sizeof(data), &n);
    error = SSL_get_error(c.server, 0);
    check(r,
          result == SSL_READ_EARLY_DATA_ERROR
              && error == SSL_ERROR_WANT_CLIENT_HELLO_CB,
          "SSL_read_early_data gives its ERROR code and SSL_get_error the"
          " suspension, got %d and %d",
          result, error);

    answer_lookup(c.server, p);
    ERR_clear_error();
    n = 0;
    result = SSL_read_early_data(c.server, data, sizeof(data), &n);
    if (ticket_is_there)
        check(r,
              result == SSL_READ_EARLY_DATA_SUCCESS && n == 5
                  && memcmp(data, "early", 5) == 0,
              "called again, it delivers the data, got %d and %zu bytes",
              result, n);
    else
        check(r,
              result != SSL_READ_EARLY_DATA_SUCCESS
                  && SSL_get_early_data_status(c.server)
                      == SSL_EARLY_DATA_REJECTED,
              "a ticket that was taken before gives no early data, got %d",
              result);
    close_abruptly(&c);
}

static void suspend_early_data(report *r)
{
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_SESSION *session;
    park p;

    park_start(&p, r, new_stateful_server(TLS1_3_VERSION));
    p.take = 1;
    SSL_CTX_set_max_early_data(p.ctx, 1024);
    SSL_CTX_set_recv_max_early_data(p.ctx, 1024);
    SSL_CTX_set_options(p.ctx, SSL_OP_NO_ANTI_REPLAY);
    session = full_handshake(p.ctx, client);
    read_early_data_suspended(r, &p, client, session, 1);
    read_early_data_suspended(r, &p, client, session, 0);
    check(r, p.lookups_alive == 0, "no lookup is left");
    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

static void contract_R34(report *r)
{
    for_each_version(r, suspend_and_resume);
    suspend_early_data(r);
}

/* ---- R36 ---- */

typedef struct retry_case {
    const char *what;
    answer_form form;
    int anti_replay;
    int resumes;
} retry_case;

static const retry_case retry_cases[] = {
    { "bytes decoded for each call", KEEP_BYTES, 0, 1 },
    { "an object handed over on the first call", GIVE_OBJECT, 0, 0 },
    { "one object with a reference for each call", SHARE_OBJECT, 0, 1 },
    { "anti-replay, bytes decoded for each call", KEEP_BYTES, 1, 1 },
    { "anti-replay, one object with a reference for each call", SHARE_OBJECT, 1,
      0 },
};

/* From here on the client guesses the wrong group: HelloRetryRequest. */
static void force_hello_retry(SSL_CTX *server, SSL_CTX *client)
{
    SSL_CTX_set1_groups_list(client, "P-256:X25519");
    SSL_CTX_set1_groups_list(server, "X25519");
}

static void allow_early_data_with_anti_replay(SSL_CTX *ctx)
{
    SSL_CTX_set_max_early_data(ctx, 1024);
    SSL_CTX_set_session_cache_mode(
        ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
}

static void check_retry_case(report *r, const retry_case *k)
{
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_SESSION *session;
    connection c;
    park p;

    park_start(&p, r, new_stateful_server(TLS1_3_VERSION));
    p.form = k->form;
    p.take = 1;
    if (k->anti_replay)
        allow_early_data_with_anti_replay(p.ctx);
    session = full_handshake(p.ctx, client);
    force_hello_retry(p.ctx, client);

    c = parked_connection(&p, client, session);
    check(r, handshake(&c), "%s: the handshake completes", k->what);
    check(r, p.hello_calls == 3 && p.suspensions == 1 && p.store_reads == 1,
          "%s: one suspension, then one callback for each ClientHello, got %d "
          "and %d",
          k->what, p.suspensions, p.hello_calls);
    check(r, p.asked_count == 2 && same_id(p.asked[0], p.asked[1]),
          "%s: get_cb is asked twice for the same id, got %d", k->what,
          p.asked_count);
    check(r, resumed(&c) == k->resumes, "%s: %s", k->what,
          k->resumes ? "it resumes" : "the resumption is lost");
    close_cleanly(&c);
    check(r, p.lookups_alive == 0, "%s: no lookup is left", k->what);

    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

static SSL_SESSION *take_in_callback(recorder *rec, SSL *ssl, session_id id)
{
    return store_take(rec->store, id.bytes, id.len);
}

/* The same loss without a suspension: the second read finds nothing. */
static void destructive_read(report *r)
{
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_SESSION *session;
    connection c;
    park p;

    park_start(&p, r, new_stateful_server(TLS1_3_VERSION));
    SSL_CTX_set_client_hello_cb(p.ctx, NULL, NULL);
    p.rec.on_get = take_in_callback;
    session = full_handshake(p.ctx, client);
    force_hello_retry(p.ctx, client);
    c = parked_connection(&p, client, session);
    check(r, handshake(&c) && p.rec.get_calls == 2 && !resumed(&c),
          "a get_cb that deletes what it reads misses on its second call, got "
          "%d calls",
          p.rec.get_calls);
    close_cleanly(&c);
    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

static void contract_R36(report *r)
{
    size_t i;

    for (i = 0; i < sizeof(retry_cases) / sizeof(*retry_cases); i++)
        check_retry_case(r, &retry_cases[i]);
    destructive_read(r);
}

/* ---- R37 ---- */

static void die_suspended(report *r, int version, int answered)
{
    const char *name = version_name(version);
    const char *when = answered ? "after" : "before";
    SSL_CTX *client = new_client(version, version);
    SSL_SESSION *session;
    unsigned long object = 0;
    connection c;
    park p;

    park_start(&p, r, new_stateful_server(version));
    p.form = GIVE_OBJECT;
    session = full_handshake(p.ctx, client);
    c = parked_connection(&p, client, session);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    check(r, p.suspensions == 1 && p.lookups_alive == 1, "%s: suspended", name);
    if (answered) {
        answer_lookup(c.server, &p);
        object = session_birth(lookup_of(c.server)->keys[0].object);
        check(r, object != 0 && !session_destroyed(object),
              "%s: the answer is there", name);
    }
    close_abruptly(&c);
    check(r, p.lookups_alive == 0,
          "%s: SSL_free %s the answer releases the lookup", name, when);
    if (answered)
        check(r, session_destroyed(object),
              "%s: and the session that waited in it", name);
    check(r, p.rec.get_calls == 0, "%s: get_cb never ran", name);

    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

static void die_before_and_after(report *r, int version)
{
    die_suspended(r, version, 0);
    die_suspended(r, version, 1);
}

static void contract_R37(report *r)
{
    for_each_version(r, die_before_and_after);
}

/* ---- R40 ---- */

#define MANY 32

/* Longer than the longest time that the test's contexts know of, one second. */
static void let_all_time_limits_pass(void)
{
    struct timespec pause = { 2, 100000000 };

    nanosleep(&pause, NULL);
}

typedef struct crowd {
    park park;
    SSL_CTX *client;
    SSL_SESSION *session;
    connection connections[MANY];
} crowd;

static void suspend_crowd(report *r, crowd *k, int version)
{
    int i;

    park_start(&k->park, r, new_stateful_server(version));
    k->client = new_client(version, version);
    k->session = full_handshake(k->park.ctx, k->client);
    SSL_CTX_set_timeout(k->park.ctx, 1);
    SSL_CTX_sess_set_cache_size(k->park.ctx, 1);
    for (i = 0; i < MANY; i++) {
        k->connections[i] = parked_connection(&k->park, k->client, k->session);
        SSL_do_handshake(k->connections[i].client);
        SSL_do_handshake(k->connections[i].server);
    }
    check(r, k->park.lookups_alive == MANY,
          "%s: %d connections of one context are suspended",
          version_name(version), k->park.lookups_alive);
}

static void resume_crowd(report *r, crowd *k, int version)
{
    int i, suspended = 0, completed = 0;

    for (i = 0; i < MANY; i++) {
        SSL *server = k->connections[i].server;
        int result = SSL_do_handshake(server);

        suspended +=
            SSL_get_error(server, result) == SSL_ERROR_WANT_CLIENT_HELLO_CB;
    }
    check(r, suspended == MANY,
          "%s: %d are suspended still when all time limits passed",
          version_name(version), suspended);
    for (i = 0; i < MANY; i++) {
        completed +=
            handshake(&k->connections[i]) && resumed(&k->connections[i]);
        close_cleanly(&k->connections[i]);
    }
    check(r, completed == MANY, "%s: and %d then resume", version_name(version),
          completed);
    check(r, k->park.lookups_alive == 0, "%s: no lookup is left",
          version_name(version));
    SSL_SESSION_free(k->session);
    SSL_CTX_free(k->client);
    park_stop(&k->park);
}

static void contract_R40(report *r)
{
    crowd tls12, tls13;

    suspend_crowd(r, &tls12, TLS1_2_VERSION);
    suspend_crowd(r, &tls13, TLS1_3_VERSION);
    let_all_time_limits_pass();
    resume_crowd(r, &tls12, TLS1_2_VERSION);
    resume_crowd(r, &tls13, TLS1_3_VERSION);
}

const rule suspend_rules[] = { { "R34", contract_R34, 0 },
                               { "R36", contract_R36, 0 },
                               { "R37", contract_R37, 0 },
                               { "R40", contract_R40, 0 },
                               { NULL, NULL, 0 } };
