/*
 * The slots. A slot has one connection at a time.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "slot.h"

enum { FIRST_SOURCE = 2, LAST_SOURCE = 50 };   /* 127.0.0.x */

slots load;

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

        if (t->phase == DOWN_READ || t->phase == DOWN_SKIP || t->phase == DOWN_START
            || t->phase == UP_WRITE)
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
