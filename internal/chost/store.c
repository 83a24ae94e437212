/*
 * A session store as C programs keep one: a list under a mutex, of references
 * or of encodings, with every way that get_session_cb can hand one out.
 */
#include "chost.h"

typedef struct entry {
    struct entry *next;
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
    unsigned int id_len;
    SSL_SESSION *session;      /* owned, or NULL */
    unsigned char *der;        /* owned, or NULL */
    long der_len;
} entry;

struct ch_store {
    pthread_mutex_t lock;
    entry *entries;
    entry *lent;               /* decoded objects that were answered with copy = 1 */
    int64_t count;
    int keep, copy;
    int fault;                 /* until it was done once */
};

ch_store *ch_store_new(int keep, int copy, int fault)
{
    ch_store *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->keep = keep;
    t->copy = copy;
    t->fault = fault;
    return t;
}

static void entry_free(entry *e)
{
    if (e->session != NULL)
        ch_ledger_free(e->session);
    if (e->der != NULL)
        OPENSSL_clear_free(e->der, (size_t)e->der_len);
    free(e);
}

static void entries_free(entry *e)
{
    while (e != NULL) {
        entry *next = e->next;

        entry_free(e);
        e = next;
    }
}

void ch_store_free(ch_store *t)
{
    if (t == NULL)
        return;
    entries_free(t->entries);
    entries_free(t->lent);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int64_t ch_store_count(ch_store *t)
{
    int64_t n;

    pthread_mutex_lock(&t->lock);
    n = t->count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

/* Where the pointer to the entry stands; *NULL at the end of the list. */
static entry **find(ch_store *t, const unsigned char *id, unsigned int len)
{
    entry **e = &t->entries;

    while (*e != NULL && ((*e)->id_len != len || memcmp((*e)->id, id, len) != 0))
        e = &(*e)->next;
    return e;
}

static int encode(entry *e, SSL_SESSION *s)
{
    int n = i2d_SSL_SESSION(s, NULL);
    unsigned char *p;

    if (n <= 0 || (e->der = p = OPENSSL_malloc((size_t)n)) == NULL)
        return 0;
    e->der_len = i2d_SSL_SESSION(s, &p);
    return 1;
}

/* The one fault that was asked for, and no second. */
static int take_fault(ch_store *t)
{
    int fault = t->fault;

    t->fault = CH_NO_FAULT;
    return fault;
}

/* Keeps the reference that libssl made and returns 1, or returns 0. */
int ch_store_new_session(ch_store *t, SSL_SESSION *s)
{
    unsigned int len;
    const unsigned char *id = SSL_SESSION_get_id(s, &len);
    entry *e = calloc(1, sizeof(*e));
    entry *old = NULL, **place;
    int kept = t->keep == CH_KEEP_REFERENCES;

    if (e == NULL || t->keep == CH_KEEP_BLANK) {
        free(e);
        return 0;
    }
    memcpy(e->id, id, len);
    e->id_len = len;
    if (!kept && !encode(e, s)) {
        free(e);
        return 0;
    }
    pthread_mutex_lock(&t->lock);
    if (kept) {
        ch_ledger_hold(s);
        e->session = s;
    }
    place = find(t, id, len);
    if ((old = *place) != NULL)
        *place = old->next;
    else
        t->count++;
    e->next = t->entries;
    t->entries = e;
    pthread_mutex_unlock(&t->lock);
    if (old != NULL)
        entry_free(old);
    return kept;
}

static SSL_SESSION *decoded(ch_store *t, const entry *e)
{
    const unsigned char *p = e->der;
    SSL_SESSION *s = d2i_SSL_SESSION(NULL, &p, e->der_len);
    entry *owner;

    if (s == NULL || t->copy == CH_COPY_0)
        return s;
    /* libssl makes a reference of its own: this one stays ours. */
    owner = calloc(1, sizeof(*owner));
    if (owner == NULL) {
        SSL_SESSION_free(s);
        return NULL;
    }
    ch_ledger_hold(s);
    owner->session = s;
    owner->next = t->lent;
    t->lent = owner;
    return s;
}

static SSL_SESSION *blank(const unsigned char *id, int len, int *copy)
{
    SSL_SESSION *s = SSL_SESSION_new();

    *copy = 0;
    if (s != NULL)
        SSL_SESSION_set1_id(s, id, (unsigned int)len);
    return s;
}

SSL_SESSION *ch_store_get_session(ch_store *t, const unsigned char *id, int len, int *copy)
{
    SSL_SESSION *s = NULL;
    entry *e;

    if (t->keep == CH_KEEP_BLANK)
        return blank(id, len, copy);
    pthread_mutex_lock(&t->lock);
    e = *find(t, id, (unsigned int)len);
    if (e == NULL)
        goto end;
    if (e->session == NULL) {
        s = decoded(t, e);
    } else if (t->copy == CH_COPY_0 ? ch_ledger_up_ref(e->session) : ch_ledger_alive(e->session)) {
        s = e->session;
    }
    if (s == NULL)
        goto end;
    switch (take_fault(t)) {
    case CH_STORE_LEAKS:
        SSL_SESSION_up_ref(s);
        break;
    case CH_STORE_DOUBLE_FREES:
        /* What a callee does that takes copy = 0 for a loan. */
        SSL_SESSION_free(s);
        break;
    default:
        break;
    }
    if (t->copy == CH_COPY_0)
        *copy = 0;
    else if (t->copy == CH_COPY_1)
        *copy = 1;
end:
    pthread_mutex_unlock(&t->lock);
    return s;
}

/* An id of no entry is as good: libssl tells of sessions that were never announced. */
void ch_store_remove_session(ch_store *t, SSL_SESSION *s)
{
    unsigned int len;
    const unsigned char *id = SSL_SESSION_get_id(s, &len);
    entry *e, **place;

    pthread_mutex_lock(&t->lock);
    place = find(t, id, len);
    if ((e = *place) != NULL) {
        *place = e->next;
        t->count--;
    }
    pthread_mutex_unlock(&t->lock);
    if (e != NULL)
        entry_free(e);
}
