/* R13, R14: sessions that get_session_cb had better not return. */
#include "harness.h"

#define STORE SSL_SESS_CACHE_SERVER
#define NO_INTERNAL (SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)

/* ---- R13: what makes a returned session useless, or worse ------------------ */

static void make_expired(recorder *rec, SSL_SESSION *s)
{
    set_session_time(s, (long)time(NULL) - 100000);
    SSL_SESSION_set_timeout(s, 10);
}

static void change_version(recorder *rec, SSL_SESSION *s)
{
    int version = SSL_SESSION_get_protocol_version(s);

    SSL_SESSION_set_protocol_version(s, version == TLS1_2_VERSION ?
                                     TLS1_3_VERSION : TLS1_2_VERSION);
}

static void change_id_context(recorder *rec, SSL_SESSION *s)
{
    SSL_SESSION_set1_id_context(s, (const unsigned char *)"other", 5);
}

static void make_not_resumable(recorder *rec, SSL_SESSION *s)
{
    SSL_CTX *unrelated = new_server(TLS1_2_VERSION, TLS1_3_VERSION);

    SSL_CTX_remove_session(unrelated, s);
    SSL_CTX_free(unrelated);
}

static void change_id(recorder *rec, SSL_SESSION *s)
{
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];

    memset(id, 0x42, sizeof(id));
    SSL_SESSION_set1_id(s, id, sizeof(id));
}

static const SSL_CIPHER *cipher_of(SSL_CTX *ctx, unsigned int code)
{
    SSL *ssl = SSL_new(ctx);
    unsigned char bytes[] = { (unsigned char)(code >> 8), (unsigned char)code };
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, bytes);

    SSL_free(ssl);
    return cipher;
}

/* One that the client offers too, in TLS 1.3 with another hash. */
static void change_cipher(recorder *rec, SSL_SESSION *s)
{
    int version = SSL_SESSION_get_protocol_version(s);

    SSL_SESSION_set_cipher(s, cipher_of(rec->ctx, version == TLS1_2_VERSION ?
                                        0xC02B : 0x1301));
}

typedef struct rejection {
    const char *what;
    void (*alter)(recorder *rec, SSL_SESSION *s);
    int version;
    long mode;
    int completes;
    int resumes;
    int removes;                    /* remove_cb calls */
    int left_cached;                /* else destroyed before SSL_CTX_free */
    int reason;                     /* the server's, when it fails */
} rejection;

#define V12 TLS1_2_VERSION
#define V13 TLS1_3_VERSION

static const rejection rejections[] = {
    { "expired", make_expired, V12, NO_INTERNAL, 1, 0, 1, 0, 0 },
    { "expired", make_expired, V12, STORE, 1, 0, 1, 0, 0 },
    { "expired", make_expired, V13, NO_INTERNAL, 1, 0, 0, 0, 0 },
    { "expired", make_expired, V13, STORE, 1, 0, 0, 1, 0 },
    { "wrong version", change_version, V12, NO_INTERNAL, 1, 0, 0, 0, 0 },
    { "wrong version", change_version, V12, STORE, 1, 0, 0, 1, 0 },
    { "wrong version", change_version, V13, NO_INTERNAL, 1, 0, 0, 0, 0 },
    { "wrong version", change_version, V13, STORE, 1, 0, 0, 1, 0 },
    { "wrong id context", change_id_context, V12, NO_INTERNAL, 1, 0, 0, 0,
      0 },
    { "wrong id context", change_id_context, V12, STORE, 1, 0, 0, 1, 0 },
    { "wrong id context", change_id_context, V13, NO_INTERNAL, 1, 0, 0, 0,
      0 },
    { "wrong id context", change_id_context, V13, STORE, 1, 0, 0, 1, 0 },
    { "not resumable", make_not_resumable, V12, NO_INTERNAL, 1, 0, 0, 0, 0 },
    { "not resumable", make_not_resumable, V12, STORE, 1, 0, 0, 0, 0 },
    { "not resumable", make_not_resumable, V13, NO_INTERNAL, 1, 0, 0, 0, 0 },
    { "not resumable", make_not_resumable, V13, STORE, 1, 0, 0, 0, 0 },
    { "another id", change_id, V12, NO_INTERNAL, 0, 0, 1, 0,
      SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE },
    { "another id", change_id, V12, STORE, 0, 0, 1, 0,
      SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE },
    { "another id", change_id, V13, NO_INTERNAL, 1, 1, 0, 0, 0 },
    { "another cipher", change_cipher, V12, NO_INTERNAL, 0, 0, 1, 0,
      SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER },
    { "another hash", change_cipher, V13, NO_INTERNAL, 1, 0, 0, 0, 0 },
};

/* Since 3.6.5 a server compares the ids: a miss, with the session still cached. */
static const rejection ids_compared[] = {
    { "another id", change_id, V12, NO_INTERNAL, 1, 0, 0, 0, 0 },
    { "another id", change_id, V12, STORE, 1, 0, 0, 1, 0 },
};

/* Offers a session of the first server to a second one that spoils it. */
static void try_rejection(report *r, const rejection *want, int *compares_ids)
{
    const char *name = version_name(want->version);
    const char *mode = want->mode == STORE ? "stored internally"
                                           : "NO_INTERNAL";
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;
    int destroyed;

    scene_open(&sc, r, want->version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, want->mode);
    rec.alter = want->alter;
    a = try_resume(server, sc.client, s);
    destroyed = session_destroyed(rec.got_birth);
    if (want->alter == change_id && want->version == V12) {
        if (*compares_ids < 0)      /* the first such row says for all */
            *compares_ids = a.completed;
        if (*compares_ids)
            want = &ids_compared[want->mode == STORE];
        check(r, SSL_CTX_sess_cb_hits(server) == 1 && SSL_CTX_sess_timeouts(server) == 0,
              "%s, %s, %s: it was found, and good", name, want->what, mode);
    }
    check(r, rec.get_calls == 1 && rec.got_birth != 0,
          "%s, %s, %s: returned to the library", name, want->what, mode);
    check(r, a.completed == want->completes && a.resumed == want->resumes,
          "%s, %s, %s: completed %d, resumed %d (server: %s, client: %s)",
          name, want->what, mode, a.completed, a.resumed,
          reason_text(a.server_reason), reason_text(a.client_reason));
    check(r, a.server_reason == want->reason,
          "%s, %s, %s: reason at the server: %s", name, want->what, mode,
          reason_text(a.server_reason));
    check(r, rec.remove_calls == want->removes,
          "%s, %s, %s: remove_cb calls: %d", name, want->what, mode,
          rec.remove_calls);
    check(r, destroyed == !want->left_cached, "%s, %s, %s: object %s", name,
          want->what, mode,
          destroyed ? "destroyed" : "left in the internal cache");
    SSL_CTX_free(server);
    check(r, session_destroyed(rec.got_birth), "%s, %s, %s: destroyed at last",
          name, want->what, mode);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/* With *copy = 1 a session that is not resumable is not touched at all. */
static void R13_not_resumable_copied(report *r, int version)
{
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, STORE);
    rec.alter = make_not_resumable;
    rec.copy = 1;
    a = try_resume(server, sc.client, s);
    SSL_CTX_free(server);
    check(r, a.completed && !a.resumed && !session_destroyed(rec.got_birth),
          "%s, not resumable, *copy = 1: still the callee's",
          version_name(version));
    give_back(rec.got);
    check(r, session_destroyed(rec.got_birth),
          "%s, not resumable, *copy = 1: destroyed by one SSL_SESSION_free",
          version_name(version));
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/* A hit while VERIFY_PEER is set and there is no session id context. */
static void R13_no_id_context(report *r, int version)
{
    const char *name = version_name(version);
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_id_context(sc.server, NULL, 0);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, NO_INTERNAL);
    SSL_CTX_set_session_id_context(server, NULL, 0);
    SSL_CTX_set_verify(server, SSL_VERIFY_PEER, accept_any_peer);
    a = try_resume(server, sc.client, s);
    check(r, !a.completed
             && a.server_reason == SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED,
          "%s, VERIFY_PEER and no id context: a hit fails the handshake (%s)",
          name, reason_text(a.server_reason));
    check(r, rec.remove_calls == (version == TLS1_3_VERSION),
          "%s, VERIFY_PEER and no id context: remove_cb calls: %d", name,
          rec.remove_calls);
    check(r, session_destroyed(rec.got_birth),
          "%s, VERIFY_PEER and no id context: object destroyed", name);
    SSL_CTX_free(server);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/* TLS 1.2: a session with extended master secret, a ClientHello without. */
static void R13_extended_master_secret(report *r)
{
    scene sc;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(sc.server, NO_INTERNAL);
    s = full_handshake(sc.server, sc.client);
    SSL_CTX_set_options(sc.client, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    a = try_resume(sc.server, sc.client, s);
    check(r, !a.completed && a.server_reason == SSL_R_INCONSISTENT_EXTMS,
          "TLS 1.2, no extended master secret any more: fails (%s)",
          reason_text(a.server_reason));
    check(r, sc.rec.remove_calls == 0 && session_destroyed(sc.rec.got_birth),
          "TLS 1.2, no extended master secret any more: remove_cb calls: %d,"
          " object destroyed", sc.rec.remove_calls);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

/*
 * A session made by SSL_SESSION_new, as get_cb's answer. With a cipher it is
 * the control: the same steps, and no crash.
 */
typedef struct handmade {
    int version;
    int with_cipher;
} handmade;

static SSL_SESSION *answer_handmade(recorder *rec, SSL *ssl, session_id id)
{
    static const unsigned char key[48] = { 1 };
    const handmade *h = rec->arg;
    SSL_SESSION *s = SSL_SESSION_new();

    SSL_SESSION_set1_id(s, id.bytes, id.len);
    SSL_SESSION_set_protocol_version(s, h->version);
    SSL_SESSION_set1_id_context(s, (const unsigned char *)ID_CONTEXT,
                                sizeof(ID_CONTEXT) - 1);
    SSL_SESSION_set1_master_key(s, key, sizeof(key));
    if (h->with_cipher)
        SSL_SESSION_set_cipher(s, cipher_of(rec->ctx,
                                            h->version == TLS1_2_VERSION ?
                                            0xC02C : 0x1302));
    return s;
}

/* Exit status 0: get_cb was asked and the server went on. */
static int serve_handmade(report *r, handmade h)
{
    scene sc;
    SSL_SESSION *s;

    scene_open(&sc, r, h.version);
    SSL_CTX_set_session_cache_mode(sc.server, NO_INTERNAL);
    SSL_CTX_set_options(sc.client, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    s = full_handshake(sc.server, sc.client);
    sc.rec.on_get = answer_handmade;
    sc.rec.arg = &h;
    try_resume(sc.server, sc.client, s);
    return sc.rec.get_calls == 1 ? 0 : 1;
}

static int no_cipher_12(report *r)
{
    return serve_handmade(r, (handmade){ TLS1_2_VERSION, 0 });
}

static int no_cipher_13(report *r)
{
    return serve_handmade(r, (handmade){ TLS1_3_VERSION, 0 });
}

static int with_cipher_12(report *r)
{
    return serve_handmade(r, (handmade){ TLS1_2_VERSION, 1 });
}

static int with_cipher_13(report *r)
{
    return serve_handmade(r, (handmade){ TLS1_3_VERSION, 1 });
}

static void R13_no_cipher(report *r, int version)
{
    int is13 = version == TLS1_3_VERSION;
    child_result without, with;

    without = run_child(is13 ? "no-cipher-1.3" : "no-cipher-1.2", 60);
    with = run_child(is13 ? "with-cipher-1.3" : "with-cipher-1.2", 60);
    check(r, without.end == CHILD_CRASHED,
          "%s, no cipher: the process %s", version_name(version),
          child_end_name(without.end));
    check(r, with.end == CHILD_EXITED && with.status == 0,
          "%s, the same with a cipher: the process %s, %d",
          version_name(version), child_end_name(with.end), with.status);
}

static void contract_R13(report *r)
{
    int compares_ids = -1;
    size_t i;

    for (i = 0; i < sizeof(rejections) / sizeof(rejections[0]); i++)
        try_rejection(r, &rejections[i], &compares_ids);
    for_each_version(r, R13_not_resumable_copied);
    for_each_version(r, R13_no_id_context);
    R13_extended_master_secret(r);
    for_each_version(r, R13_no_cipher);
}

/* ---- R14: look before you return ------------------------------------------- */

static int is_usable(SSL *ssl, SSL_SESSION *s, session_id asked)
{
    unsigned int len;
    const unsigned char *context = SSL_SESSION_get0_id_context(s, &len);
    long now = (long)time(NULL), start = session_time(s);
    long timeout = SSL_SESSION_get_timeout(s);

    return same_id(id_of(s), asked)
           && SSL_SESSION_get0_cipher(s) != NULL
           && SSL_SESSION_get_protocol_version(s) == SSL_version(ssl)
           && len == sizeof(ID_CONTEXT) - 1
           && memcmp(context, ID_CONTEXT, len) == 0
           && start > 0 && start <= now + 60
           && timeout > 0 && timeout <= 86400
           && start + timeout >= now;
}

typedef struct careful {
    void (*alter)(recorder *rec, SSL_SESSION *s);
    unsigned long birth;
    int refused;
} careful;

/* Spoils a decode as R13 does, but looks at it before returning it. */
static SSL_SESSION *answer_carefully(recorder *rec, SSL *ssl, session_id id)
{
    careful *c = rec->arg;
    SSL_SESSION *s = store_get(rec->store, id.bytes, id.len);

    c->birth = session_birth(s);
    if (c->alter != NULL)
        c->alter(rec, s);
    if (is_usable(ssl, s, id))
        return s;
    c->refused++;
    SSL_SESSION_free(s);
    return NULL;
}

static void refuse_spoilt(report *r, int version, const char *what,
                          void (*alter)(recorder *rec, SSL_SESSION *s))
{
    careful c = { alter, 0, 0 };
    scene sc;
    recorder rec;
    SSL_CTX *server;
    SSL_SESSION *s;
    attempt a;

    scene_open(&sc, r, version);
    s = full_handshake(sc.server, sc.client);
    server = scene_second_server(&sc, &rec, STORE);
    rec.on_get = answer_carefully;
    rec.arg = &c;
    a = try_resume(server, sc.client, s);
    check(r, a.completed && a.resumed == (alter == NULL)
             && c.refused == (alter != NULL),
          "%s, %s, checked first: completed %d, resumed %d",
          version_name(version), what, a.completed, a.resumed);
    check(r, rec.remove_calls == 0, "%s, %s, checked first: no remove_cb",
          version_name(version), what);
    SSL_CTX_free(server);
    check(r, session_destroyed(c.birth), "%s, %s, checked first: destroyed",
          version_name(version), what);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void R14_checked_first(report *r, int version)
{
    refuse_spoilt(r, version, "sound", NULL);
    refuse_spoilt(r, version, "expired", make_expired);
    refuse_spoilt(r, version, "wrong version", change_version);
    refuse_spoilt(r, version, "wrong id context", change_id_context);
    refuse_spoilt(r, version, "another id", change_id);
}

static void contract_R14(report *r)
{
    for_each_version(r, R14_checked_first);
}

const rule answer_rules[] = {
    { "R13", contract_R13, 1 },
    { "R14", contract_R14, 0 },
    { NULL, NULL, 0 },
};

const child_scenario answer_children[] = {
    { "no-cipher-1.2", no_cipher_12, NULL },
    { "no-cipher-1.3", no_cipher_13, NULL },
    { "with-cipher-1.2", with_cipher_12, NULL },
    { "with-cipher-1.3", with_cipher_13, NULL },
    { NULL, NULL, NULL },
};
