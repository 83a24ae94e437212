/* R11, R12: get_session_cb, its arguments, its calls and its reference. */
#include "harness.h"

#include <openssl/rand.h>
#include <stdio.h>

#define NO_INTERNAL (SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)

/* ---- R11: the call -------------------------------------------------------- */

static void R11_own_cache(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    check(r, sc.rec.get_calls == 0, "%s, nothing offered: %d calls", name,
          sc.rec.get_calls);
    a = try_resume(sc.server, sc.client, s);
    check(r, a.resumed && sc.rec.get_calls == 0,
          "%s, in the internal cache: %d calls, resumed", name,
          sc.rec.get_calls);
    SSL_CTX_set_session_cache_mode(sc.server, SSL_SESS_CACHE_SERVER
                                   | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
    recorder_clear(&sc.rec);
    a = try_resume(sc.server, sc.client, s);
    check(r, a.resumed && sc.rec.get_calls == 1,
          "%s, in the internal cache, NO_INTERNAL_LOOKUP: %d call", name,
          sc.rec.get_calls);
    check(r, sc.rec.copy_on_entry == 1, "%s: *copy is %d on entry", name,
          sc.rec.copy_on_entry);
    check(r, same_id(sc.rec.get_id, offered_id(s)) && sc.rec.get_id.len == 32,
          "%s: asked for the offered id, %u bytes", name, sc.rec.get_id.len);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R11_other_server(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, SSL_SESS_CACHE_SERVER);
    a = try_resume(server, sc.client, s);
    check(r, a.resumed && rec.get_calls == 1,
          "%s, not in the internal cache: %d call, resumed", name,
          rec.get_calls);
    SSL_CTX_free(server);
    server = scene_second_server(&sc, &rec, SSL_SESS_CACHE_OFF);
    a = try_resume(server, sc.client, s);
    check(r, a.resumed && rec.get_calls == 1,
          "%s, SSL_SESS_CACHE_OFF: %d call, resumed", name, rec.get_calls);
    SSL_CTX_free(server);
    server = scene_second_server(&sc, &rec, SSL_SESS_CACHE_SERVER);
    rec.store = NULL;
    a = try_resume(server, sc.client, s);
    check(r, a.completed && !a.resumed && rec.get_calls == 1,
          "%s, NULL returned: full handshake", name);
    SSL_CTX_free(server);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

typedef struct inside_get {
    int held;
} inside_get;

static SSL_SESSION *probe_lock(recorder *rec, SSL *ssl, session_id id)
{
    inside_get *in = rec->arg;

    in->held = lock_is_held(rec->report, rec->ctx);
    return store_get(rec->store, id.bytes, id.len);
}

static void R11_no_lock(report *r, int version)
{
    inside_get in = { -1 };
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, SSL_SESS_CACHE_SERVER);
    rec.on_get = probe_lock;
    rec.arg = &in;
    a = try_resume(server, sc.client, s);
    check(r, a.resumed && in.held == 0, "%s: no lock is held inside",
          version_name(version));
    join_lock_probes(r);
    SSL_CTX_free(server);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/*
 * A server with or without tickets, whose session is offered to another one
 * with or without: how often is the second one's get_cb called?
 */
static void count_for_ticket(report *r, int version, int first_stateful,
                             int second_stateful, int calls, const char *what)
{
    SSL_CTX *first = new_server(version, version);
    SSL_CTX *second = new_server(version, version);
    SSL_CTX *client = new_client(version, version);
    SSL_SESSION *s;
    recorder rec;
    attempt a;

    if (first_stateful)
        SSL_CTX_set_options(first, SSL_OP_NO_TICKET);
    if (second_stateful)
        SSL_CTX_set_options(second, SSL_OP_NO_TICKET);
    record(&rec, r, second, RECORD_GET);
    s = full_handshake(first, client);
    a = try_resume(second, client, s);
    check(r, a.completed && !a.resumed && rec.get_calls == calls,
          "%s: %d calls", what, rec.get_calls);
    SSL_SESSION_free(s);
    SSL_CTX_free(first);
    SSL_CTX_free(second);
    SSL_CTX_free(client);
}

static void R11_valid_stateless_ticket(report *r)
{
    SSL_CTX *server = new_server(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    recorder rec;
    SSL_SESSION *s;
    attempt a;

    record(&rec, r, server, RECORD_GET);
    s = full_handshake(server, client);
    a = try_resume(server, client, s);
    check(r, a.resumed && rec.get_calls == 0,
          "TLS 1.3, valid stateless ticket: %d calls, resumed",
          rec.get_calls);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* A client that also speaks TLS 1.3 sends a random id when it has none. */
static void count_for_fresh_client(report *r, int version, int stateful,
                                   int calls)
{
    SSL_CTX *server = new_server(version, version);
    SSL_CTX *client = new_client(TLS1_2_VERSION, TLS1_3_VERSION);
    recorder rec;

    if (stateful)
        SSL_CTX_set_options(server, SSL_OP_NO_TICKET);
    record(&rec, r, server, RECORD_GET);
    SSL_SESSION_free(full_handshake(server, client));
    check(r, rec.get_calls == calls,
          "fresh client of both versions, server %s %s: %d calls",
          version_name(version), stateful ? "with NO_TICKET" : "with tickets",
          rec.get_calls);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static int make_id(unsigned char *id, unsigned int *len, unsigned int want)
{
    *len = want;
    return RAND_bytes(id, (int)want);
}

static int make_id_of_1(SSL *ssl, unsigned char *id, unsigned int *len)
{
    return make_id(id, len, 1);
}

static int make_id_of_16(SSL *ssl, unsigned char *id, unsigned int *len)
{
    return make_id(id, len, 16);
}

static void count_for_short_id(report *r, int version, GEN_SESSION_CB generate,
                               unsigned int len)
{
    const char *name = version_name(version);
    scene sc;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_cache_mode(sc.server, NO_INTERNAL);
    SSL_CTX_set_generate_session_id(sc.server, generate);
    s = full_handshake(sc.server, sc.client);
    recorder_clear(&sc.rec);
    a = try_resume(sc.server, sc.client, s);
    if (version == TLS1_3_VERSION)
        check(r, a.completed && !a.resumed && sc.rec.get_calls == 0,
              "%s, id of %u bytes: %d calls, never resumed", name, len,
              sc.rec.get_calls);
    else
        check(r, a.resumed && sc.rec.get_id.len == len,
              "%s, id of %u bytes: asked with %u bytes, resumed", name, len,
              sc.rec.get_id.len);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R11_short_ids(report *r, int version)
{
    count_for_short_id(r, version, make_id_of_1, 1);
    count_for_short_id(r, version, make_id_of_16, 16);
}

/*
 * The id's lifetime, in a process whose allocator never gives memory out again
 * but notes what was freed.
 */
typedef struct freed_block {
    const char *start;
    size_t len;
} freed_block;

#define HEADER 16                   /* before each block: its length */
#define FREED_MAX 100000

static freed_block freed_blocks[FREED_MAX];
static int freed_count;

static void *noted_malloc(size_t len, const char *file, int line)
{
    char *p = malloc(len + HEADER);

    if (p == NULL)
        return NULL;
    memcpy(p, &len, sizeof(len));
    return p + HEADER;
}

static void noted_free(void *p, const char *file, int line)
{
    freed_block *b = &freed_blocks[freed_count];

    if (p == NULL)
        return;
    if (++freed_count == FREED_MAX)
        abort();
    b->start = p;
    memcpy(&b->len, (char *)p - HEADER, sizeof(b->len));
}

static void *noted_realloc(void *p, size_t len, const char *file, int line)
{
    void *new_block = noted_malloc(len, file, line);
    size_t old_len;

    if (p == NULL || new_block == NULL)
        return new_block;
    memcpy(&old_len, (char *)p - HEADER, sizeof(old_len));
    memcpy(new_block, p, old_len < len ? old_len : len);
    noted_free(p, file, line);
    return new_block;
}

static void note_frees(void)
{
    CRYPTO_set_mem_functions(noted_malloc, noted_realloc, noted_free);
}

static int was_freed(const void *p)
{
    const char *at = p;
    int i;

    for (i = 0; i < freed_count; i++)
        if (at >= freed_blocks[i].start
            && at < freed_blocks[i].start + freed_blocks[i].len)
            return 1;
    return 0;
}

static SSL_SESSION *note_alive(recorder *rec, SSL *ssl, session_id id)
{
    *(int *)rec->arg = !was_freed(rec->get_id_at);
    return store_get(rec->store, id.bytes, id.len);
}

/* Exit status 0: alive inside the call, freed when the handshake is over. */
static int id_lifetime(report *r, int version)
{
    int alive_inside = 0, resumed, freed_after;
    scene sc;
    SSL_SESSION *s;
    connection c;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_cache_mode(sc.server, NO_INTERNAL);
    s = full_handshake(sc.server, sc.client);
    sc.rec.on_get = note_alive;
    sc.rec.arg = &alive_inside;
    c = new_connection(sc.server, sc.client, s);
    resumed = handshake(&c) && SSL_session_reused(c.server);
    freed_after = was_freed(sc.rec.get_id_at);
    return resumed && alive_inside && freed_after ? 0 : 1;
}

static int id_lifetime_12(report *r)
{
    return id_lifetime(r, TLS1_2_VERSION);
}

static int id_lifetime_13(report *r)
{
    return id_lifetime(r, TLS1_3_VERSION);
}

static void R11_id_lifetime(report *r, int version)
{
    child_result end = run_child(version == TLS1_3_VERSION ?
                                 "id-lifetime-1.3" : "id-lifetime-1.2", 60);

    check(r, end.end == CHILD_EXITED && end.status == 0,
          "%s: the memory of `id` is freed by the end of the handshake"
          " (process %s, %d)", version_name(version), child_end_name(end.end),
          end.status);
}

static void contract_R11(report *r)
{
    for_each_version(r, R11_own_cache);
    for_each_version(r, R11_other_server);
    for_each_version(r, R11_no_lock);
    R11_valid_stateless_ticket(r);
    count_for_ticket(r, TLS1_3_VERSION, 0, 0, 0,
                     "TLS 1.3, stateless ticket of another server");
    count_for_ticket(r, TLS1_2_VERSION, 0, 0, 0,
                     "TLS 1.2, ticket of another server");
    count_for_ticket(r, TLS1_2_VERSION, 0, 1, 1,
                     "TLS 1.2, client with a ticket, server NO_TICKET");
    count_for_fresh_client(r, TLS1_2_VERSION, 0, 1);
    count_for_fresh_client(r, TLS1_2_VERSION, 1, 1);
    count_for_fresh_client(r, TLS1_3_VERSION, 1, 0);
    for_each_version(r, R11_short_ids);
    for_each_version(r, R11_id_lifetime);
}

/* ---- R12: whose reference -------------------------------------------------- */

static const char *copy_name(int copy)
{
    switch (copy) {
    case 0:
        return "*copy = 0";
    case 1:
        return "*copy = 1";
    default:
        return "*copy unwritten";
    }
}

/* A fresh decode, one reference, returned once with this *copy. */
static void return_with_copy(report *r, int version, long mode, int copy)
{
    const char *name = version_name(version);
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, mode);
    rec.copy = copy;
    a = try_resume(server, sc.client, s);
    SSL_CTX_free(server);
    check(r, a.resumed, "%s, %s, mode %#lx: resumed", name, copy_name(copy),
          mode);
    check(r, session_destroyed(rec.got_birth) == (copy == 0),
          "%s, %s, mode %#lx: %s after connection and context", name,
          copy_name(copy), mode, copy == 0 ? "destroyed" : "alive");
    if (copy != 0) {
        give_back(rec.got);
        check(r, session_destroyed(rec.got_birth),
              "%s, %s: the callee's SSL_SESSION_free destroys it", name,
              copy_name(copy));
    }
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R12_all_copies(report *r, int version)
{
    int copy;

    for (copy = COPY_UNWRITTEN; copy <= 1; copy++) {
        return_with_copy(r, version, NO_INTERNAL, copy);
        return_with_copy(r, version, SSL_SESS_CACHE_SERVER, copy);
    }
}

static void contract_R12(report *r)
{
    for_each_version(r, R12_all_copies);
}

const rule get_rules[] = {
    { "R11", contract_R11, 0 },
    { "R12", contract_R12, 1 },
    { NULL, NULL, 0 },
};

const child_scenario get_children[] = {
    { "id-lifetime-1.2", id_lifetime_12, note_frees },
    { "id-lifetime-1.3", id_lifetime_13, note_frees },
    { NULL, NULL, NULL },
};
