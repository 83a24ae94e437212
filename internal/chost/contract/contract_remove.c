/* R19-R22: remove_session_cb, its call sites and the session it gets. */
#include "harness.h"

#include <sys/socket.h>
#include <unistd.h>

#define NO_INTERNAL (SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)

/* Asked in every call of the sites below. */
static void note_lock(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    *(int *)rec->arg = lock_is_held(rec->report, ctx);
}

int removes_under_lock(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    recorder rec;
    int held = -1;

    record(&rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, (long)time(NULL), 1000);
    rec.on_remove = note_lock;
    rec.arg = &held;
    flush_sessions(ctx, 0);
    join_lock_probes(r);
    rec.on_remove = NULL;
    recorder_clear(&rec);
    SSL_CTX_free(ctx);
    return held;
}

/* ---- R19: the call sites, cache operations --------------------------------- */

/* Of a site's held: whatever removes_under_lock says. */
#define AS_FLUSH 2

typedef struct cache_site {
    const char *what;
    /* Works on a cache that holds 1 (expired) and 2. */
    int (*run)(SSL_CTX *ctx);
    int calls;
    int held;
    int result;
    long left;                      /* sessions cached afterwards */
} cache_site;

static int flush_expired(SSL_CTX *ctx)
{
    flush_sessions(ctx, (long)time(NULL));
    return 1;
}

static int flush_all(SSL_CTX *ctx)
{
    flush_sessions(ctx, 0);
    return 1;
}

static int evict(SSL_CTX *ctx)
{
    SSL_CTX_sess_set_cache_size(ctx, 3);
    add_session(ctx, 3, (long)time(NULL), 1000);
    return 1;
}

static int remove_tagged(SSL_CTX *ctx, unsigned char tag)
{
    SSL_SESSION *s = new_session(tag, (long)time(NULL), 1000);
    int result = SSL_CTX_remove_session(ctx, s);

    SSL_SESSION_free(s);
    return result;
}

static int remove_cached(SSL_CTX *ctx)
{
    return remove_tagged(ctx, 2);
}

static int remove_absent(SSL_CTX *ctx)
{
    return remove_tagged(ctx, 9);
}

static int remove_without_id(SSL_CTX *ctx)
{
    SSL_SESSION *s = SSL_SESSION_new();
    int result = SSL_CTX_remove_session(ctx, s);

    SSL_SESSION_free(s);
    return result;
}

static int replace_same_id(SSL_CTX *ctx)
{
    add_session(ctx, 2, (long)time(NULL), 1000);
    return 1;
}

static const cache_site cache_sites[] = {
    { "SSL_CTX_flush_sessions(now)", flush_expired, 1, AS_FLUSH, 1, 1 },
    { "SSL_CTX_flush_sessions(0)", flush_all, 2, AS_FLUSH, 1, 0 },
    { "eviction in SSL_CTX_add_session", evict, 1, AS_FLUSH, 1, 2 },
    { "SSL_CTX_remove_session, cached", remove_cached, 1, 0, 1, 1 },
    { "SSL_CTX_remove_session, not cached", remove_absent, 1, 0, 0, 2 },
    { "SSL_CTX_remove_session, empty id", remove_without_id, 0, -1, 0, 2 },
    { "SSL_CTX_add_session, id already cached", replace_same_id, 0, -1, 1,
      2 },
};

static void visit_cache_site(report *r, const cache_site *site)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    long now = (long)time(NULL);
    int want = site->held == AS_FLUSH ? removes_under_lock(r) : site->held;
    int held = -1, result;
    recorder rec;

    record(&rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, now - 100, 10);
    add_session(ctx, 2, now, 1000);
    rec.on_remove = note_lock;
    rec.arg = &held;
    result = site->run(ctx);
    join_lock_probes(r);
    rec.on_remove = NULL;
    check(r, rec.remove_calls == site->calls && held == want,
          "%s: %d calls, lock held: %d", site->what, rec.remove_calls, held);
    check(r, result == site->result && SSL_CTX_sess_number(ctx) == site->left,
          "%s: returned %d, %ld left", site->what, result,
          SSL_CTX_sess_number(ctx));
    recorder_clear(&rec);
    SSL_CTX_free(ctx);
    check(r, rec.remove_calls == site->left,
          "%s, then SSL_CTX_free: a call for each of the %ld", site->what,
          site->left);
}

/* OpenSSL flushes what has expired once in about 255 handshakes. */
static void R19_automatic_flush(report *r, int version)
{
    int expected = version == TLS1_2_VERSION ? 256 : 255;
    int held = -1, i, flushed_at = 0;
    scene sc;

    scene_open(&sc, r, version);
    add_session(sc.server, 1, (long)time(NULL) - 1000, 10);
    sc.rec.on_remove = note_lock;
    sc.rec.arg = &held;
    for (i = 1; i <= 300 && flushed_at == 0; i++) {
        SSL_SESSION_free(full_handshake(sc.server, sc.client));
        if (sc.rec.remove_calls > 0)
            flushed_at = i;
    }
    check(r, flushed_at == expected && sc.rec.remove_calls == 1
              && held == removes_under_lock(r),
          "%s: automatic flush in handshake %d, lock held: %d",
          version_name(version), flushed_at, held);
    join_lock_probes(r);
    sc.rec.on_remove = NULL;
    scene_close(&sc);
}

/* ---- R19: the call sites, connections --------------------------------------- */

static void end_nothing(connection *c)
{
}

static void end_shutdown(connection *c)
{
    SSL_shutdown(c->server);
    SSL_shutdown(c->client);
    SSL_shutdown(c->server);
}

static void end_quietly(connection *c)
{
    SSL_set_quiet_shutdown(c->server, 1);
    SSL_shutdown(c->server);
}

static void end_marked(connection *c)
{
    SSL_set_shutdown(c->server, SSL_SENT_SHUTDOWN);
}

static void end_by_peer(connection *c)
{
    char byte;

    SSL_shutdown(c->client);
    SSL_read(c->server, &byte, 1);
}

static void end_clear(connection *c)
{
    SSL_clear(c->server);
}

static void end_set_session(connection *c)
{
    SSL_SESSION *s = SSL_SESSION_new();

    SSL_set_session(c->server, s);
    SSL_SESSION_free(s);
    SSL_set_shutdown(c->server, SSL_SENT_SHUTDOWN);
}

static void end_alert_received(connection *c)
{
    char byte;

    inject_bad_record(c->server);
    SSL_read(c->client, &byte, 1);
    SSL_read(c->server, &byte, 1);
}

static void end_alert_sent(connection *c)
{
    char byte;

    inject_bad_record(c->client);
    SSL_read(c->server, &byte, 1);
}

typedef struct end_site {
    const char *what;
    void (*run)(connection *c);
    int calls;                      /* in run */
    int calls_free;                 /* and in the SSL_free that follows */
} end_site;

static const end_site end_sites[] = {
    { "SSL_free alone", end_nothing, 0, 1 },
    { "SSL_shutdown", end_shutdown, 0, 0 },
    { "quiet shutdown", end_quietly, 0, 0 },
    { "SSL_set_shutdown(SSL_SENT_SHUTDOWN)", end_marked, 0, 0 },
    { "the peer's close_notify, not answered", end_by_peer, 0, 1 },
    { "SSL_clear", end_clear, 1, 0 },
    { "SSL_set_session", end_set_session, 1, 0 },
    { "fatal alert received", end_alert_received, 1, 0 },
    { "fatal alert sent", end_alert_sent, 1, 0 },
};

static void visit_end_site(report *r, const end_site *site, int version,
                           long mode)
{
    const char *name = version_name(version);
    int held = -1, calls;
    unsigned long birth;
    scene sc;
    connection c;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_cache_mode(sc.server, mode);
    sc.rec.on_remove = note_lock;
    sc.rec.arg = &held;
    c = new_connection(sc.server, sc.client, NULL);
    check(r, handshake(&c) && exchange(&c), "%s, %s: connected", name,
          site->what);
    birth = session_birth(SSL_get0_session(c.server));
    recorder_clear(&sc.rec);
    site->run(&c);
    calls = sc.rec.remove_calls;
    close_abruptly(&c);
    join_lock_probes(r);
    check(r, calls == site->calls
             && sc.rec.remove_calls == calls + site->calls_free,
          "%s, mode %#lx, %s: %d calls, %d in SSL_free", name, mode,
          site->what, calls, sc.rec.remove_calls - calls);
    if (sc.rec.remove_calls > 0)
        check(r, held == 0 && sc.rec.removed_birth == birth,
              "%s, mode %#lx, %s: the connection's session, lock held: %d",
              name, mode, site->what, held);
    sc.rec.on_remove = NULL;
    scene_close(&sc);
}

static void R19_ends(report *r, int version)
{
    size_t i;

    for (i = 0; i < sizeof(end_sites) / sizeof(end_sites[0]); i++) {
        visit_end_site(r, &end_sites[i], version, SSL_SESS_CACHE_SERVER);
        visit_end_site(r, &end_sites[i], version, NO_INTERNAL);
    }
}

/* Both ends on a socket pair, because a BIO pair has no true end of file. */
static connection new_socket_connection(scene *sc)
{
    connection c = new_connection(sc->server, sc->client, NULL);
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   fds) != 0)
        abort();
    SSL_set_bio(c.server, BIO_new_socket(fds[0], BIO_CLOSE), NULL);
    SSL_set_bio(c.client, BIO_new_socket(fds[1], BIO_CLOSE), NULL);
    SSL_set0_wbio(c.server, BIO_new_socket(fds[0], BIO_NOCLOSE));
    SSL_set0_wbio(c.client, BIO_new_socket(fds[1], BIO_NOCLOSE));
    return c;
}

static void vanish(report *r, int version, uint64_t options, int in_read)
{
    const char *name = version_name(version);
    int ret, error, calls;
    scene sc;
    connection c;
    char byte;

    scene_open(&sc, r, version);
    SSL_CTX_set_options(sc.server, options);
    c = new_socket_connection(&sc);
    check(r, handshake(&c) && exchange(&c), "%s, socket: connected", name);
    /* A child that another rule forks has the descriptor for a moment too. */
    shutdown(SSL_get_fd(c.client), SHUT_RDWR);
    SSL_free(c.client);
    c.client = NULL;
    recorder_clear(&sc.rec);
    ret = SSL_read(c.server, &byte, 1);
    error = SSL_get_error(c.server, ret);
    calls = sc.rec.remove_calls;
    check(r, calls == in_read
             && error == (in_read ? SSL_ERROR_SSL : SSL_ERROR_ZERO_RETURN),
          "%s, the peer vanishes%s: %d calls in SSL_read (error %d)", name,
          options ? ", IGNORE_UNEXPECTED_EOF" : "", calls, error);
    close_abruptly(&c);
    check(r, sc.rec.remove_calls == 1,
          "%s, the peer vanishes%s: %d calls in all after SSL_free", name,
          options ? ", IGNORE_UNEXPECTED_EOF" : "", sc.rec.remove_calls);
    scene_close(&sc);
}

static void R19_vanishing_peer(report *r, int version)
{
    vanish(r, version, 0, 1);
    vanish(r, version, SSL_OP_IGNORE_UNEXPECTED_EOF, 0);
}

/* Half a handshake, then the peer's fatal alert: nobody announced a session. */
static void R19_never_announced(report *r, int version)
{
    scene sc;
    connection c;

    scene_open(&sc, r, version);
    c = new_connection(sc.server, sc.client, NULL);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    inject_fatal_alert(c.client);
    SSL_do_handshake(c.server);
    check(r, sc.rec.new_calls == 0
             && sc.rec.remove_calls == (version == TLS1_2_VERSION),
          "%s, handshake aborted by the peer: new_cb %d, remove_cb %d",
          version_name(version), sc.rec.new_calls, sc.rec.remove_calls);
    close_abruptly(&c);
    scene_close(&sc);
}

/* Servers that give out tickets, and an SSL_free without shutdown. */
static void R19_tickets(report *r, int version)
{
    SSL_CTX *server = new_server(version, version);
    SSL_CTX *client = new_client(version, version);
    recorder rec;
    connection c;

    SSL_CTX_set_session_cache_mode(server, NO_INTERNAL);
    record(&rec, r, server, RECORD_REMOVE);
    c = new_connection(server, client, NULL);
    handshake(&c);
    exchange(&c);
    close_abruptly(&c);
    check(r, rec.remove_calls == (version == TLS1_3_VERSION),
          "%s, stateless ticket, SSL_free alone: %d calls",
          version_name(version), rec.remove_calls);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void R19_expired_lookup(report *r, int version)
{
    scene sc;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    sc.rec.keep = 1;
    s = full_handshake(sc.server, sc.client);
    set_session_time(sc.rec.kept[0], (long)time(NULL) - 100000);
    sc.rec.store = NULL;
    recorder_clear(&sc.rec);
    a = try_resume(sc.server, sc.client, s);
    check(r, a.completed && !a.resumed
             && sc.rec.remove_calls == (version == TLS1_2_VERSION),
          "%s, lookup of an expired session: %d calls", version_name(version),
          sc.rec.remove_calls);
    SSL_SESSION_free(s);
    scene_close(&sc);
    recorder_release(&sc.rec);
}

static void R19_single_use(report *r)
{
    int held = -1;
    scene sc;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, TLS1_3_VERSION);
    SSL_CTX_set_max_early_data(sc.server, 1024);
    s = full_handshake(sc.server, sc.client);
    sc.rec.on_remove = note_lock;
    sc.rec.arg = &held;
    recorder_clear(&sc.rec);
    a = try_resume(sc.server, sc.client, s);
    join_lock_probes(r);
    check(r, a.resumed && sc.rec.remove_calls == 1 && held == 0
             && same_id(sc.rec.removed_id, offered_id(s)),
          "TLS 1.3, anti-replay: the offered session is removed, lock held:"
          " %d", held);
    sc.rec.on_remove = NULL;
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R19_client_used(report *r)
{
    SSL_CTX *server = new_server(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    recorder rec;
    SSL_SESSION *s;
    connection c;

    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
    record(&rec, r, client, RECORD_REMOVE);
    s = full_handshake(server, client);
    recorder_clear(&rec);
    c = new_connection(server, client, s);
    check(r, handshake(&c) && rec.remove_calls == 1
             && rec.removed_birth == session_birth(s)
             && !SSL_SESSION_is_resumable(s),
          "TLS 1.3 client: the ticket it used is removed, and the object not"
          " resumable any more");
    close_cleanly(&c);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void contract_R19(report *r)
{
    size_t i;

    for (i = 0; i < sizeof(cache_sites) / sizeof(cache_sites[0]); i++)
        visit_cache_site(r, &cache_sites[i]);
    for_each_version(r, R19_automatic_flush);
    for_each_version(r, R19_ends);
    for_each_version(r, R19_vanishing_peer);
    for_each_version(r, R19_never_announced);
    for_each_version(r, R19_tickets);
    for_each_version(r, R19_expired_lookup);
    R19_single_use(r);
    R19_client_used(r);
}

/* ---- R20: an unclean close removes the last session only -------------------- */

static void close_with_tickets(report *r, int marked)
{
    const char *how = marked ? "SSL_SENT_SHUTDOWN set" : "SSL_free alone";
    session_id first, last;
    scene sc;
    connection c;
    SSL_SESSION *found;

    scene_open(&sc, r, TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(sc.server, 2);
    c = new_connection(sc.server, sc.client, NULL);
    handshake(&c);
    exchange(&c);
    first = sc.rec.new_ids[0];
    last = sc.rec.new_ids[1];
    recorder_clear(&sc.rec);
    if (marked)
        SSL_set_shutdown(c.server, SSL_SENT_SHUTDOWN);
    close_abruptly(&c);
    check(r, sc.rec.remove_calls == !marked, "TLS 1.3, two tickets, %s: %d"
          " calls", how, sc.rec.remove_calls);
    if (!marked)
        check(r, same_id(sc.rec.removed_id, last),
              "TLS 1.3, two tickets, %s: it is the last session", how);
    check(r, SSL_CTX_sess_number(sc.server) == 1 + marked,
          "TLS 1.3, two tickets, %s: %ld still cached", how,
          SSL_CTX_sess_number(sc.server));
    found = store_get(sc.store, first.bytes, first.len);
    check(r, found != NULL && SSL_CTX_remove_session(sc.server, found) == 1,
          "TLS 1.3, two tickets, %s: the first is one of them", how);
    SSL_SESSION_free(found);
    scene_close(&sc);
}

static void R20_then_resume(report *r, int version, int marked)
{
    scene sc;
    connection c;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    c = new_connection(sc.server, sc.client, NULL);
    handshake(&c);
    exchange(&c);
    s = SSL_get1_session(c.client);
    SSL_set_shutdown(c.client, SSL_SENT_SHUTDOWN);
    if (marked)
        SSL_set_shutdown(c.server, SSL_SENT_SHUTDOWN);
    close_abruptly(&c);
    sc.rec.store = NULL;
    a = try_resume(sc.server, sc.client, s);
    check(r, a.completed && a.resumed == marked,
          "%s, %s: the next connection resumed %d", version_name(version),
          marked ? "SSL_SENT_SHUTDOWN set" : "SSL_free alone", a.resumed);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R20_both(report *r, int version)
{
    R20_then_resume(r, version, 0);
    R20_then_resume(r, version, 1);
}

static void contract_R20(report *r)
{
    close_with_tickets(r, 0);
    close_with_tickets(r, 1);
    for_each_version(r, R20_both);
}

/* ---- R21: killed before the peer has proved anything ------------------------ */

/* What somebody who only saw the id can make: the key is not the owner's. */
static SSL_SESSION *forge(const SSL_SESSION *owners)
{
    static const unsigned char key[48] = { 7 };
    session_id id = id_of(owners);
    SSL_SESSION *s = SSL_SESSION_new();

    SSL_SESSION_set1_id(s, id.bytes, id.len);
    SSL_SESSION_set_protocol_version(s, TLS1_2_VERSION);
    SSL_SESSION_set_cipher(s, SSL_SESSION_get0_cipher(owners));
    SSL_SESSION_set1_master_key(s, key, sizeof(key));
    set_session_time(s, (long)time(NULL));
    SSL_SESSION_set_timeout(s, 1000);
    return s;
}

/*
 * TLS 1.2: the attacker offers the id himself. TLS 1.3: he writes a plain-text
 * alert into the owner's own resumption.
 */
static void R21_unproved(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    SSL_SESSION *s, *offer;
    connection c;
    int number;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    number = (int)SSL_CTX_sess_number(sc.server);
    offer = version == TLS1_2_VERSION ? forge(s) : SSL_SESSION_dup(s);
    recorder_clear(&sc.rec);
    c = new_connection(sc.server, sc.client, offer);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    inject_fatal_alert(c.client);
    check(r, SSL_do_handshake(c.server) <= 0 && SSL_in_init(c.server),
          "%s: the handshake dies unfinished", name);
    check(r, sc.rec.remove_calls == 1
             && same_id(sc.rec.removed_id, offered_id(s)),
          "%s: the owner's session was removed", name);
    check(r, number == 1 && SSL_CTX_sess_number(sc.server) == 0,
          "%s: it has left the internal cache", name);
    close_abruptly(&c);
    sc.rec.store = NULL;
    a = try_resume(sc.server, sc.client, s);
    check(r, a.completed && !a.resumed, "%s: the owner cannot resume", name);
    SSL_SESSION_free(offer);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void contract_R21(report *r)
{
    for_each_version(r, R21_unproved);
}

/* ---- R22: the session inside ------------------------------------------------- */

typedef struct removed {
    der encoding;
    SSL_SESSION *kept;
} removed;

static void keep_removed(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    removed *rm = rec->arg;

    if (rm->kept != NULL)
        return;
    rm->encoding = encode(s);
    if (SSL_SESSION_up_ref(s))
        rm->kept = s;
}

static void R22_no_reference(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    recorder rec;

    record(&rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, (long)time(NULL), 1000);
    flush_sessions(ctx, 0);
    check(r, rec.remove_calls == 1 && session_destroyed(rec.removed_birth),
          "no reference is given: destroyed when the callback has returned");
    SSL_CTX_free(ctx);
}

static void R22_kept(report *r, int version)
{
    const char *name = version_name(version);
    removed rm = { { NULL, 0 }, NULL };
    scene sc;
    recorder second;
    SSL_CTX *server;
    SSL_SESSION *s, *revived;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    sc.rec.on_remove = keep_removed;
    sc.rec.arg = &rm;
    server = scene_second_server(&sc, &second, NO_INTERNAL);
    SSL_CTX_free(sc.server);
    sc.server = NULL;
    check(r, rm.kept != NULL && !session_destroyed(session_birth(rm.kept)),
          "%s: SSL_SESSION_up_ref inside keeps it beyond SSL_CTX_free", name);
    check(r, sc.rec.removed_resumable == 0 && rm.encoding.len > 0,
          "%s: not resumable inside", name);
    check(r, same_id(id_of(rm.kept), offered_id(s)), "%s: still readable",
          name);
    revived = decode(rm.encoding);
    check(r, revived != NULL && SSL_SESSION_is_resumable(revived),
          "%s: encoding it inside and decoding makes it resumable again",
          name);
    store_put(sc.store, revived);
    a = try_resume(server, sc.client, s);
    check(r, a.resumed, "%s: a server even resumes it", name);
    SSL_SESSION_free(revived);
    SSL_CTX_free(server);
    scene_close(&sc);
    give_back(rm.kept);
    free_der(&rm.encoding);
    SSL_SESSION_free(s);
}

static void contract_R22(report *r)
{
    R22_no_reference(r);
    for_each_version(r, R22_kept);
}

const rule remove_rules[] = {
    { "R19", contract_R19, 0 },
    { "R20", contract_R20, 0 },
    { "R21", contract_R21, 0 },
    { "R22", contract_R22, 1 },
    { NULL, NULL, 0 },
};
