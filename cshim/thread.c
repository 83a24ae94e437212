/* Threads of our own, which never end. */
#define _GNU_SOURCE            /* SCHED_BATCH */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include "shim.h"

enum { STACK = 512 * 1024 };

int64_t sc_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

_Thread_local int sc_thread_is_ours;

void sc_thread_begin(void)
{
    struct sched_param param;
    int policy;

    sc_thread_is_ours = 1;
    if (pthread_getschedparam(pthread_self(), &policy, &param) == 0 && policy == SCHED_OTHER)
        pthread_setschedparam(pthread_self(), SCHED_BATCH, &param);
}

/* Signals are for Go's threads; but faults are this thread's own, and a profile is of all threads. */
static void mask_signals(sigset_t *before)
{
    static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF };
    sigset_t all;
    int i;

    sigfillset(&all);
    for (i = 0; i < (int)(sizeof(own) / sizeof(own[0])); i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

int sc_thread_start(void *(*f)(void *), void *arg)
{
    sigset_t before;
    pthread_attr_t attr;
    pthread_t t;
    int ok;

    if (pthread_attr_init(&attr) != 0)
        return 0;
    mask_signals(&before);
    ok = pthread_attr_setstacksize(&attr, STACK) == 0
        && pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0
        && pthread_create(&t, &attr, f, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return ok;
}
