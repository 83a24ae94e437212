/*
 * Threads of our own for handshake steps. Go's runtime takes a C call of more
 * than some 20 us for one that blocks, and gives the caller's processor to
 * another thread; on a busy server that costs more than the crossing by far,
 * and its monitor never rests. Here no thread of Go waits: a step is queued, and
 * what is done is told through one eventfd, however many steps it is.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "shim.h"

/* So many steps at most are done before Go is told of the first. */
enum { TELL_AFTER = 16, TELL_NS = 1000 * 1000 };

_Atomic(sc_conn *) sc_pool_done;
atomic_int sc_pool_told;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static sc_conn *first, **last = &first;
static int idle, event = -1;

/* What a thread has done and not told of. */
typedef struct done {
    sc_conn *newest, *oldest;
    int n;
    int64_t since;             /* the first of them, in ns */
} done;

static void tell(done *d)
{
    static const uint64_t one = 1;
    sc_conn *head = atomic_load(&sc_pool_done);

    do {
        d->oldest->step.next = head;
    } while (!atomic_compare_exchange_weak(&sc_pool_done, &head, d->newest));
    memset(d, 0, sizeof(*d));
    if (atomic_exchange(&sc_pool_told, 1) == 0)
        while (write(event, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
}

/* A step may be slow, and what was done before it does not wait for it. */
static void add(done *d, sc_conn *c, int64_t began)
{
    int64_t ends = sc_now();

    c->step.next = d->newest;
    d->newest = c;
    if (d->oldest == NULL)
        d->oldest = c;
    if (d->n == 0)
        d->since = ends;
    if (++d->n == TELL_AFTER || ends - began > TELL_NS || ends - d->since > TELL_NS)
        tell(d);
}

/* The next step; before it waits for one it tells of those that are done. */
static sc_conn *next(done *d)
{
    sc_conn *c;

    pthread_mutex_lock(&mu);
    if (first == NULL && d->n > 0) {
        pthread_mutex_unlock(&mu);
        tell(d);
        pthread_mutex_lock(&mu);
    }
    while (first == NULL) {
        idle++;
        pthread_cond_wait(&more, &mu);
        idle--;
    }
    c = first;
    first = c->step.next;
    if (first == NULL)
        last = &first;
    pthread_mutex_unlock(&mu);
    return c;
}

static void *work(void *arg)
{
    done d = { NULL, NULL, 0, 0 };
    int64_t began;

    (void)arg;
    sc_thread_begin();  /* it finds all that Go queues, and tells of it once */
    for (;;) {
        sc_conn *c = next(&d);

        began = sc_now();
        sc_conn_handshake(c, c->step.fd, NULL, 0, 0, NULL, 0, NULL, 0, c->step.until, NULL, 0);
        add(&d, c, began);
    }
    return NULL;
}

int sc_pool_start(int threads, int fd)
{
    int i, n = 0;

    event = fd;
    for (i = 0; i < threads; i++)
        n += sc_thread_start(work, NULL);
    return n > 0;
}

void sc_pool_submit(sc_conn *c, int fd, int until, uint32_t tag, const unsigned char *answers, size_t len)
{
    int sleeps;

    if (answers != NULL)
        sc_hello_answer(c, answers, len);
    c->step.next = NULL;
    c->step.fd = fd;
    c->step.until = until;
    c->step.tag = tag;
    c->step.in_place = SC_ALL;  /* for the pool, this is the place */
    c->step.heavy = 0;
    pthread_mutex_lock(&mu);
    *last = c;
    last = &c->step.next;
    sleeps = idle > 0;
    pthread_mutex_unlock(&mu);
    if (sleeps)
        pthread_cond_signal(&more);
}
