/*
 * Every SSL_CTX, SSL and SSL_SESSION of the process, counted by ex_data hooks:
 * OpenSSL calls the new hook for each object it makes (duplicates included)
 * and the free hook when the last reference is gone. An object belongs to the
 * rule that its thread was bound to when it was made.
 */
#include "harness.h"

#include <pthread.h>
#include <stdio.h>

#define BUCKETS 1024

typedef struct object object;
struct object {
    void *address;
    int kind;
    unsigned long birth;
    report *owner;
    object *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static object *buckets[BUCKETS];
static unsigned long last_birth;
static __thread report *bound;

static size_t bucket_of(const void *address)
{
    return ((size_t)address >> 4) % BUCKETS;
}

/* The link that points at the object, or at NULL when it is not alive. */
static object **find(const void *address, int kind)
{
    object **link = &buckets[bucket_of(address)];

    while (*link != NULL
           && ((*link)->address != address || (*link)->kind != kind))
        link = &(*link)->next;
    return link;
}

static void born(void *address, int kind)
{
    object *o = calloc(1, sizeof(*o));
    size_t bucket = bucket_of(address);

    o->address = address;
    o->kind = kind;
    o->owner = bound;
    pthread_mutex_lock(&mutex);
    o->birth = ++last_birth;
    o->next = buckets[bucket];
    buckets[bucket] = o;
    pthread_mutex_unlock(&mutex);
}

/*
 * OpenSSL destroys what is not alive: a reference was given back twice. The
 * memory may already be another object's, so nothing that follows has a
 * meaning, and the process ends here.
 */
static void destroyed_again(int kind)
{
    static const char *const names[] = { "SSL_CTX", "SSL", "SSL_SESSION" };

    fprintf(stderr, "contract: %s destroyed twice\n", names[kind]);
    abort();
}

static void destroyed(void *address, int kind)
{
    object **link;
    object *o;

    pthread_mutex_lock(&mutex);
    link = find(address, kind);
    o = *link;
    if (o == NULL)
        destroyed_again(kind);
    *link = o->next;
    pthread_mutex_unlock(&mutex);
    free(o);
}

/* The kind travels in argl. */
static void new_hook(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
                     long argl, void *argp)
{
    born(parent, (int)argl);
}

static void free_hook(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
                      long argl, void *argp)
{
    destroyed(parent, (int)argl);
}

void objects_start(void)
{
    SSL_CTX_get_ex_new_index(OBJECT_CTX, NULL, new_hook, NULL, free_hook);
    SSL_get_ex_new_index(OBJECT_SSL, NULL, new_hook, NULL, free_hook);
    SSL_SESSION_get_ex_new_index(OBJECT_SESSION, NULL, new_hook, NULL,
                                 free_hook);
}

void objects_bind(report *r)
{
    bound = r;
}

int objects_alive(report *r, int kind)
{
    int i, n = 0;
    object *o;

    pthread_mutex_lock(&mutex);
    for (i = 0; i < BUCKETS; i++)
        for (o = buckets[i]; o != NULL; o = o->next)
            if (o->kind == kind && (r == NULL || o->owner == r))
                n++;
    pthread_mutex_unlock(&mutex);
    return n;
}

unsigned long session_birth(const SSL_SESSION *s)
{
    unsigned long birth = 0;
    object *o;

    pthread_mutex_lock(&mutex);
    o = *find(s, OBJECT_SESSION);
    if (o != NULL)
        birth = o->birth;
    pthread_mutex_unlock(&mutex);
    return birth;
}

int session_destroyed(unsigned long birth)
{
    int i, alive = 0;
    object *o;

    pthread_mutex_lock(&mutex);
    for (i = 0; i < BUCKETS; i++)
        for (o = buckets[i]; o != NULL; o = o->next)
            if (o->birth == birth)
                alive = 1;
    pthread_mutex_unlock(&mutex);
    return birth != 0 && !alive;
}

/* What to spoil, once in the life of the process. */
static const char *take_fault(void)
{
    static int taken;
    const char *fault = getenv("OPENSSL_CONTRACT_FAULT");

    if (fault == NULL || __atomic_exchange_n(&taken, 1, __ATOMIC_SEQ_CST))
        return "";
    return fault;
}

void give_back(SSL_SESSION *s)
{
    const char *fault;

    if (s == NULL)
        return;
    fault = take_fault();
    if (strcmp(fault, "leak") == 0)
        return;
    if (strcmp(fault, "double-free") == 0)
        SSL_SESSION_free(s);
    SSL_SESSION_free(s);
}
