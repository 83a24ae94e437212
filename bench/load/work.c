/*
 * The works: what a connection does until libssl wants bytes that are not there.
 */
#include <errno.h>

#include <openssl/err.h>

#include "slot.h"

enum {
    CHUNK = 16 << 10,
    TURN = 32,                 /* reads or writes in one go */
    LOOKED_AT = 1 << 20,       /* bytes of down that libssl reads; then it is known to work */
    RECORD = CHUNK + 22,       /* of TLS 1.3 with AES-GCM, as sent */
    SKIPPED_AT_ONCE = 1 << 20
};

counters counted;

/* What is read into and what up writes: whatever it holds. */
static unsigned char chunk[CHUNK];

void failed(slot *t, const char *what)
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

static outcome stopped(slot *t, int r, const char *what)
{
    int error = SSL_get_error(t->ssl, r);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return WAIT;
    failed(t, error == SSL_ERROR_ZERO_RETURN ? "the server closed" : what);
    return FAILED;
}

outcome say_bye(slot *t)
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
    warm(t);                   /* now: what is of the warm-up must not count in the window */
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

/* Bytes that an SSL_read took: the connection works. */
static outcome down_read(slot *t)
{
    int r = SSL_read(t->ssl, chunk, CHUNK);

    if (r <= 0)
        return stopped(t, r, "read");
    counted.bytes += (uint64_t)r;
    t->got += (size_t)r;
    if (t->got >= LOOKED_AT)
        t->phase = DOWN_SKIP;
    return TURN_OVER;
}

/* Bytes off the socket, which come in full records for all that is known. */
static outcome down_skip(slot *t)
{
    ssize_t n = wire_skip(&t->wire, SKIPPED_AT_ONCE);

    if (n > 0) {
        t->got += (size_t)n;
        counted.bytes += t->got / RECORD * CHUNK;
        t->got %= RECORD;
        return TURN_OVER;
    }
    if (n < 0 && !t->wire.broken)
        return WAIT;
    failed(t, "skip");
    return FAILED;
}

static outcome down(slot *t)
{
    if (t->phase == DOWN_START) {
        int r = SSL_write(t->ssl, "", 1);

        if (r <= 0)
            return stopped(t, r, "write");
        t->got = 0;
        t->phase = DOWN_READ;
    }
    for (int i = 0; i < TURN; i++) {
        outcome o;

        if (load.stopping)
            return DONE;
        o = t->phase == DOWN_READ ? down_read(t) : down_skip(t);
        if (o != TURN_OVER)
            return o;
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

outcome step(slot *t)
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
    case DOWN_SKIP:
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
