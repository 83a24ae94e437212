/*
 * The session stores. The external ones, der and ref, are one table: a ring of
 * preallocated entries, of which the oldest is the next to be used again, and
 * chains of indices over it. The ids are the server's own random bytes, so
 * their first four are hash enough.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>

#include "cserver.h"

enum {
    ID_MAX = 32,
    INLINE_MAX = 216,          /* a session without client certificate is 140 bytes */
    CERT_LIST_MAX = 16 << 10,  /* what a client may send as its chain */
    DER_MAX = CERT_LIST_MAX + 4096, /* the leaf and, with room to spare, all other fields */
    LIFETIME = 3600,
    NIL = -1
};

typedef struct entry {
    int32_t next;              /* in the chain of its bucket; NIL: the last */
    uint16_t id_len;           /* 0: the entry holds nothing */
    uint16_t len;              /* of the value */
    unsigned char id[ID_MAX];
    SSL_SESSION *ref;          /* store ref: owned */
    unsigned char *big;        /* a value longer than INLINE_MAX, else NULL; kept for the next one */
    size_t big_cap;
    unsigned char small[INLINE_MAX];
} entry;

static struct {
    entry *ring;
    int32_t *buckets;
    uint32_t mask;
    int32_t size, oldest;
    struct timespec delay;
} table;

static uint32_t bucket_of(const unsigned char *id, size_t len)
{
    uint32_t h = 0;

    memcpy(&h, id, len < sizeof h ? len : sizeof h);
    return h & table.mask;
}

static int32_t *find(const unsigned char *id, size_t len)
{
    int32_t *at = &table.buckets[bucket_of(id, len)];

    while (*at != NIL) {
        entry *e = &table.ring[*at];

        if (e->id_len == len && memcmp(e->id, id, len) == 0)
            break;
        at = &e->next;
    }
    return at;
}

/* Takes the entry that *at names out of its chain and empties it. */
static void drop(int32_t *at)
{
    entry *e = &table.ring[*at];

    *at = e->next;
    e->id_len = 0;
    SSL_SESSION_free(e->ref);
    e->ref = NULL;
}

/* An empty entry under id, which is new or replaces its namesake. */
static entry *put(const unsigned char *id, size_t len)
{
    int32_t *at = find(id, len), i = table.oldest;
    entry *e = &table.ring[i];

    if (*at != NIL)
        drop(at);
    if (e->id_len != 0)
        drop(find(e->id, e->id_len));
    table.oldest = i + 1 == table.size ? 0 : i + 1;
    memcpy(e->id, id, len);
    e->id_len = (uint16_t)len;
    at = &table.buckets[bucket_of(id, len)];
    e->next = *at;
    *at = i;
    counted.stored++;
    return e;
}

static int new_der(SSL *ssl, SSL_SESSION *s)
{
    unsigned char der[DER_MAX], *p = der, *value;
    unsigned int id_len;
    const unsigned char *id = SSL_SESSION_get_id(s, &id_len);
    int len = i2d_SSL_SESSION(s, &p);
    entry *e;

    (void)ssl;
    if (len <= 0)
        return 0;
    e = put(id, id_len);
    value = e->small;
    if (len > INLINE_MAX) {
        if (e->big_cap < (size_t)len) {
            unsigned char *big = realloc(e->big, (size_t)len);

            if (big == NULL) {
                drop(find(id, id_len));
                return 0;
            }
            e->big = big;
            e->big_cap = (size_t)len;
        }
        value = e->big;
    }
    memcpy(value, der, (size_t)len);
    e->len = (uint16_t)len;
    return 0;
}

static int new_ref(SSL *ssl, SSL_SESSION *s)
{
    unsigned int id_len;
    const unsigned char *id = SSL_SESSION_get_id(s, &id_len);

    (void)ssl;
    put(id, id_len)->ref = s;
    return 1;                  /* the reference is the table's now */
}

static entry *look_up(const unsigned char *id, int len)
{
    int32_t i;

    if (table.delay.tv_sec != 0 || table.delay.tv_nsec != 0)
        (void)nanosleep(&table.delay, NULL);
    counted.lookups++;
    i = *find(id, (size_t)len);
    if (i == NIL)
        return NULL;
    counted.hits++;
    return &table.ring[i];
}

static SSL_SESSION *get_der(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    entry *e = look_up(id, len);
    const unsigned char *p;

    (void)ssl;
    *copy = 0;                 /* a fresh object, and libssl's own */
    if (e == NULL)
        return NULL;
    p = e->len > INLINE_MAX ? e->big : e->small;
    return d2i_SSL_SESSION(NULL, &p, e->len);
}

/*
 * The object itself, to which libssl adds a reference of its own. Two
 * connections that use one object race on its not_resumable flag and two caches
 * on its list pointers; here is one thread, one SSL_CTX and no internal cache,
 * and in TLS 1.3 libssl makes a duplicate before it changes a resumed session
 * into the next one, so no SSL_SESSION_dup is needed.
 */
static SSL_SESSION *get_ref(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    entry *e = look_up(id, len);

    (void)ssl;
    *copy = 1;
    return e == NULL ? NULL : e->ref;
}

static void removed(SSL_CTX *ctx, SSL_SESSION *s)
{
    unsigned int id_len;
    const unsigned char *id = SSL_SESSION_get_id(s, &id_len);
    int32_t *at = find(id, id_len);

    (void)ctx;
    if (id_len > 0 && *at != NIL)
        drop(at);
}

static bool make_table(const options *o)
{
    size_t buckets = 1;

    while (buckets < 2 * o->max_sessions)
        buckets *= 2;
    table.size = (int32_t)o->max_sessions;
    table.mask = (uint32_t)buckets - 1;
    table.delay = (struct timespec){ o->lookup_delay / 1000000000, o->lookup_delay % 1000000000 };
    table.ring = malloc(o->max_sessions * sizeof *table.ring);
    table.buckets = malloc(buckets * sizeof *table.buckets);
    if (table.ring == NULL || table.buckets == NULL)
        return false;
    /* Written, so that no page is missing when it is measured. */
    memset(table.ring, 0, o->max_sessions * sizeof *table.ring);
    for (size_t i = 0; i < buckets; i++)
        table.buckets[i] = NIL;
    return true;
}

bool store_setup(SSL_CTX *ctx, const options *o)
{
    SSL_CTX_set_timeout(ctx, LIFETIME);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 1);
    switch (o->store) {
    case STORE_NONE:
        SSL_CTX_set_num_tickets(ctx, 0);
        return true;
    case STORE_TICKETS:
        SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
        return true;
    case STORE_INTERNAL:
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
        SSL_CTX_sess_set_cache_size(ctx, (long)o->max_sessions + 1);  /* it holds one less */
        return true;
    case STORE_DER:
    case STORE_REF:
        break;
    }
    if (!make_table(o)) {
        fprintf(stderr, "cserver: no memory for %zu sessions\n", o->max_sessions);
        return false;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, o->store == STORE_DER ? new_der : new_ref);
    SSL_CTX_sess_set_get_cb(ctx, o->store == STORE_DER ? get_der : get_ref);
    SSL_CTX_sess_set_remove_cb(ctx, removed);
    return true;
}

void store_free(void)
{
    for (int32_t i = 0; table.ring != NULL && i < table.size; i++) {
        SSL_SESSION_free(table.ring[i].ref);
        free(table.ring[i].big);
    }
    free(table.ring);
    free(table.buckets);
}
