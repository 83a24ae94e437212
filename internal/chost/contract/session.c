/* Sessions: ids, encodings and a store of encoded sessions. */
#include "harness.h"

#include <pthread.h>

session_id id_from(const unsigned char *bytes, size_t len)
{
    session_id id;

    memset(&id, 0, sizeof(id));
    if (bytes == NULL || len > sizeof(id.bytes))
        return id;
    memcpy(id.bytes, bytes, len);
    id.len = (unsigned int)len;
    return id;
}

session_id id_of(const SSL_SESSION *s)
{
    unsigned int len;
    const unsigned char *bytes = SSL_SESSION_get_id(s, &len);

    return id_from(bytes, len);
}

int same_id(session_id a, session_id b)
{
    return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

session_id offered_id(const SSL_SESSION *client_session)
{
    const unsigned char *ticket;
    size_t len;

    if (SSL_SESSION_get_protocol_version(client_session) != TLS1_3_VERSION)
        return id_of(client_session);
    SSL_SESSION_get0_ticket(client_session, &ticket, &len);
    return id_from(ticket, len);
}

SSL_SESSION *new_session(unsigned char tag, long time, long timeout)
{
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
    SSL_SESSION *s = SSL_SESSION_new();

    memset(id, tag, sizeof(id));
    SSL_SESSION_set1_id(s, id, sizeof(id));
    SSL_SESSION_set_protocol_version(s, TLS1_2_VERSION);
    set_session_time(s, time);
    SSL_SESSION_set_timeout(s, timeout);
    return s;
}

void add_session(SSL_CTX *ctx, unsigned char tag, long time, long timeout)
{
    SSL_SESSION *s = new_session(tag, time, timeout);

    SSL_CTX_add_session(ctx, s);
    SSL_SESSION_free(s);
}

#if OPENSSL_VERSION_NUMBER >= 0x30400000L

void flush_sessions(SSL_CTX *ctx, long time)
{
    SSL_CTX_flush_sessions_ex(ctx, time);
}

long session_time(const SSL_SESSION *s)
{
    return (long)SSL_SESSION_get_time_ex(s);
}

void set_session_time(SSL_SESSION *s, long time)
{
    SSL_SESSION_set_time_ex(s, time);
}

#else

void flush_sessions(SSL_CTX *ctx, long time)
{
    SSL_CTX_flush_sessions(ctx, time);
}

long session_time(const SSL_SESSION *s)
{
    return SSL_SESSION_get_time(s);
}

void set_session_time(SSL_SESSION *s, long time)
{
    SSL_SESSION_set_time(s, time);
}

#endif

der encode(SSL_SESSION *s)
{
    der d = { NULL, i2d_SSL_SESSION(s, NULL) };
    unsigned char *p;

    if (d.len <= 0)
        return d;
    d.bytes = p = malloc((size_t)d.len);
    i2d_SSL_SESSION(s, &p);
    return d;
}

SSL_SESSION *decode(der d)
{
    const unsigned char *p = d.bytes;

    if (d.bytes == NULL)
        return NULL;
    return d2i_SSL_SESSION(NULL, &p, d.len);
}

int same_der(der a, der b)
{
    return a.len > 0 && a.len == b.len
           && memcmp(a.bytes, b.bytes, (size_t)a.len) == 0;
}

void free_der(der *d)
{
    free(d->bytes);
    d->bytes = NULL;
    d->len = 0;
}

/* ---- store ------------------------------------------------------------- */

typedef struct entry entry;
struct entry {
    session_id id;
    der value;
    entry *next;
};

struct store {
    pthread_mutex_t mutex;
    entry *first;
};

store *store_new(void)
{
    store *st = calloc(1, sizeof(*st));

    pthread_mutex_init(&st->mutex, NULL);
    return st;
}

static void free_entry(entry *e)
{
    free_der(&e->value);
    free(e);
}

void store_free(store *st)
{
    entry *e;

    while ((e = st->first) != NULL) {
        st->first = e->next;
        free_entry(e);
    }
    pthread_mutex_destroy(&st->mutex);
    free(st);
}

/* The link to the entry of this id, or to the NULL at the end. */
static entry **find_entry(store *st, session_id id)
{
    entry **link = &st->first;

    while (*link != NULL && !same_id((*link)->id, id))
        link = &(*link)->next;
    return link;
}

static void unlink_entry(entry **link)
{
    entry *e = *link;

    if (e == NULL)
        return;
    *link = e->next;
    free_entry(e);
}

void store_put(store *st, SSL_SESSION *s)
{
    entry *e = calloc(1, sizeof(*e));

    e->id = id_of(s);
    e->value = encode(s);
    pthread_mutex_lock(&st->mutex);
    unlink_entry(find_entry(st, e->id));
    e->next = st->first;
    st->first = e;
    pthread_mutex_unlock(&st->mutex);
}

static SSL_SESSION *look_up(store *st, session_id id, int take)
{
    entry **link;
    SSL_SESSION *s = NULL;

    pthread_mutex_lock(&st->mutex);
    link = find_entry(st, id);
    if (*link != NULL)
        s = decode((*link)->value);
    if (take)
        unlink_entry(link);
    pthread_mutex_unlock(&st->mutex);
    return s;
}

SSL_SESSION *store_get(store *st, const unsigned char *id, size_t len)
{
    return look_up(st, id_from(id, len), 0);
}

SSL_SESSION *store_take(store *st, const unsigned char *id, size_t len)
{
    return look_up(st, id_from(id, len), 1);
}

der store_get_der(store *st, const unsigned char *id, size_t len)
{
    der d = { NULL, 0 };
    entry *e;

    pthread_mutex_lock(&st->mutex);
    e = *find_entry(st, id_from(id, len));
    if (e != NULL) {
        d.len = e->value.len;
        d.bytes = malloc((size_t)d.len);
        memcpy(d.bytes, e->value.bytes, (size_t)d.len);
    }
    pthread_mutex_unlock(&st->mutex);
    return d;
}

void store_delete(store *st, const unsigned char *id, size_t len)
{
    pthread_mutex_lock(&st->mutex);
    unlink_entry(find_entry(st, id_from(id, len)));
    pthread_mutex_unlock(&st->mutex);
}

int store_count(store *st)
{
    int n = 0;
    entry *e;

    pthread_mutex_lock(&st->mutex);
    for (e = st->first; e != NULL; e = e->next)
        n++;
    pthread_mutex_unlock(&st->mutex);
    return n;
}
