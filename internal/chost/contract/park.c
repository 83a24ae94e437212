/* Servers that look sessions up while the handshake is suspended. */
#include "park.h"

static CRYPTO_ONCE lookup_once = CRYPTO_ONCE_STATIC_INIT;
static int lookup_index;

/* The SSL is being freed: this is how a lookup ends, answered or not. */
static void free_lookup(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
                        long argl, void *argp)
{
    lookup *l = ptr;
    int i;

    if (l == NULL)
        return;
    for (i = 0; i < l->count; i++) {
        free_der(&l->keys[i].bytes);
        SSL_SESSION_free(l->keys[i].object);
    }
    l->park->lookups_alive--;
    free(l);
}

static void register_lookup(void)
{
    lookup_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_lookup);
}

lookup *lookup_of(SSL *ssl)
{
    return SSL_get_ex_data(ssl, lookup_index);
}

static lookup *ensure_lookup(park *p, SSL *ssl)
{
    lookup *l = lookup_of(ssl);

    if (l != NULL)
        return l;
    l = calloc(1, sizeof(*l));
    l->park = p;
    SSL_set_ex_data(ssl, lookup_index, l);
    p->lookups_alive++;
    return l;
}

static wanted *find_wanted(lookup *l, session_id id)
{
    int i;

    for (i = 0; i < l->count; i++)
        if (same_id(l->keys[i].id, id))
            return &l->keys[i];
    return NULL;
}

static void want(lookup *l, session_id id)
{
    if (id.len == 0 || l->count == l->park->max_keys || find_wanted(l, id))
        return;
    l->keys[l->count++].id = id;
}

static int unanswered(const lookup *l)
{
    int i, n = 0;

    for (i = 0; i < l->count; i++)
        if (!l->keys[i].answered)
            n++;
    return n;
}

/* ---- which ids a ClientHello asks for ---- */

size_t two_bytes(const unsigned char *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static int client_offers_tls13(SSL *ssl)
{
    const unsigned char *list;
    size_t len, i;

    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &list,
                                   &len))
        return 0;
    for (i = 1; i + 1 < len; i += 2)
        if (two_bytes(list + i) == TLS1_3_VERSION)
            return 1;
    return 0;
}

static int server_speaks_tls13(SSL *ssl)
{
    int max = SSL_get_max_proto_version(ssl);

    return max == 0 || max >= TLS1_3_VERSION;
}

/* The identities of the pre_shared_key extension that are stateful tickets. */
static void want_identities(lookup *l, SSL *ssl)
{
    const unsigned char *p;
    size_t len, end, at, size;

    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &p, &len) || len < 2)
        return;
    end = 2 + two_bytes(p);
    if (end > len)
        return;
    for (at = 2; at + 2 <= end; at += 2 + size + 4) {
        size = two_bytes(p + at);
        if (at + 2 + size + 4 > end)
            return;
        if (size == SSL_MAX_SSL_SESSION_ID_LENGTH)
            want(l, id_from(p + at + 2, size));
    }
}

/* A ticket of TLS 1.2 that the server would try to decrypt. */
static int has_ticket(SSL *ssl)
{
    const unsigned char *p;
    size_t len;

    return (SSL_get_options(ssl) & SSL_OP_NO_TICKET) == 0
        && SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_session_ticket, &p, &len)
        && len > 0;
}

static void want_session_id(lookup *l, SSL *ssl)
{
    const unsigned char *id;
    size_t len = SSL_client_hello_get0_session_id(ssl, &id);

    if (!has_ticket(ssl))
        want(l, id_from(id, len));
}

static int suspend_hello(SSL *ssl, int *alert, void *arg)
{
    park *p = arg;
    lookup *l = ensure_lookup(p, ssl);

    p->hello_calls++;
    if (server_speaks_tls13(ssl) && client_offers_tls13(ssl))
        want_identities(l, ssl);
    else
        want_session_id(l, ssl);
    if (unanswered(l) == 0)
        return SSL_CLIENT_HELLO_SUCCESS;
    p->suspensions++;
    return SSL_CLIENT_HELLO_RETRY;
}

/* ---- answers ---- */

static void answer(park *p, wanted *w)
{
    p->store_reads++;
    w->bytes = store_get_der(p->store, w->id.bytes, w->id.len);
    w->answered = 1;
    if (w->bytes.len == 0)
        return;
    if (p->take)
        store_delete(p->store, w->id.bytes, w->id.len);
    if (p->form != KEEP_BYTES) {
        w->object = decode(w->bytes);
        free_der(&w->bytes);
    }
}

int answer_lookup(SSL *ssl, void *arg)
{
    lookup *l = lookup_of(ssl);
    int i;

    if (l == NULL)
        return 0;
    for (i = 0; i < l->count; i++)
        if (!l->keys[i].answered)
            answer(arg, &l->keys[i]);
    return 1;
}

static SSL_SESSION *serve(park *p, wanted *w)
{
    SSL_SESSION *s = w->object;

    switch (p->form) {
    case KEEP_BYTES:
        return w->bytes.len == 0 ? NULL : decode(w->bytes);
    case GIVE_OBJECT:
        w->object = NULL;
        return s;
    case SHARE_OBJECT:
        break;
    }
    if (s != NULL)
        SSL_SESSION_up_ref(s);
    return s;
}

static SSL_SESSION *get_answer(recorder *rec, SSL *ssl, session_id id)
{
    park *p = rec->arg;
    lookup *l = lookup_of(ssl);
    wanted *w = l == NULL ? NULL : find_wanted(l, id);

    if (p->asked_count < MAX_ASKED)
        p->asked[p->asked_count] = id;
    p->asked_count++;
    p->get_thread = thread_id();
    return w == NULL ? NULL : serve(p, w);
}

/* ---- parks ---- */

void park_clear(park *p)
{
    recorder_clear(&p->rec);
    p->hello_calls = 0;
    p->suspensions = 0;
    p->store_reads = 0;
    p->asked_count = 0;
    p->get_thread = 0;
}

void park_start(park *p, report *r, SSL_CTX *ctx)
{
    CRYPTO_THREAD_run_once(&lookup_once, register_lookup);
    memset(p, 0, sizeof(*p));
    p->ctx = ctx;
    p->store = store_new();
    p->max_keys = MAX_KEYS;
    SSL_CTX_set_session_cache_mode(
        ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    record(&p->rec, r, ctx, RECORD_NEW | RECORD_GET);
    p->rec.store = p->store;
    p->rec.on_get = get_answer;
    p->rec.arg = p;
    SSL_CTX_set_client_hello_cb(ctx, suspend_hello, p);
}

void park_stop(park *p)
{
    SSL_CTX_free(p->ctx);
    store_free(p->store);
}

connection parked_connection(park *p, SSL_CTX *client, SSL_SESSION *session)
{
    SSL_SESSION *offer = session == NULL ? NULL : SSL_SESSION_dup(session);
    connection c = new_connection(p->ctx, client, offer);

    SSL_SESSION_free(offer);
    c.resume_hello = answer_lookup;
    c.resume_arg = p;
    park_clear(p);
    return c;
}

int resumed(const connection *c)
{
    return SSL_session_reused(c->server) && SSL_session_reused(c->client);
}
