/*
 * The connections. A connection is edge-triggered: it goes on until libssl
 * wants bytes that are not there or room that the socket has not, or until it
 * has had its turn.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <openssl/err.h>

#include "cserver.h"
#include "wire.h"

enum {
    CHUNK = 16 << 10,
    TURN = 32                  /* reads or writes in one go */
};

typedef enum { HANDSHAKE, UNTIL_END, ECHO, BEFORE_SOURCE, SOURCE, SINK, CLOSING } phase;

typedef struct conn {
    wire wire;
    SSL *ssl;
    BIO *bio;
    phase phase;
    int unwritten;             /* bytes of an SSL_write that is to be repeated */
    bool wants_out;            /* EPOLLOUT is asked for */
    bool again;                /* in the list of those that had their turn */
    struct conn *prev, *next;  /* in that list, or next alone in the free list */
} conn;

/* What a step came to. */
typedef enum { WAIT, TURN_OVER, END, BROKEN } outcome;

counters counted;

static struct {
    SSL_CTX *ctx;
    int epoll;
    phase after_handshake;
    conn *free;
    conn *again;
} server;

/* What all connections read into and what source writes: whatever it holds. */
static unsigned char chunk[CHUNK];

void serve_setup(SSL_CTX *ctx, int epoll, const options *o)
{
    static const phase after[] = {
        [WORK_HANDSHAKE] = UNTIL_END, [WORK_ECHO] = ECHO, [WORK_SOURCE] = BEFORE_SOURCE, [WORK_SINK] = SINK
    };

    server.ctx = ctx;
    server.epoll = epoll;
    server.after_handshake = after[o->work];
}

/* A connection and its BIO live on when the SSL is gone. */
static conn *take_conn(void)
{
    conn *c = server.free;

    if (c != NULL) {
        server.free = c->next;
        return c;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->bio = wire_bio(&c->wire);
    if (c->bio == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

static void give_conn(conn *c)
{
    c->next = server.free;
    server.free = c;
}

static void leave_again(conn *c)
{
    if (!c->again)
        return;
    c->again = false;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        server.again = c->next;
}

static void enter_again(conn *c)
{
    if (c->again)
        return;
    c->again = true;
    c->prev = NULL;
    c->next = server.again;
    if (c->next != NULL)
        c->next->prev = c;
    server.again = c;
}

/* The descriptor first: the peer waits for the FIN, and nobody for SSL_free. */
static void close_conn(conn *c, outcome why)
{
    leave_again(c);
    (void)close(c->wire.fd);
    wire_open(&c->wire, -1);
    /* A peer that just disappears does not cost it its session. */
    if (why == END)
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    c->ssl = NULL;
    give_conn(c);
}

/* What a call that returned r <= 0 means. The queue is empty before every call,
 * so it needs no clearing unless one failed. */
static outcome stopped(conn *c, int r)
{
    switch (SSL_get_error(c->ssl, r)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return END;
    default:
        ERR_clear_error();
        return c->wire.broken ? END : BROKEN;
    }
}

static outcome handshake(conn *c)
{
    int r = SSL_accept(c->ssl);
    outcome o;

    if (r == 1) {
        counted.handshakes++;
        counted.resumed += SSL_session_reused(c->ssl) != 0;
        c->phase = server.after_handshake;
        return TURN_OVER;
    }
    o = stopped(c, r);
    if (o == WAIT)
        return WAIT;
    counted.failed++;
    return BROKEN;
}

/* Reads until there is no more, for those who do not look at it. */
static outcome discard(conn *c)
{
    for (int i = 0; i < TURN; i++) {
        int r = SSL_read(c->ssl, chunk, CHUNK);

        if (r <= 0)
            return stopped(c, r);
    }
    return TURN_OVER;
}

/* Writes n bytes of chunk. A repeated SSL_write sends the record that the first
 * one made, so chunk may hold other bytes by then. */
static outcome write_chunk(conn *c, int n)
{
    int r = SSL_write(c->ssl, chunk, n);

    c->unwritten = r > 0 ? 0 : n;
    return r > 0 ? TURN_OVER : stopped(c, r);
}

static outcome echo(conn *c)
{
    for (int i = 0; i < TURN; i++) {
        int n = c->unwritten;
        outcome o;

        if (n == 0) {
            n = SSL_read(c->ssl, chunk, CHUNK);
            if (n <= 0)
                return stopped(c, n);
        }
        o = write_chunk(c, n);
        if (o != TURN_OVER)
            return o;
    }
    return TURN_OVER;
}

static outcome source(conn *c)
{
    if (c->phase == BEFORE_SOURCE) {
        int r = SSL_read(c->ssl, chunk, CHUNK);

        if (r <= 0)
            return stopped(c, r);
        c->phase = SOURCE;
    }
    for (int i = 0; i < TURN; i++) {
        outcome o = write_chunk(c, CHUNK);

        if (o == WAIT && c->wire.ended)
            return END;
        if (o != TURN_OVER)
            return o;
    }
    return TURN_OVER;
}

static outcome step(conn *c)
{
    switch (c->phase) {
    case HANDSHAKE:
        return handshake(c);
    case ECHO:
        return echo(c);
    case BEFORE_SOURCE:
    case SOURCE:
        return source(c);
    case UNTIL_END:
    case SINK:
        return discard(c);
    case CLOSING:
        break;
    }
    return END;
}

static bool wants_out(const conn *c)
{
    return c->wire.left != NULL || SSL_want_write(c->ssl);
}

/* Goes on with c as far as it goes. False: c is closed. */
static bool run(conn *c)
{
    outcome o = WAIT;
    int sent;

    if (c->phase == HANDSHAKE)
        o = step(c);           /* and what came with the last flight is read at once */
    if (c->phase != HANDSHAKE)
        o = step(c);
    if (o == END && c->phase != CLOSING) {
        if (SSL_is_init_finished(c->ssl) && !c->wire.broken)
            (void)SSL_shutdown(c->ssl);
        c->phase = CLOSING;
    }
    sent = wire_flush(&c->wire);
    if (sent < 0 || o == BROKEN || (o == END && sent > 0)) {
        ERR_clear_error();
        close_conn(c, o == BROKEN ? BROKEN : END);
        return false;
    }
    if (o == TURN_OVER)
        enter_again(c);
    return true;
}

void serve_open(int fd)
{
    conn *c = take_conn();
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c };

    counted.accepted++;
    if (c == NULL || (c->ssl = SSL_new(server.ctx)) == NULL) {
        if (c != NULL)
            give_conn(c);
        counted.failed++;
        (void)close(fd);
        return;
    }
    wire_open(&c->wire, fd);
    c->phase = HANDSHAKE;
    c->unwritten = 0;
    c->wants_out = false;
    (void)BIO_up_ref(c->bio);
    SSL_set_bio(c->ssl, c->bio, c->bio);
    SSL_set_accept_state(c->ssl);
    /* The ClientHello is there: the listener waits for it. */
    if (!run(c))
        return;
    if (wants_out(c)) {
        c->wants_out = true;
        e.events |= EPOLLOUT;
    }
    if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        close_conn(c, BROKEN);
}

/* Has its turn, and asks to be told when there is room, if that is missing. */
static void go_on(conn *c)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };

    if (!run(c) || c->wants_out || !wants_out(c))
        return;
    c->wants_out = true;       /* for good: an edge comes only after a full socket */
    (void)epoll_ctl(server.epoll, EPOLL_CTL_MOD, c->wire.fd, &e);
}

void serve_event(void *data, uint32_t events)
{
    conn *c = data;

    wire_ready(&c->wire, events);
    go_on(c);
}

bool serve_again(void)
{
    conn *list = server.again, *c;

    /* Those that run now go to a list of their own, so that each has one turn. */
    server.again = NULL;
    while ((c = list) != NULL) {
        list = c->next;
        if (list != NULL)
            list->prev = NULL;
        c->again = false;
        go_on(c);
    }
    return server.again != NULL;
}

void serve_free(void)
{
    conn *c;

    while ((c = server.free) != NULL) {
        server.free = c->next;
        BIO_free(c->bio);
        free(c);
    }
}
