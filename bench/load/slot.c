/*
 * The slots. A slot makes one connection at a time and goes on with it until
 * libssl wants bytes that are not there.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "load.h"
#include "wire.h"

enum {
    CHUNK = 16 << 10,
    TURN = 32,                 /* reads or writes in one go */
    FIRST_SOURCE = 2, LAST_SOURCE = 50  /* 127.0.0.x */
};

typedef enum { SHUT, HANDSHAKE, TICKET, BYE, ECHO_WRITE, ECHO_READ, DOWN_START, DOWN_READ, UP_WRITE, IDLING } phase;

typedef struct slot {
    wire wire;
    SSL *ssl;
    SSL_SESSION *session;      /* the newest; owned. NULL: none yet */
    phase phase;
    bool offered, reused, fresh, warm, again, wants_out;
    size_t got;                /* of the echo that is being read */
    int64_t began;
    struct slot *next;         /* in the list of those that had their turn */
} slot;

typedef enum { WAIT, TURN_OVER, DONE, FAILED } outcome;

counters counted;

static struct {
    SSL_CTX *ctx;
    const options *o;
    int epoll;
    bool stopping;
    slot *all, *again;
    size_t warm, open;
    unsigned char *message;
} load;

static unsigned char chunk[CHUNK];

static int new_session(SSL *ssl, SSL_SESSION *s)
{
    slot *t = SSL_get_app_data(ssl);

    SSL_SESSION_free(t->session);
    t->session = s;
    t->fresh = true;
    return 1;
}

void slots_setup(SSL_CTX *ctx, int epoll, const options *o)
{
    load.ctx = ctx;
    load.o = o;
    load.epoll = epoll;
    load.all = calloc(o->conns, sizeof *load.all);
    load.message = calloc(1, o->size);
    if (load.all == NULL || load.message == NULL)
        abort();
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (o->work == RESUME) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, new_session);
    }
}

/* The op of t failed. The first error of all is told. */
static void failed(slot *t, const char *what)
{
    static bool told;
    int error = errno;

    if (!told) {
        fprintf(stderr, "load: slot %zu: %s: errno %d\n", (size_t)(t - load.all), what, error);
        ERR_print_errors_fp(stderr);
        told = true;
    }
    ERR_clear_error();
    counted.failed++;
}

static void warm(slot *t)
{
    if (!t->warm) {
        t->warm = true;
        load.warm++;
    }
}

/*
 * A connected socket. Linger 0: its close is a reset and leaves no TIME_WAIT on
 * either side. Connections that stay get one of many source addresses, as there
 * may be more of them than one address has ports, and no delay for what is
 * smaller than a segment; in a handshake each flight answers one that carries
 * the acknowledgement of the last, so Nagle has nothing to wait for. -1: errno
 * says why.
 */
static int dial(void)
{
    static unsigned turn;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct linger off = { .l_onoff = 1, .l_linger = 0 };
    struct sockaddr_in from = { .sin_family = AF_INET };
    bool stays = load.o->work != FULL && load.o->work != RESUME;

    if (fd < 0)
        return -1;
    from.sin_addr.s_addr = htonl(0x7f000000 | (FIRST_SOURCE + turn++ % (LAST_SOURCE - FIRST_SOURCE + 1)));
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off) == 0
        && (!stays || (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0
                       && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0
                       && bind(fd, (struct sockaddr *)&from, sizeof from) == 0))
        && connect(fd, (const struct sockaddr *)&load.o->addr, sizeof load.o->addr) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* Closes the connection. The next one of the slot goes to the same server, and
 * that is what SSL_clear is for; one that failed leaves nothing behind. */
static void shut(slot *t, bool clean)
{
    if (t->phase == SHUT)
        return;
    (void)close(t->wire.fd);
    wire_open(&t->wire, -1);
    SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    if (!clean || !SSL_clear(t->ssl) || !SSL_set_session(t->ssl, NULL)) {
        ERR_clear_error();
        SSL_free(t->ssl);
        t->ssl = NULL;
    }
    t->phase = SHUT;
    load.open--;
}

static outcome stopped(slot *t, int r, const char *what)
{
    int error = SSL_get_error(t->ssl, r);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return WAIT;
    failed(t, error == SSL_ERROR_ZERO_RETURN ? "the server closed" : what);
    return FAILED;
}

static outcome say_bye(slot *t)
{
    if (SSL_shutdown(t->ssl) < 0) {
        failed(t, "SSL_shutdown");
        return FAILED;
    }
    t->phase = BYE;
    return TURN_OVER;
}

/* The handshake is complete: checks how, and says what comes next. */
static outcome shaken(slot *t)
{
    static const phase next[] = { [ECHO] = ECHO_WRITE, [IDLE] = ECHO_WRITE, [DOWN] = DOWN_START, [UP] = UP_WRITE };

    t->reused = SSL_session_reused(t->ssl) != 0;
    latency_add(now_ns() - t->began);
    switch (load.o->work) {
    case FULL:
        if (t->reused) {
            failed(t, "a session was resumed and none offered");
            return FAILED;
        }
        return say_bye(t);
    case RESUME:
        if (load.o->version == TLS1_3_VERSION) {
            t->phase = TICKET;
            return TURN_OVER;
        }
        /* The newest one, be it a renewed ticket, which is not announced. */
        SSL_SESSION_free(t->session);
        t->session = SSL_get1_session(t->ssl);
        return say_bye(t);
    default:
        if (load.o->work != IDLE)
            warm(t);
        t->phase = next[load.o->work];
        return TURN_OVER;
    }
}

static outcome handshake(slot *t)
{
    int r = SSL_connect(t->ssl);

    return r == 1 ? shaken(t) : stopped(t, r, "handshake");
}

/* TLS 1.3: reads until the session came. */
static outcome ticket(slot *t)
{
    int r = SSL_read(t->ssl, chunk, CHUNK);

    if (r > 0) {
        failed(t, "data instead of a ticket");
        return FAILED;
    }
    if (t->fresh)
        return say_bye(t);
    return stopped(t, r, "reading the ticket");
}

/* Reads to the server's close_notify, and its end. */
static outcome bye(slot *t)
{
    int r = SSL_read(t->ssl, chunk, CHUNK);

    if (r > 0) {
        failed(t, "data after close_notify");
        return FAILED;
    }
    if (SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ)
        return WAIT;
    if (SSL_get_error(t->ssl, r) != SSL_ERROR_ZERO_RETURN) {
        failed(t, "waiting for the end");
        return FAILED;
    }
    /* close_notify came. The FIN is behind it, and epoll tells it. */
    if (!t->wire.ended && !t->wire.eof)
        return WAIT;
    counted.ops++;
    if (t->reused)
        counted.resumed++;
    else
        counted.full++;
    /* Only now: a window that opens counts no end of a full handshake of the warm-up. */
    warm(t);
    return DONE;
}

/* One echo, and then it is warm: the server is done with the handshake too, so
 * that no more of them are under way than the load generator lets be. */
static outcome settle(slot *t)
{
    if (t->reused)
        counted.resumed++;
    else
        counted.full++;
    warm(t);
    t->phase = IDLING;
    return TURN_OVER;
}

static outcome echo(slot *t)
{
    for (int i = 0; i < TURN; i++) {
        int r;

        if (t->phase == ECHO_WRITE) {
            if (load.stopping)
                return say_bye(t);
            t->began = now_ns();
            t->got = 0;
            r = SSL_write(t->ssl, load.message, (int)load.o->size);
            if (r <= 0)
                return stopped(t, r, "write");
            t->phase = ECHO_READ;
        }
        r = SSL_read(t->ssl, chunk, CHUNK);
        if (r <= 0)
            return stopped(t, r, "read");
        t->got += (size_t)r;
        if (t->got < load.o->size)
            continue;
        if (t->got > load.o->size) {
            failed(t, "more came back than was sent");
            return FAILED;
        }
        counted.ops++;
        counted.bytes += load.o->size;
        if (load.o->work == IDLE)
            return settle(t);
        latency_add(now_ns() - t->began);
        t->phase = ECHO_WRITE;
    }
    return TURN_OVER;
}

static outcome down(slot *t)
{
    if (t->phase == DOWN_START) {
        int r = SSL_write(t->ssl, "", 1);

        if (r <= 0)
            return stopped(t, r, "write");
        t->phase = DOWN_READ;
    }
    for (int i = 0; i < TURN; i++) {
        int r;

        if (load.stopping)
            return DONE;
        r = SSL_read(t->ssl, chunk, CHUNK);
        if (r <= 0)
            return stopped(t, r, "read");
        counted.bytes += (uint64_t)r;
        counted.ops = counted.bytes / CHUNK;
    }
    return TURN_OVER;
}

static outcome up(slot *t)
{
    for (int i = 0; i < TURN; i++) {
        int r;

        if (load.stopping)
            return DONE;
        r = SSL_write(t->ssl, chunk, CHUNK);
        if (r <= 0)
            return stopped(t, r, "write");
        counted.bytes += (uint64_t)r;
        counted.ops = counted.bytes / CHUNK;
    }
    return TURN_OVER;
}

/* A ticket may come; nothing else does. */
static outcome idling(slot *t)
{
    int r = SSL_read(t->ssl, chunk, CHUNK);

    if (r > 0) {
        failed(t, "data on an idle connection");
        return FAILED;
    }
    return stopped(t, r, "idle");
}

static outcome step(slot *t)
{
    switch (t->phase) {
    case HANDSHAKE:
        return handshake(t);
    case TICKET:
        return ticket(t);
    case BYE:
        return bye(t);
    case ECHO_WRITE:
    case ECHO_READ:
        return echo(t);
    case DOWN_START:
    case DOWN_READ:
        return down(t);
    case UP_WRITE:
        return up(t);
    case IDLING:
        return idling(t);
    case SHUT:
        break;
    }
    return DONE;
}

static void enter_again(slot *t)
{
    if (!t->again) {
        t->again = true;
        t->next = load.again;
        load.again = t;
    }
}

/* Goes on with t as far as it goes. False: its connection is closed. */
static bool run(slot *t)
{
    outcome o;
    phase at;

    do {
        at = t->phase;
        o = step(t);
    } while (o == TURN_OVER && t->phase != at);
    if (o == WAIT || o == TURN_OVER) {
        int sent = wire_flush(&t->wire);

        if (sent < 0) {
            failed(t, "send");
            o = FAILED;
        }
    } else {
        (void)wire_flush(&t->wire);
    }
    if (o == DONE || o == FAILED) {
        shut(t, o == DONE);
        return false;
    }
    if (o == TURN_OVER)
        enter_again(t);
    if (SSL_want_write(t->ssl) && !t->wants_out) {
        struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = t };

        t->wants_out = true;
        (void)epoll_ctl(load.epoll, EPOLL_CTL_MOD, t->wire.fd, &e);
    }
    return true;
}

static void make_ssl(slot *t)
{
    BIO *b = wire_bio(&t->wire);

    t->ssl = SSL_new(load.ctx);
    if (t->ssl == NULL || b == NULL)
        abort();
    SSL_set_bio(t->ssl, b, b);
    SSL_set_app_data(t->ssl, t);
}

/* Asks for one host after the other. */
static void name_host(slot *t)
{
    static size_t turn;
    char name[32];

    (void)snprintf(name, sizeof name, "h%zu.test", turn++ % load.o->hosts);
    if (!SSL_set_tlsext_host_name(t->ssl, name))
        abort();
}

/* Begins an op: connects, and sends the ClientHello. */
static bool begin(slot *t)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = t };
    int fd;

    t->began = now_ns();
    fd = dial();
    if (fd < 0) {
        failed(t, "connect");
        return false;
    }
    wire_open(&t->wire, fd);
    if (t->ssl == NULL)
        make_ssl(t);
    if (load.o->hosts > 0)
        name_host(t);
    t->offered = t->session != NULL;
    t->fresh = t->wants_out = false;
    if (t->session != NULL && !SSL_set_session(t->ssl, t->session))
        abort();
    if (load.o->version == TLS1_3_VERSION) {
        SSL_SESSION_free(t->session);  /* one use each; the next one comes with the ticket */
        t->session = NULL;
    }
    t->phase = HANDSHAKE;
    load.open++;
    if (!run(t))
        return false;
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        abort();
    return true;
}

static void next_op(slot *t)
{
    if (!load.stopping && (load.o->work == FULL || load.o->work == RESUME))
        (void)begin(t);
}

void slot_start(size_t i)
{
    (void)begin(&load.all[i]);
}

void slot_event(void *data, uint32_t events)
{
    slot *t = data;

    if (t->phase == SHUT)
        return;
    wire_ready(&t->wire, events);
    if (!run(t))
        next_op(t);
}

bool slots_again(void)
{
    slot *list = load.again, *t;

    load.again = NULL;
    while ((t = list) != NULL) {
        list = t->next;
        t->again = false;
        if (t->phase != SHUT && !run(t))
            next_op(t);
    }
    return load.again != NULL;
}

void slots_stop(void)
{
    load.stopping = true;
    for (size_t i = 0; i < load.o->conns; i++) {
        slot *t = &load.all[i];

        if (t->phase == DOWN_READ || t->phase == DOWN_START || t->phase == UP_WRITE)
            shut(t, false);
        else if (t->phase == IDLING && say_bye(t) == TURN_OVER)
            (void)wire_flush(&t->wire);
    }
}

size_t slots_warm(void)
{
    return load.warm;
}

size_t slots_open(void)
{
    return load.open;
}

void slots_free(void)
{
    for (size_t i = 0; i < load.o->conns; i++) {
        slot *t = &load.all[i];

        shut(t, false);
        SSL_SESSION_free(t->session);
        SSL_free(t->ssl);
    }
    free(load.all);
    free(load.message);
}
