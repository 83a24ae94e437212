/* R15-R17: the returned session in caches, and on more than one connection. */
#include "harness.h"

#define NO_INTERNAL (SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)

/* ---- R15: the answer enters the internal cache ------------------------------ */

static void enter_cache(report *r, int version, long mode)
{
    const char *name = version_name(version);
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    session_id id;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    id = offered_id(s);
    server = scene_second_server(&sc, &rec, mode);
    a = try_resume(server, sc.client, s);
    check(r, a.resumed && SSL_CTX_sess_number(server) == 1,
          "%s, mode %#lx: get_cb's answer was added to the cache", name,
          mode);
    check(r, !session_destroyed(rec.got_birth),
          "%s, mode %#lx: the cache has a reference of its own", name, mode);
    store_delete(sc.store, id.bytes, id.len);
    SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_SERVER);
    recorder_clear(&rec);
    a = try_resume(server, sc.client, s);
    check(r, a.resumed && rec.get_calls == 0,
          "%s, mode %#lx: deleted in the store, still resumed, get_cb not"
          " asked", name, mode);
    SSL_CTX_free(server);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R15_deletion_unseen(report *r, int version)
{
    enter_cache(r, version, SSL_SESS_CACHE_SERVER);
    enter_cache(r, version, SSL_SESS_CACHE_OFF);
}

static void R15_not_stored(report *r, int version)
{
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, NO_INTERNAL);
    a = try_resume(server, sc.client, s);
    check(r, a.resumed && SSL_CTX_sess_number(server) == 0,
          "%s, NO_INTERNAL: nothing was added", version_name(version));
    SSL_CTX_free(server);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void contract_R15(report *r)
{
    for_each_version(r, R15_deletion_unseen);
    for_each_version(r, R15_not_stored);
}

/* ---- R16: two decodes of one id --------------------------------------------- */

/* Two connections alive at once, each with a decode of the same session. */
static void R16_two_decodes(report *r, int version)
{
    const char *name = version_name(version);
    unsigned long births[2];
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s, *offers[2];
    connection c[2];
    int i;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, SSL_SESS_CACHE_SERVER
                                 | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
    for (i = 0; i < 2; i++) {
        offers[i] = SSL_SESSION_dup(s);
        c[i] = new_connection(server, sc.client, offers[i]);
        check(r, handshake(&c[i]) && SSL_session_reused(c[i].server),
              "%s: connection %d resumed", name, i);
        births[i] = rec.got_birth;
    }
    check(r, births[0] != births[1] && SSL_CTX_sess_number(server) == 1
             && rec.remove_calls == 0,
          "%s: the second object replaced the first, remove_cb calls: %d",
          name, rec.remove_calls);
    check(r, exchange(&c[0]) && exchange(&c[1]),
          "%s: both connections carry data", name);
    if (version == TLS1_2_VERSION)
        check(r, SSL_CTX_remove_session(server, SSL_get0_session(c[0].server))
                 == 1
                 && SSL_CTX_sess_number(server) == 0,
              "TLS 1.2: removing the first object takes the second out of the"
              " cache: by id, not by address");
    for (i = 0; i < 2; i++) {
        close_cleanly(&c[i]);
        SSL_SESSION_free(offers[i]);
    }
    SSL_CTX_free(server);
    check(r, session_destroyed(births[0]) && session_destroyed(births[1]),
          "%s: both objects destroyed", name);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void contract_R16(report *r)
{
    for_each_version(r, R16_two_decodes);
}

/* ---- R17: an object of its own for every use -------------------------------- */

static void R17_duplicate(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    SSL_SESSION *live, *dup, *late;
    der a, b;

    scene_open(&sc, r, version);
    sc.rec.keep = 1;
    SSL_SESSION_free(full_handshake(sc.server, sc.client));
    live = sc.rec.kept[0];
    dup = SSL_SESSION_dup(live);
    a = encode(live);
    b = encode(dup);
    check(r, dup != live && same_der(a, b),
          "%s: SSL_SESSION_dup makes a private object with the same content",
          name);
    SSL_CTX_remove_session(sc.server, live);
    late = SSL_SESSION_dup(live);
    check(r, SSL_SESSION_is_resumable(dup),
          "%s: removing the live one leaves the duplicate resumable", name);
    check(r, !SSL_SESSION_is_resumable(late),
          "%s: a duplicate of a removed session is not resumable", name);
    free_der(&a);
    free_der(&b);
    SSL_SESSION_free(late);
    SSL_SESSION_free(dup);
    scene_close(&sc);
    recorder_release(&sc.rec);
}

static SSL_SESSION *answer_live(recorder *rec, SSL *ssl, session_id id)
{
    return rec->arg;
}

/*
 * One live object on two connections: when one of them ends badly, the other's
 * session is no longer resumable, since the flag is in the shared object.
 */
static void R17_shared_object(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s, *live, *offers[2];
    connection c[2];
    session_id id;
    int i;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    id = offered_id(s);
    live = store_get(sc.store, id.bytes, id.len);
    server = scene_second_server(&sc, &rec, NO_INTERNAL);
    rec.on_get = answer_live;
    rec.arg = live;
    rec.copy = 1;
    for (i = 0; i < 2; i++) {
        offers[i] = SSL_SESSION_dup(s);
        c[i] = new_connection(server, sc.client, offers[i]);
        check(r, handshake(&c[i]) && exchange(&c[i])
                 && SSL_session_reused(c[i].server),
              "%s, shared object: connection %d resumed", name, i);
    }
    check(r, SSL_SESSION_is_resumable(live), "%s, shared object: resumable",
          name);
    if (version == TLS1_2_VERSION)
        close_abruptly(&c[0]);
    else
        SSL_CTX_remove_session(server, live);
    check(r, !SSL_SESSION_is_resumable(live),
          "%s, shared object: one removal ends it for both", name);
    for (i = 0; i < 2; i++) {
        if (c[i].server != NULL)
            close_cleanly(&c[i]);
        SSL_SESSION_free(offers[i]);
    }
    SSL_CTX_free(server);
    give_back(live);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/* Five answers in turn with *copy = 1 are sound: each adds its reference. */
static void R17_live_in_turn(report *r)
{
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s, *live;
    unsigned long birth;
    session_id id;
    int i;

    scene_open(&sc, r, TLS1_2_VERSION);
    s = full_handshake(sc.server, sc.client);
    id = offered_id(s);
    live = store_get(sc.store, id.bytes, id.len);
    birth = session_birth(live);
    server = scene_second_server(&sc, &rec, SSL_SESS_CACHE_SERVER
                                 | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
    rec.on_get = answer_live;
    rec.arg = live;
    rec.copy = 1;
    for (i = 1; i <= 5; i++)
        check(r, try_resume(server, sc.client, s).resumed,
              "TLS 1.2, the same object in turn with *copy = 1: %d", i);
    SSL_CTX_free(server);
    check(r, !session_destroyed(birth), "the owner's reference is left");
    give_back(live);
    check(r, session_destroyed(birth), "and is the last");
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/* The links of a cache's list are in the object: two lists share them. */
static int one_object_in_two_caches(report *r)
{
    SSL_CTX *a = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_CTX *b = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_SESSION *shared = new_session(1, (long)time(NULL), 1000);

    SSL_CTX_add_session(a, shared);
    add_session(a, 2, (long)time(NULL), 1000);
    SSL_CTX_add_session(b, shared);
    SSL_SESSION_free(shared);
    flush_sessions(b, 0);
    SSL_CTX_free(a);
    SSL_CTX_free(b);
    return 0;
}

/* The control: the same with an object of its own for each cache. */
static int two_objects_in_two_caches(report *r)
{
    SSL_CTX *a = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_CTX *b = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_SESSION *first = new_session(1, (long)time(NULL), 1000);
    SSL_SESSION *second = SSL_SESSION_dup(first);

    SSL_CTX_add_session(a, first);
    add_session(a, 2, (long)time(NULL), 1000);
    SSL_CTX_add_session(b, second);
    SSL_SESSION_free(first);
    SSL_SESSION_free(second);
    flush_sessions(b, 0);
    SSL_CTX_free(a);
    SSL_CTX_free(b);
    return 0;
}

static void R17_two_caches(report *r)
{
    child_result one = run_child("one-object-in-two-caches", 3);
    child_result two = run_child("two-objects-in-two-caches", 60);

    check(r, one.end == CHILD_HUNG || one.end == CHILD_CRASHED,
          "one object in the caches of two SSL_CTX: the process %s",
          child_end_name(one.end));
    check(r, two.end == CHILD_EXITED && two.status == 0,
          "a duplicate for each: the process %s", child_end_name(two.end));
}

static void contract_R17(report *r)
{
    for_each_version(r, R17_duplicate);
    for_each_version(r, R17_shared_object);
    R17_live_in_turn(r);
    R17_two_caches(r);
}

const rule share_rules[] = {
    { "R15", contract_R15, 0 },
    { "R16", contract_R16, 0 },
    { "R17", contract_R17, 1 },
    { NULL, NULL, 0 },
};

const child_scenario share_children[] = {
    { "one-object-in-two-caches", one_object_in_two_caches, NULL },
    { "two-objects-in-two-caches", two_objects_in_two_caches, NULL },
    { NULL, NULL, NULL },
};
