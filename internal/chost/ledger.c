/*
 * The ledger of held references. libssl has no accessor for a reference count;
 * what can be seen is that a session is destroyed while somebody still owns a
 * reference on it, and that is the mark of one free too many. It is seen here
 * before anything touches the freed memory, so a test can fail cleanly.
 */
#include "chost.h"

enum { BUCKETS = 1024 };

typedef struct held {
    struct held *next;
    const SSL_SESSION *session;
    int references;
    int destroyed;
} held;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static held *table[BUCKETS];
static uint64_t violations;
static int index_;

static held **bucket(const SSL_SESSION *s)
{
    return &table[((uintptr_t)s >> 4) % BUCKETS];
}

/*
 * A destroyed entry stays until its owners let go of it, and its address may be
 * used for another session by then: that one has an entry of its own.
 */
static held **find(const SSL_SESSION *s, int destroyed)
{
    held **h = bucket(s);

    while (*h != NULL && ((*h)->session != s || (*h)->destroyed != destroyed))
        h = &(*h)->next;
    return h;
}

/* libssl frees the session: its last reference is gone. */
static void on_destroy(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    held *h;

    (void)ptr; (void)ad; (void)idx; (void)argl; (void)argp;
    pthread_mutex_lock(&lock);
    h = *find(parent, 0);
    if (h != NULL) {
        h->destroyed = 1;
        violations++;
    }
    pthread_mutex_unlock(&lock);
}

int ch_ledger_start(void)
{
    index_ = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, on_destroy);
    return index_ >= 0;
}

void ch_ledger_hold(SSL_SESSION *s)
{
    held *h;

    pthread_mutex_lock(&lock);
    h = *find(s, 0);
    if (h == NULL && (h = calloc(1, sizeof(*h))) != NULL) {
        h->session = s;
        h->next = *bucket(s);
        *bucket(s) = h;
    }
    if (h != NULL)
        h->references++;
    pthread_mutex_unlock(&lock);
}

void ch_ledger_free(SSL_SESSION *s)
{
    held **place, *h;
    int alive = 1;

    pthread_mutex_lock(&lock);
    place = find(s, 1);
    if (*place == NULL)
        place = find(s, 0);
    if ((h = *place) != NULL) {
        alive = !h->destroyed;
        if (--h->references == 0) {
            *place = h->next;
            free(h);
        }
    }
    pthread_mutex_unlock(&lock);
    if (alive)
        SSL_SESSION_free(s);
}

int ch_ledger_alive(SSL_SESSION *s)
{
    int alive;

    pthread_mutex_lock(&lock);
    alive = *find(s, 1) == NULL;
    pthread_mutex_unlock(&lock);
    return alive;
}

int ch_ledger_up_ref(SSL_SESSION *s)
{
    int alive;

    pthread_mutex_lock(&lock);
    alive = *find(s, 1) == NULL;
    if (alive)
        SSL_SESSION_up_ref(s);
    pthread_mutex_unlock(&lock);
    return alive;
}

uint64_t ch_ledger_violations(void)
{
    uint64_t n;

    pthread_mutex_lock(&lock);
    n = violations;
    pthread_mutex_unlock(&lock);
    return n;
}
