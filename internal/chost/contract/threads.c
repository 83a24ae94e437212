/* Threads of a rule, and the question who holds a context's lock. */
#include "harness.h"
#include "report.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct rule_thread {
    pthread_t thread;
    report *report;
    void (*f)(void *);
    void *arg;
    long id;                        /* atomic; 0 before it runs */
    int finished;                   /* atomic */
};

long thread_id(void)
{
    return (long)syscall(SYS_gettid);
}

static void *thread_main(void *arg)
{
    rule_thread *t = arg;

    objects_bind(t->report);
    __atomic_store_n(&t->id, thread_id(), __ATOMIC_SEQ_CST);
    t->f(t->arg);
    OPENSSL_thread_stop();
    __atomic_store_n(&t->finished, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

rule_thread *start_thread(report *r, void (*f)(void *), void *arg)
{
    rule_thread *t = calloc(1, sizeof(*t));

    t->report = r;
    t->f = f;
    t->arg = arg;
    if (pthread_create(&t->thread, NULL, thread_main, t) != 0)
        abort();
    return t;
}

void join_thread(rule_thread *t)
{
    pthread_join(t->thread, NULL);
    free(t);
}

static void sleep_ms(long ms)
{
    struct timespec pause = { 0, ms * 1000000L };

    nanosleep(&pause, NULL);
}

/* The state letter that the kernel shows for a thread; '?' when unknown. */
static char thread_state(long id)
{
    char path[64], line[256], *end;
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", id);
    f = fopen(path, "r");
    if (f == NULL)
        return '?';
    n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0';
    end = strrchr(line, ')');       /* the name before it may hold anything */
    return end != NULL && end[1] == ' ' ? end[2] : '?';
}

int thread_finishes(rule_thread *t)
{
    int asleep = 0;

    /* 20 looks in a row: a thread that only waits for a busy machine is
     * runnable, not asleep, and one that waits for a page is soon back. */
    while (asleep < 20) {
        if (__atomic_load_n(&t->finished, __ATOMIC_SEQ_CST))
            return 1;
        sleep_ms(4);
        if (__atomic_load_n(&t->id, __ATOMIC_SEQ_CST) == 0)
            continue;
        asleep = thread_state(t->id) == 'S' ? asleep + 1 : 0;
    }
    return __atomic_load_n(&t->finished, __ATOMIC_SEQ_CST);
}

/* Time 1 is long ago: nothing can have expired then, so nothing is flushed. */
static void take_lock(void *arg)
{
    flush_sessions(arg, 1);
}

int lock_is_held(report *r, SSL_CTX *ctx)
{
    lock_probe **list = report_probes(r);
    lock_probe *p = calloc(1, sizeof(*p));

    p->ctx = ctx;
    p->thread = start_thread(r, take_lock, ctx);
    p->next = *list;
    *list = p;
    return !thread_finishes(p->thread);
}

void join_lock_probes(report *r)
{
    lock_probe **list = report_probes(r);
    lock_probe *p;

    while ((p = *list) != NULL) {
        *list = p->next;
        join_thread(p->thread);
        free(p);
    }
}
