/* The three session callbacks of one context, counted. */
#include "harness.h"
#include "parts.h"

static int ctx_index;
static int ssl_index;

void recorder_start(void)
{
    ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/*
 * SSL_set_SSL_CTX changes what SSL_get_SSL_CTX answers, so an SSL remembers
 * the recorder of the context that it was made with. new_connection asks first:
 * a new_func of the index could not, since in OpenSSL 3.5 an SSL has no context
 * yet when that runs.
 */
recorder *recorder_of(SSL *ssl)
{
    recorder *rec = SSL_get_ex_data(ssl, ssl_index);

    if (rec != NULL)
        return rec;
    rec = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);
    SSL_set_ex_data(ssl, ssl_index, rec);
    return rec;
}

static int on_new(SSL *ssl, SSL_SESSION *s)
{
    recorder *rec = recorder_of(ssl);

    if (rec->new_calls < RECORDER_MAX)
        rec->new_ids[rec->new_calls] = id_of(s);
    rec->new_calls++;
    if (rec->on_new != NULL)
        rec->on_new(rec, ssl, s);
    if (rec->store != NULL)
        store_put(rec->store, s);
    if (!rec->keep || rec->kept_count == RECORDER_MAX)
        return 0;
    rec->kept[rec->kept_count++] = s;
    return 1;
}

static SSL_SESSION *answer(recorder *rec, SSL *ssl)
{
    if (rec->on_get != NULL)
        return rec->on_get(rec, ssl, rec->get_id);
    if (rec->store != NULL)
        return store_get(rec->store, rec->get_id.bytes, rec->get_id.len);
    return NULL;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int len,
                           int *copy)
{
    recorder *rec = recorder_of(ssl);
    SSL_SESSION *s;

    rec->get_calls++;
    rec->copy_on_entry = *copy;
    rec->get_id = id_from(id, (size_t)len);
    rec->get_id_at = id;
    if (rec->copy != COPY_UNWRITTEN)
        *copy = rec->copy;
    s = answer(rec, ssl);
    if (s != NULL && rec->alter != NULL)
        rec->alter(rec, s);
    rec->got = s;
    rec->got_birth = s == NULL ? 0 : session_birth(s);
    return s;
}

static void on_remove(SSL_CTX *ctx, SSL_SESSION *s)
{
    recorder *rec = SSL_CTX_get_ex_data(ctx, ctx_index);

    rec->remove_calls++;
    rec->removed_from = ctx;
    rec->removed_id = id_of(s);
    rec->removed_birth = session_birth(s);
    rec->removed_resumable = SSL_SESSION_is_resumable(s);
    rec->removed_thread = thread_id();
    if (rec->on_remove != NULL)
        rec->on_remove(rec, ctx, s);
}

void record(recorder *rec, report *r, SSL_CTX *ctx, int which)
{
    memset(rec, 0, sizeof(*rec));
    rec->report = r;
    rec->ctx = ctx;
    SSL_CTX_set_ex_data(ctx, ctx_index, rec);
    if (which & RECORD_NEW)
        SSL_CTX_sess_set_new_cb(ctx, on_new);
    if (which & RECORD_GET)
        SSL_CTX_sess_set_get_cb(ctx, on_get);
    if (which & RECORD_REMOVE)
        SSL_CTX_sess_set_remove_cb(ctx, on_remove);
}

void recorder_clear(recorder *rec)
{
    rec->new_calls = 0;
    memset(rec->new_ids, 0, sizeof(rec->new_ids));
    rec->get_calls = 0;
    rec->copy_on_entry = -99;
    rec->get_id = id_from(NULL, 0);
    rec->get_id_at = NULL;
    rec->got_birth = 0;
    rec->got = NULL;
    rec->remove_calls = 0;
    rec->removed_from = NULL;
    rec->removed_id = id_from(NULL, 0);
    rec->removed_birth = 0;
    rec->removed_resumable = -1;
    rec->removed_thread = 0;
}

void recorder_release(recorder *rec)
{
    int i;

    for (i = 0; i < rec->kept_count; i++)
        give_back(rec->kept[i]);
    rec->kept_count = 0;
}

void scene_open(scene *sc, report *r, int version)
{
    sc->version = version;
    sc->server = new_stateful_server(version);
    sc->client = new_client(version, version);
    sc->store = store_new();
    record(&sc->rec, r, sc->server, RECORD_ALL);
    sc->rec.store = sc->store;
}

void scene_open_authentication(scene *sc, report *r)
{
    EVP_PKEY *key = new_key();
    X509 *certificate = new_certificate(key, "client");

    scene_open(sc, r, TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(sc->server, 2);
    SSL_CTX_use_certificate(sc->client, certificate);
    SSL_CTX_use_PrivateKey(sc->client, key);
    SSL_CTX_set_post_handshake_auth(sc->client, 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

SSL_CTX *scene_second_server(scene *sc, recorder *rec, long mode)
{
    SSL_CTX *ctx = new_stateful_server(sc->version);

    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, mode);
    record(rec, sc->rec.report, ctx, RECORD_GET | RECORD_REMOVE);
    rec->store = sc->store;
    return ctx;
}

void scene_close(scene *sc)
{
    join_lock_probes(sc->rec.report);
    SSL_CTX_free(sc->server);
    SSL_CTX_free(sc->client);
    store_free(sc->store);
}
