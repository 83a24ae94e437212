/* R35, R38, R39, R41: what a ClientHello says of the lookups that follow. */
#include "park.h"

#define V12 TLS1_2_VERSION
#define V13 TLS1_3_VERSION

/* ---- R35 ---- */

typedef enum { NOTHING, BY_ID, BY_TICKET, BY_FOREIGN_TICKET } offer_kind;

typedef enum { ONLY_12, ONLY_13, BOTH } versions;

typedef struct situation {
    const char *what;
    versions server;
    int server_tickets; /* 0: SSL_OP_NO_TICKET */
    versions client;
    offer_kind offer;
    int session_version;
    int keys; /* ids asked for */
    int resumes;
} situation;

static const situation situations[] = {
    { "fresh 1.2 client, 1.2 server",
      ONLY_12, 0, ONLY_12, NOTHING, 0, 0, 0 },
    { "fresh 1.3 client, 1.3 server",
      ONLY_13, 0, ONLY_13, NOTHING, 0, 0, 0 },
    { "fresh client of both, server of both",
      BOTH, 0, BOTH, NOTHING, 0, 0, 0 },
    { "fresh client of both, 1.2 server: its random id",
      ONLY_12, 0, BOTH, NOTHING, 0, 1, 0 },
    { "id, 1.2 client, 1.2 server",
      ONLY_12, 0, ONLY_12, BY_ID, V12, 1, 1 },
    { "id, 1.2 client, server of both",
      BOTH, 0, ONLY_12, BY_ID, V12, 1, 1 },
    { "id, 1.2 client, 1.2 server that issues tickets",
      ONLY_12, 1, ONLY_12, BY_ID, V12, 1, 1 },
    { "id of 1.2, both speak 1.3",
      BOTH, 0, BOTH, BY_ID, V12, 0, 0 },
    { "stateful ticket, 1.3 only",
      ONLY_13, 0, ONLY_13, BY_ID, V13, 1, 1 },
    { "stateful ticket, both versions on both sides",
      BOTH, 0, BOTH, BY_ID, V13, 1, 1 },
    { "stateful ticket, 1.2 server: the random id",
      ONLY_12, 0, BOTH, BY_ID, V13, 1, 0 },
    { "1.2 ticket that decrypts",
      ONLY_12, 1, ONLY_12, BY_TICKET, V12, 0, 1 },
    { "1.2 ticket that does not decrypt",
      ONLY_12, 1, ONLY_12, BY_FOREIGN_TICKET, V12, 0, 0 },
    { "1.2 ticket, server without tickets",
      ONLY_12, 0, ONLY_12, BY_FOREIGN_TICKET, V12, 1, 0 },
    { "1.3 stateless ticket that decrypts",
      ONLY_13, 1, ONLY_13, BY_TICKET, V13, 0, 1 },
    { "1.3 stateless ticket that does not decrypt",
      ONLY_13, 1, ONLY_13, BY_FOREIGN_TICKET, V13, 0, 0 },
};

static int lowest(versions v)
{
    return v == ONLY_13 ? V13 : V12;
}

static int highest(versions v)
{
    return v == ONLY_12 ? V12 : V13;
}

static void set_versions(SSL_CTX *ctx, versions v)
{
    SSL_CTX_set_min_proto_version(ctx, lowest(v));
    SSL_CTX_set_max_proto_version(ctx, highest(v));
}

static void set_tickets(SSL_CTX *ctx, int on)
{
    if (on)
        SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
    else
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
}

/*
 * A client's session of s. Its server is the park's, set for the while to what
 * makes such a session, or another one when the ticket must not decrypt.
 */
static SSL_SESSION *make_offer(park *p, const situation *s)
{
    SSL_CTX *client, *server;
    SSL_SESSION *session;

    if (s->offer == NOTHING)
        return NULL;
    client = new_client(s->session_version, s->session_version);
    if (s->offer == BY_FOREIGN_TICKET) {
        server = new_server(s->session_version, s->session_version);
        session = full_handshake(server, client);
        SSL_CTX_free(server);
    } else {
        set_versions(p->ctx, BOTH);
        set_tickets(p->ctx, s->offer == BY_TICKET);
        session = full_handshake(p->ctx, client);
    }
    SSL_CTX_free(client);
    return session;
}

/* The ids written down are those that get_cb is then asked for, in order. */
static int asked_as_written(const park *p, const lookup *l)
{
    int i;

    if (l == NULL || l->count != p->asked_count)
        return 0;
    for (i = 0; i < l->count; i++)
        if (!same_id(l->keys[i].id, p->asked[i]))
            return 0;
    return 1;
}

static void check_situation(report *r, const situation *s)
{
    SSL_CTX *client = new_client(lowest(s->client), highest(s->client));
    SSL_SESSION *session;
    connection c;
    park p;

    park_start(&p, r, new_stateful_server(V12));
    session = make_offer(&p, s);
    check(r, session != NULL || s->offer == NOTHING, "%s: a session is made",
          s->what);
    set_versions(p.ctx, s->server);
    set_tickets(p.ctx, s->server_tickets);

    c = parked_connection(&p, client, session);
    check(r, handshake(&c), "%s: the handshake completes", s->what);
    check(r, resumed(&c) == s->resumes, "%s: %s", s->what,
          s->resumes ? "it resumes" : "a full handshake");
    check(r, asked_as_written(&p, lookup_of(c.server)),
          "%s: get_cb is asked for exactly the ids written down", s->what);
    check(r, p.store_reads == s->keys && p.suspensions == (s->keys > 0),
          "%s: %d lookups expected, %d made", s->what, s->keys, p.store_reads);
    close_cleanly(&c);

    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

static void contract_R35(report *r)
{
    size_t i;

    for (i = 0; i < sizeof(situations) / sizeof(*situations); i++)
        check_situation(r, &situations[i]);
}

/* ---- R38 ---- */

/* The pre_shared_key extension in the ClientHello callback, and later. */
typedef struct seen_extension {
    SSL *ssl; /* for on_remove, which has none */
    unsigned char whole[1024];
    size_t whole_len;
    unsigned char later[1024];
    size_t later_len;
    int later_seen;
} seen_extension;

static size_t copy_identities(SSL *ssl, unsigned char *to, size_t size)
{
    const unsigned char *p;
    size_t len;

    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &p, &len)
        || len > size)
        return 0;
    memcpy(to, p, len);
    return len;
}

static void look_later(seen_extension *seen)
{
    seen->later_len =
        copy_identities(seen->ssl, seen->later, sizeof(seen->later));
    seen->later_seen++;
}

static int look_in_hello(SSL *ssl, int *alert, void *arg)
{
    seen_extension *seen = arg;

    seen->ssl = ssl;
    seen->whole_len = copy_identities(ssl, seen->whole, sizeof(seen->whole));
    return SSL_CLIENT_HELLO_SUCCESS;
}

static SSL_SESSION *look_in_get(recorder *rec, SSL *ssl, session_id id)
{
    look_later(rec->arg);
    return store_get(rec->store, id.bytes, id.len);
}

static void look_in_remove(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    seen_extension *seen = rec->arg;

    if (seen->ssl != NULL && seen->later_seen == 0)
        look_later(seen);
}

/* The list of identities is gone; what follows it, the binders, is left. */
static void check_only_the_tail(report *r, const seen_extension *seen,
                                const char *where)
{
    size_t identities = 2 + two_bytes(seen->whole);

    check(r, seen->whole_len > identities,
          "the ClientHello callback sees the whole extension");
    check(r,
          seen->later_seen == 1
              && seen->later_len == seen->whole_len - identities
              && memcmp(seen->later, seen->whole + identities, seen->later_len)
                  == 0,
          "%s sees only what follows the identities, %zu of %zu bytes", where,
          seen->later_len, seen->whole_len);
}

static void look_inside_callback(report *r, int in_remove)
{
    seen_extension seen;
    recorder rec;
    store *st = store_new();
    SSL_CTX *server = new_stateful_server(V13);
    SSL_CTX *client = new_client(V13, V13);
    SSL_SESSION *session;
    attempt a;

    memset(&seen, 0, sizeof(seen));
    record(&rec, r, server,
           in_remove ? RECORD_REMOVE : RECORD_NEW | RECORD_GET);
    rec.store = st;
    rec.arg = &seen;
    rec.on_get = look_in_get;
    rec.on_remove = look_in_remove;
    if (in_remove)
        SSL_CTX_set_max_early_data(server, 1024);
    else
        SSL_CTX_set_session_cache_mode(
            server, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    session = full_handshake(server, client);
    SSL_CTX_set_client_hello_cb(server, look_in_hello, &seen);
    a = try_resume(server, client, session);
    check(r, a.completed && a.resumed, "the session is resumed");
    check_only_the_tail(r, &seen, in_remove ? "remove_cb" : "get_cb");

    seen.ssl = NULL;
    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    store_free(st);
}

/* Undocumented: the accessors answer as long as the server is suspended. */
static void look_while_suspended(report *r, int version)
{
    const char *name = version_name(version);
    SSL_CTX *client = new_client(version, version);
    const unsigned char *id;
    SSL_SESSION *session;
    connection c;
    park p;

    park_start(&p, r, new_stateful_server(version));
    session = full_handshake(p.ctx, client);
    c = parked_connection(&p, client, session);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    check(r, p.suspensions == 1, "%s: suspended", name);
    check(r, SSL_client_hello_get0_session_id(c.server, &id) == 32,
          "%s: the session id can be read while suspended", name);
    check(r, handshake(&c) && resumed(&c), "%s: then it resumes", name);
    check(r, SSL_client_hello_get0_session_id(c.server, &id) == 0,
          "%s: and cannot be read after the handshake", name);
    close_cleanly(&c);
    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    park_stop(&p);
}

static void contract_R38(report *r)
{
    look_inside_callback(r, 0);
    look_inside_callback(r, 1);
    for_each_version(r, look_while_suspended);
}

/* ---- R39 and R41: a client with two identities ---- */

#define SECOND_IDENTITY_BYTE 0x55

/* An external PSK whose identity is as long as a stateful ticket. */
static int offer_second_identity(SSL *ssl, const EVP_MD *md,
                                 const unsigned char **id, size_t *id_len,
                                 SSL_SESSION **session)
{
    static const unsigned char identity[SSL_MAX_SSL_SESSION_ID_LENGTH] = {
        [0 ... SSL_MAX_SSL_SESSION_ID_LENGTH - 1] = SECOND_IDENTITY_BYTE
    };
    static const unsigned char aes_256_gcm_sha384[] = { 0x13, 0x02 };
    unsigned char key[48] = { 9 };
    SSL_SESSION *s = SSL_SESSION_new();

    SSL_SESSION_set1_master_key(s, key, sizeof(key));
    SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, aes_256_gcm_sha384));
    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION);
    *session = s;
    *id = identity;
    *id_len = sizeof(identity);
    return 1;
}

static int is_second_identity(session_id id)
{
    unsigned int i;

    for (i = 0; i < id.len; i++)
        if (id.bytes[i] != SECOND_IDENTITY_BYTE)
            return 0;
    return id.len == SSL_MAX_SSL_SESSION_ID_LENGTH;
}

typedef struct two_identities {
    park park;
    SSL_CTX *client;
    SSL_SESSION *session; /* its ticket is the first identity */
    session_id ticket;
} two_identities;

static void two_identities_start(two_identities *t, report *r)
{
    park_start(&t->park, r, new_stateful_server(V13));
    t->park.take = 1;
    t->client = new_client(V13, V13);
    t->session = full_handshake(t->park.ctx, t->client);
    t->ticket = offered_id(t->session);
    SSL_CTX_set_psk_use_session_callback(t->client, offer_second_identity);
}

static void two_identities_stop(two_identities *t)
{
    SSL_SESSION_free(t->session);
    SSL_CTX_free(t->client);
    park_stop(&t->park);
}

/* get_cb asks for the ticket, then for the other identity. */
static int asked_for_both(const two_identities *t)
{
    return t->park.asked_count == 2 && same_id(t->park.asked[0], t->ticket)
        && is_second_identity(t->park.asked[1]);
}

static void contract_R39(report *r)
{
    two_identities t;
    connection c;

    two_identities_start(&t, r);
    c = parked_connection(&t.park, t.client, t.session);
    check(r, handshake(&c) && resumed(&c),
          "a hit for the first of two identities resumes");
    check(r, t.park.suspensions == 1 && t.park.store_reads == 2,
          "both were looked up in one suspension, got %d and %d",
          t.park.store_reads, t.park.suspensions);
    check(r, t.park.asked_count == 1 && same_id(t.park.asked[0], t.ticket),
          "get_cb is asked for the first alone, got %d calls",
          t.park.asked_count);
    close_cleanly(&c);

    /* The ticket has been taken, so neither is in the store. */
    c = parked_connection(&t.park, t.client, t.session);
    check(r, handshake(&c) && !resumed(&c), "two misses give a full handshake");
    check(r, t.park.suspensions == 1 && asked_for_both(&t),
          "get_cb is asked once for each, in the client's order, got %d calls",
          t.park.asked_count);
    close_cleanly(&c);
    two_identities_stop(&t);
}

static void contract_R41(report *r)
{
    two_identities t;
    connection c;

    two_identities_start(&t, r);
    t.park.max_keys = 1;
    c = parked_connection(&t.park, t.client, t.session);
    check(r, handshake(&c) && resumed(&c) && t.park.store_reads == 1,
          "an id within the limit is looked up and resumed, %d lookups",
          t.park.store_reads);
    close_cleanly(&c);

    c = parked_connection(&t.park, t.client, t.session);
    check(r, handshake(&c) && !resumed(&c), "past the limit: a full handshake");
    check(r,
          t.park.store_reads == 1 && t.park.suspensions == 1
              && asked_for_both(&t),
          "the id past the limit costs no lookup; get_cb is asked and answers "
          "NULL");
    close_cleanly(&c);
    two_identities_stop(&t);
}

const rule hello_rules[] = { { "R35", contract_R35, 0 },
                             { "R38", contract_R38, 0 },
                             { "R39", contract_R39, 0 },
                             { "R41", contract_R41, 0 },
                             { NULL, NULL, 0 } };
