/*
 * Listeners. Threads of our own accept, wait for the peers, and make the
 * handshakes, each thread with an epoll of its own: no packet of a handshake
 * wakes a thread of Go's, and no goroutine exists before a handshake has ended.
 * Then, and if anything comes up that is for Go, the connection is given to it.
 *
 * Go owns all that is given to it; whatever ends a connection here gives it too,
 * since freeing an SSL has events that Go must see.
 */
#define _GNU_SOURCE            /* accept4 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "shim.h"

enum {
    EVENTS = 16,               /* looked at before Go is told of what they led to */
    ACCEPTS = 8,               /* in one go */
    MOST_THREADS = 256
};
static const int64_t ms = 1000 * 1000, PAUSE = 100 * 1000 * 1000, LATE = 1000 * 1000;

/* A listener in the hands of one thread. */
typedef struct post {
    int kind;                  /* SC_SOURCE_POST */
    sc_listener *l;            /* it cannot go away before the thread has left it */
    struct post *next;         /* of the thread */
    sc_conn *first, *last;     /* in handshakes, the oldest first: that ends first */
    int paused;
    int64_t resumes;           /* when a pause ends by itself, or 0 */
    int64_t untold;            /* since when Go is to be told, or 0 */
} post;

typedef struct worker {
    int kind;                  /* SC_SOURCE_KICK */
    int epoll, kick;
    post *posts;               /* with mu held */
} worker;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static worker workers[MOST_THREADS];
static int running;            /* threads; with mu held */

static void signal_event(int fd)
{
    static const uint64_t one = 1;

    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void tell(post *p)
{
    p->untold = 0;
    if (atomic_exchange(&p->l->told, 1) == 0)
        signal_event(p->l->event);
}

/* ---- connections ---- */

static void append(post *p, sc_conn *c)
{
    c->door->post = p;
    c->door->prev = p->last;
    c->door->next = NULL;
    if (p->last != NULL)
        p->last->door->next = c;
    else
        p->first = c;
    p->last = c;
}

static void take_out(post *p, sc_conn *c)
{
    if (c->door->prev != NULL)
        c->door->prev->door->next = c->door->next;
    else
        p->first = c->door->next;
    if (c->door->next != NULL)
        c->door->next->door->prev = c->door->prev;
    else
        p->last = c->door->prev;
}

/* Go has c from here on. */
static void give(worker *w, sc_conn *c)
{
    post *p = c->door->post;
    sc_listener *l = p->l;
    sc_conn *head;

    epoll_ctl(w->epoll, EPOLL_CTL_DEL, c->door->fd, NULL);
    take_out(p, c);
    c->door->post = NULL;
    c->result.events |= c->door->events;
    atomic_fetch_add(&l->untaken, 1);
    if (p->untold == 0)
        p->untold = sc_now();
    head = atomic_load(&l->given);
    do {
        c->step.next = head;
    } while (!atomic_compare_exchange_weak(&l->given, &head, c));
}

/* Bytes are there, or the end of them. */
static void advance(worker *w, sc_conn *c)
{
    int more = c->door->ended;  /* the end is behind what a receive takes, and not told again */

    do {
        sc_conn_handshake(c, c->door->fd, NULL, 0, 0, NULL, 0, NULL, 0, SC_UNTIL_DONE, NULL, 0);
        c->door->events |= c->result.events;
        if (c->result.status != SC_WANT_READ || c->result.pending > 0 || c->result.write_sys != 0
            || c->announced != NULL) {
            give(w, c);
            return;
        }
    } while (more-- > 0);
}

/* ---- listeners ---- */

static int watch(worker *w, post *p, int op, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = p };

    return epoll_ctl(w->epoll, op, p->l->fd, &e) == 0;
}

static void pause_post(worker *w, post *p, int64_t until)
{
    watch(w, p, EPOLL_CTL_DEL, 0);
    p->paused = 1;
    p->resumes = until;
}

static void resume_post(worker *w, post *p)
{
    p->paused = !watch(w, p, EPOLL_CTL_ADD, EPOLLIN | EPOLLEXCLUSIVE);
    p->resumes = p->paused ? sc_now() + PAUSE : 0;
}

/* Whether accept is to be tried again: the fault is of one connection, and not ours. */
static int passing(int e)
{
    switch (e) {
    case EINTR: case ECONNABORTED: case EPROTO: case EPERM: case ENETDOWN: case ENOPROTOOPT:
    case EHOSTDOWN: case ENONET: case EHOSTUNREACH: case EOPNOTSUPP: case ENETUNREACH:
        return 1;
    default:
        return 0;
    }
}

/* Takes fd. */
static void enter(worker *w, post *p, int fd, const struct sockaddr_storage *peer)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET };
    sc_listener *l = p->l;
    sc_door *d = OPENSSL_zalloc(sizeof(*d));
    sc_conn *c = d != NULL ? sc_conn_accepted(l->context, l->ctx) : NULL;

    if (c == NULL || c->ssl == NULL) {  /* no memory */
        sc_conn_discard(c);
        OPENSSL_free(d);
        close(fd);
        return;
    }
    c->door = d;
    d->conn = c;
    d->kind = SC_SOURCE_CONN;
    d->fd = fd;
    memcpy(d->peer, peer, sizeof(d->peer));
    d->ends = l->timeout > 0 ? sc_now() + l->timeout : INT64_MAX;
    append(p, c);
    e.data.ptr = d;
    if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        c->sys = errno;
        sc_conn_failed(c, SSL_ERROR_SYSCALL);
        give(w, c);
    }
}

static void accept_some(worker *w, post *p)
{
    sc_listener *l = p->l;
    int i;

    for (i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage peer = { 0 };
        socklen_t len = sizeof(peer);
        int fd;

        if (atomic_load(&l->untaken) >= SC_MOST_UNTAKEN) {
            pause_post(w, p, 0);
            return;
        }
        fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            enter(w, p, fd, &peer);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (!passing(errno)) {
            atomic_store(&l->fault, errno);  /* no descriptor, or no memory: Go's Accept says so */
            pause_post(w, p, sc_now() + PAUSE);
            tell(p);
            return;
        }
    }
}

/* The thread has nothing more to do with the listener. */
static void leave(worker *w, post *p)
{
    sc_listener *l = p->l;

    if (!p->paused)
        watch(w, p, EPOLL_CTL_DEL, 0);
    while (p->first != NULL) {
        p->first->result.status = SC_CLOSED;
        give(w, p->first);
    }
    /* With mu held: sc_listener_free waits for it. */
    pthread_mutex_lock(&mu);
    if (atomic_fetch_sub(&l->threads, 1) == 1)
        close(l->fd);
    tell(p);
    pthread_mutex_unlock(&mu);
    OPENSSL_free(p);
}

/* Who takes one afterwards sees paused, and kicks; who took it before, is seen here. */
static int may_resume(post *p, int64_t t)
{
    if (p->resumes != 0)
        return p->resumes <= t;
    atomic_store(&p->l->paused, 1);
    return atomic_load(&p->l->untaken) < SC_FEW_UNTAKEN;
}

/* What time and other threads bring about; returns how many ms the thread may sleep. */
static int look_after(worker *w)
{
    int64_t soonest = INT64_MAX, t = 0;
    post **at, *p;

    pthread_mutex_lock(&mu);
    for (at = &w->posts; (p = *at) != NULL;) {
        if (atomic_load(&p->l->closing)) {
            *at = p->next;
            pthread_mutex_unlock(&mu);
            leave(w, p);
            pthread_mutex_lock(&mu);
            at = &w->posts;
            continue;
        }
        if (t == 0 && (p->first != NULL || p->paused))
            t = sc_now();
        while (p->first != NULL && p->first->door->ends <= t) {
            p->first->result.status = SC_LATE;
            give(w, p->first);
        }
        if (p->paused && may_resume(p, t))
            resume_post(w, p);
        if (p->first != NULL && p->first->door->ends < soonest)
            soonest = p->first->door->ends;
        if (p->paused && p->resumes != 0 && p->resumes < soonest)
            soonest = p->resumes;
        if (p->untold != 0)
            tell(p);
        at = &p->next;
    }
    pthread_mutex_unlock(&mu);
    if (soonest == INT64_MAX)
        return -1;
    soonest = (soonest - t) / ms + 1;
    return soonest < 3600 * 1000 ? (int)soonest : 3600 * 1000;
}

/* ---- threads ---- */

/* A step may be slow, and what was given before it does not wait for it. */
static void tell_late(post *p)
{
    if (p->untold != 0 && sc_now() - p->untold > LATE)
        tell(p);
}

static void *work(void *arg)
{
    struct epoll_event events[EVENTS];
    worker *w = arg;
    uint64_t count;

    sc_thread_begin();
    for (;;) {
        int i, n = epoll_wait(w->epoll, events, EVENTS, look_after(w));

        for (i = 0; i < n; i++) {
            int kind = *(int *)events[i].data.ptr;

            if (kind == SC_SOURCE_CONN) {
                sc_door *d = events[i].data.ptr;
                post *p = d->post;

                d->ended |= (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
                advance(w, d->conn);
                tell_late(p);
            } else if (kind == SC_SOURCE_POST) {
                accept_some(w, events[i].data.ptr);
            } else {
                while (read(w->kick, &count, sizeof(count)) < 0 && errno == EINTR)
                    ;
            }
        }
    }
    return NULL;
}

/* 1, or 0 with nothing left of it; with mu held. */
static int start_worker(worker *w)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = w };

    w->kind = SC_SOURCE_KICK;
    w->posts = NULL;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->epoll >= 0 && w->kick >= 0 && epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->kick, &e) == 0
        && sc_thread_start(work, w))
        return 1;
    if (w->epoll >= 0)
        close(w->epoll);
    if (w->kick >= 0)
        close(w->kick);
    return 0;
}

sc_listener *sc_listen(sc_context *c, int fd, int event, int threads, int64_t timeout)
{
    sc_listener *l = OPENSSL_zalloc(sizeof(*l));
    int i, n;

    if (l == NULL)
        return NULL;
    pthread_mutex_lock(&mu);
    while (running < threads && running < MOST_THREADS && start_worker(&workers[running]))
        running++;
    n = running;
    pthread_mutex_unlock(&mu);
    if (n == 0 || SSL_CTX_up_ref(c->ctx) != 1) {
        OPENSSL_free(l);
        return NULL;
    }
    l->fd = fd;
    l->event = event;
    l->context = c;
    l->ctx = c->ctx;
    l->timeout = timeout;
    pthread_mutex_lock(&mu);
    for (i = 0; i < n; i++) {
        post *p = OPENSSL_zalloc(sizeof(*p));

        if (p == NULL)
            continue;          /* the other threads do it */
        p->kind = SC_SOURCE_POST;
        p->l = l;
        p->next = workers[i].posts;
        workers[i].posts = p;
        atomic_fetch_add(&l->threads, 1);
        resume_post(&workers[i], p);
    }
    n = atomic_load(&l->threads);
    pthread_mutex_unlock(&mu);
    if (n > 0)
        return l;
    SSL_CTX_free(l->ctx);      /* not the last reference */
    OPENSSL_free(l);
    return NULL;
}

void sc_listener_kick(sc_listener *l)
{
    worker *w;
    post *p;

    pthread_mutex_lock(&mu);
    for (w = workers; w < workers + running; w++)
        for (p = w->posts; p != NULL; p = p->next)
            if (p->l == l)
                signal_event(w->kick);
    pthread_mutex_unlock(&mu);
}

void sc_listener_close(sc_listener *l)
{
    atomic_store(&l->closing, 1);
    sc_listener_kick(l);
}

unsigned sc_listener_free(sc_listener *l)
{
    sc_record r = { .op = SC_OP_CONTEXT_FREE, .context = l->context };

    pthread_mutex_lock(&mu);   /* the last thread to leave has it until it has told of it */
    pthread_mutex_unlock(&mu);
    sc_record_enter(&r);
    SSL_CTX_free(l->ctx);
    sc_record_leave(&r);
    OPENSSL_free(l);
    return r.events;
}
