#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "wire.h"

enum { GATHER = 132 << 10 };   /* eight full records */

/* The bytes of the step that is under way, and of no other connection. */
static unsigned char gathered[GATHER];
static size_t gathered_len, gather_most = GATHER;

void wire_gather(bool on)
{
    gather_most = on ? GATHER : 0;
}

void wire_open(wire *w, int fd)
{
    free(w->left);
    *w = (wire){ .fd = fd };
}

void wire_ready(wire *w, uint32_t events)
{
    w->drained = false;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        w->ended = true;
}

/* Sends as much as the socket takes: how much that is, or -1. */
static ssize_t push(wire *w, const unsigned char *p, size_t n)
{
    ssize_t sent;

    do
        sent = send(w->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN)
        return 0;
    w->broken = true;
    return -1;
}

/* Sends what an earlier flush left: 1, 0 or -1 as wire_flush. */
static int push_left(wire *w)
{
    ssize_t n;

    if (w->left == NULL)
        return 1;
    n = push(w, w->left + w->left_at, w->left_len - w->left_at);
    if (n < 0)
        return -1;
    w->left_at += (size_t)n;
    if (w->left_at < w->left_len)
        return 0;
    free(w->left);
    w->left = NULL;
    return 1;
}

int wire_flush(wire *w)
{
    size_t len = gathered_len;
    ssize_t n;
    int r;

    gathered_len = 0;
    if (w->broken)
        return -1;
    r = push_left(w);
    if (r < 0 || len == 0)
        return r;              /* nothing is gathered while something is left */
    n = push(w, gathered, len);
    if (n < 0)
        return -1;
    if ((size_t)n == len)
        return 1;
    w->left_at = 0;
    w->left_len = len - (size_t)n;
    w->left = malloc(w->left_len);
    if (w->left == NULL) {
        w->broken = true;
        return -1;
    }
    memcpy(w->left, gathered + n, w->left_len);
    return 0;
}

static int wire_write(BIO *b, const char *data, int n)
{
    wire *w = BIO_get_data(b);
    size_t len = (size_t)n;

    BIO_clear_retry_flags(b);
    if (w->left != NULL || gathered_len + len > GATHER) {
        int r = wire_flush(w);

        if (r == 0)
            BIO_set_retry_write(b);
        if (r <= 0)
            return -1;
    }
    if (len > GATHER)
        len = GATHER;
    memcpy(gathered + gathered_len, data, len);
    gathered_len += len;
    if (gathered_len > gather_most && wire_flush(w) < 0)
        return -1;
    return (int)len;
}

/* How many bytes came, 0 at the end, or -1: none are there now, or w->broken. */
static ssize_t pull(wire *w, void *p, size_t n, int flags)
{
    ssize_t got;

    if (w->eof)
        return 0;
    if (w->drained && !w->ended)
        return -1;
    do
        got = recv(w->fd, p, n, MSG_DONTWAIT | flags);
    while (got < 0 && errno == EINTR);
    if (got < (ssize_t)n)
        w->drained = true;
    if (got == 0)
        w->eof = true;
    if (got < 0 && errno != EAGAIN)
        w->broken = true;
    return got;
}

/* The kernel does not copy what it is told to cut off, all of it. */
ssize_t wire_skip(wire *w, size_t n)
{
    return pull(w, NULL, n, MSG_TRUNC);
}

static int wire_read(BIO *b, char *data, int n)
{
    wire *w = BIO_get_data(b);
    ssize_t got = pull(w, data, (size_t)n, 0);

    BIO_clear_retry_flags(b);
    if (got < 0 && !w->broken)
        BIO_set_retry_read(b);
    return (int)got;
}

static long wire_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)num;
    (void)ptr;
    switch (cmd) {
    case BIO_CTRL_FLUSH:
        return 1;              /* the step is not over: wire_flush ends it */
    case BIO_CTRL_EOF:
        return ((wire *)BIO_get_data(b))->eof;
    default:
        return 0;
    }
}

BIO *wire_bio(wire *w)
{
    static BIO_METHOD *method;
    BIO *b;

    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
        if (method == NULL || !BIO_meth_set_write(method, wire_write)
            || !BIO_meth_set_read(method, wire_read) || !BIO_meth_set_ctrl(method, wire_ctrl))
            return NULL;
    }
    b = BIO_new(method);
    if (b == NULL)
        return NULL;
    BIO_set_data(b, w);
    BIO_set_init(b, 1);
    return b;
}

size_t wire_files(size_t want)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return 0;
    if (l.rlim_cur < want) {
        struct rlimit more = { want, l.rlim_max > want ? l.rlim_max : want };

        if (setrlimit(RLIMIT_NOFILE, &more) != 0) {
            more = (struct rlimit){ l.rlim_max, l.rlim_max };
            (void)setrlimit(RLIMIT_NOFILE, &more);
        }
        (void)getrlimit(RLIMIT_NOFILE, &l);
    }
    return l.rlim_cur;
}
