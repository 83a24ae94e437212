/* R26, R27: how much the internal cache keeps. */
#include "harness.h"

/* ---- R26: capacity --------------------------------------------------------- */

static void fill(report *r, int size, int kept)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    long now = (long)time(NULL);
    recorder rec;
    int i;

    record(&rec, r, ctx, RECORD_REMOVE);
    SSL_CTX_sess_set_cache_size(ctx, size);
    for (i = 0; i < 10; i++)
        add_session(ctx, (unsigned char)(10 + i), now + i, 1000);
    check(r, SSL_CTX_sess_number(ctx) == kept && rec.remove_calls == 10 - kept,
          "size %d: %ld of 10 are kept, remove_cb calls: %d", size,
          SSL_CTX_sess_number(ctx), rec.remove_calls);
    check(r, rec.removed_id.bytes[0] == 10 + (10 - kept) - 1,
          "size %d: the last to go is number %d, the earliest to expire of"
          " those before the tenth", size, rec.removed_id.bytes[0] - 9);
    SSL_CTX_free(ctx);
}

static void choose_victim(report *r, long first_timeout, long second_timeout,
                          long third_timeout, unsigned char victim,
                          const char *what)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    long now = (long)time(NULL);
    recorder rec;

    record(&rec, r, ctx, RECORD_REMOVE);
    SSL_CTX_sess_set_cache_size(ctx, 3);
    add_session(ctx, 1, now, first_timeout);
    add_session(ctx, 2, now, second_timeout);
    add_session(ctx, 3, now, third_timeout);
    check(r, rec.remove_calls == 1 && rec.removed_id.bytes[0] == victim,
          "%s: number %d is evicted", what, rec.removed_id.bytes[0]);
    check(r, SSL_CTX_sess_cache_full(ctx) == 1,
          "%s: counted by SSL_CTX_sess_cache_full", what);
    SSL_CTX_free(ctx);
}

/* Resuming the older session does not save it. */
static void R26_use_does_not_count(report *r, int version)
{
    scene sc;
    SSL_SESSION *s;
    session_id id;

    scene_open(&sc, r, version);
    SSL_CTX_sess_set_cache_size(sc.server, 3);
    sc.rec.keep = 1;
    s = full_handshake(sc.server, sc.client);
    id = offered_id(s);
    SSL_SESSION_set_timeout(sc.rec.kept[0], 1000);
    add_session(sc.server, 2, (long)time(NULL), 5000);
    recorder_clear(&sc.rec);
    if (version == TLS1_2_VERSION)
        check(r, try_resume(sc.server, sc.client, s).resumed,
              "TLS 1.2: the older session was used again");
    add_session(sc.server, 3, (long)time(NULL), 5000);
    check(r, sc.rec.remove_calls == 1 && same_id(sc.rec.removed_id, id),
          "%s: it is evicted, the unused one stays", version_name(version));
    SSL_SESSION_free(s);
    scene_close(&sc);
    recorder_release(&sc.rec);
}

static void contract_R26(report *r)
{
    fill(r, 1, 1);
    fill(r, 2, 1);
    fill(r, 3, 2);
    fill(r, 4, 3);
    choose_victim(r, 5000, 1000, 9000, 2, "the second expires first");
    choose_victim(r, 5000, 9000, 10, 1, "the incoming one would expire first");
    for_each_version(r, R26_use_does_not_count);
}

/* ---- R27: remove_cb alone fills a stateless cache -------------------------- */

static void cache_of_stateless(report *r, int version, int which, long mode,
                               int tickets_cached, const char *what)
{
    SSL_CTX *server = new_server(version, version);
    SSL_CTX *client = new_client(version, version);
    recorder rec;

    SSL_CTX_set_session_cache_mode(server, mode);
    record(&rec, r, server, which);
    SSL_SESSION_free(full_handshake(server, client));
    check(r, SSL_CTX_sess_number(server) == tickets_cached,
          "%s, stateless, %s: %ld in the internal cache",
          version_name(version), what, SSL_CTX_sess_number(server));
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void contract_R27(report *r)
{
    cache_of_stateless(r, TLS1_3_VERSION, RECORD_NEW | RECORD_GET,
                       SSL_SESS_CACHE_SERVER, 0, "new_cb and get_cb");
    cache_of_stateless(r, TLS1_3_VERSION, RECORD_REMOVE, SSL_SESS_CACHE_SERVER,
                       2, "remove_cb");
    cache_of_stateless(r, TLS1_3_VERSION, RECORD_REMOVE,
                       SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL_STORE,
                       0, "remove_cb and NO_INTERNAL_STORE");
    cache_of_stateless(r, TLS1_2_VERSION, RECORD_REMOVE, SSL_SESS_CACHE_SERVER,
                       0, "remove_cb");
}

const rule capacity_rules[] = {
    { "R26", contract_R26, 0 },
    { "R27", contract_R27, 0 },
    { NULL, NULL, 0 },
};
