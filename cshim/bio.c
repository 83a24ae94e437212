/*
 * One BIO for both transports. Reading asks the descriptor, or the memory that
 * the step borrowed. Writing never makes OpenSSL wait: what the transport does
 * not take at once is kept, and sent by a later step. So OpenSSL never has half
 * a record to retry, a flight is one write, and bytes that announce a session
 * can be held until the session is stored.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <openssl/bio.h>
#include "shim.h"

static BIO_METHOD *method;
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

/*
 * Past libc's recv and send: in a process with threads those are points of
 * cancellation, with two locked instructions each.
 */
static ssize_t receive(int fd, unsigned char *p, size_t n)
{
    ssize_t r;

    do {
        r = syscall(SYS_recvfrom, fd, p, n, 0, NULL, NULL);
    } while (r < 0 && errno == EINTR);
    return r;
}

static int bio_read(BIO *b, char *buf, int n)
{
    sc_conn *c = BIO_get_data(b);
    sc_io *io = c != NULL ? c->io : NULL;
    size_t have;
    ssize_t r;

    BIO_clear_retry_flags(b);
    if (n <= 0 || c == NULL)
        return 0;
    have = io != NULL ? io->in_len - io->in_pos : 0;
    if (have > 0) {
        if (have > (size_t)n)
            have = (size_t)n;
        memcpy(buf, io->in + io->in_pos, have);
        io->in_pos += have;
        return (int)have;
    }
    if (io == NULL || io->fd < 0) {
        if (c->eof)
            return 0;
        BIO_set_retry_read(b);
        return -1;
    }
    if (c->quiet && c->ahead_sys == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    r = c->ahead_sys != 0 ? -1 : receive(io->fd, (unsigned char *)buf, (size_t)n);
    c->drained = r < n;
    c->quiet = c->polled && c->drained;
    if (r > 0)
        return (int)r;
    if (r == 0) {
        c->eof = 1;
        return 0;
    }
    if (c->ahead_sys != 0)
        c->sys = c->ahead_sys;
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
        BIO_set_retry_read(b);
    else
        c->sys = errno;
    c->ahead_sys = 0;
    return -1;
}

/*
 * A Read that waits for the peer finds nothing first, nearly always, and the last
 * receive shows it: it took less than it could. SSL_read makes a buffer before it
 * looks and frees it after; so this looks, and SSL_read is called if there is
 * something, which it takes from here. 0: it would find nothing.
 */
static _Thread_local unsigned char ahead[16 * 1024];

int sc_bio_look_ahead(sc_conn *c)
{
    sc_io *io = c->io;
    ssize_t r;

    /* In init a ticket or a KeyUpdate is queued, which SSL_read sends. */
    if (io->fd < 0 || !(c->polled ? c->quiet : c->drained) || io->in_len > 0 || SSL_has_pending(c->ssl) || SSL_in_init(c->ssl))
        return 1;
    if (c->quiet)
        return 0;
    r = receive(io->fd, ahead, sizeof(ahead));
    c->drained = r < (ssize_t)sizeof(ahead);
    if (r > 0) {
        io->in = ahead;
        io->in_len = (size_t)r;
    } else if (r < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        c->ahead_sys = errno;  /* the socket reports it once */
    }
    return 1;
}

/* libssl takes all of it at once, into an empty buffer that is larger; if not, it is kept. */
void sc_bio_keep_ahead(sc_conn *c)
{
    const sc_io *io = c->io;
    size_t left = io->in_len - io->in_pos;
    unsigned char *keep = NULL;

    if (io->in == NULL || (io->in != ahead && io->in != c->rest))
        return;
    if (left > 0 && (keep = OPENSSL_memdup(io->in + io->in_pos, left)) == NULL)
        c->ahead_sys = ENOMEM;
    OPENSSL_free(c->rest);
    c->rest = keep;
    c->rest_len = keep != NULL ? left : 0;
}

/* How much the transport takes now; 0 with c->sys set when it is broken. */
static size_t transmit(sc_conn *c, const unsigned char *p, size_t n)
{
    sc_io *io = c->io;
    ssize_t r;

    if (io == NULL)
        return 0;
    if (io->fd >= 0) {
        do {
            r = syscall(SYS_sendto, io->fd, p, n, MSG_NOSIGNAL, NULL, 0);
        } while (r < 0 && errno == EINTR);
        if (r >= 0)
            return (size_t)r;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            c->sys = errno;
        return 0;
    }
    if (n > io->out_cap - io->out_len)
        n = io->out_cap - io->out_len;
    if (n > 0)
        memcpy(io->out + io->out_len, p, n);
    io->out_len += n;
    return n;
}

static int keep(sc_conn *c, const unsigned char *p, size_t n)
{
    if (c->kept_pos > 0) {
        c->kept_len -= c->kept_pos;
        memmove(c->kept, c->kept + c->kept_pos, c->kept_len);
        c->kept_pos = 0;
    }
    if (c->kept_len + n > c->kept_cap) {
        size_t cap = c->kept_cap > 0 ? c->kept_cap : 1000;
        unsigned char *q;

        while (cap < c->kept_len + n)
            cap *= 2;
        q = OPENSSL_realloc(c->kept, cap);
        if (q == NULL)
            return 0;
        c->kept = q;
        c->kept_cap = cap;
    }
    memcpy(c->kept + c->kept_len, p, n);
    c->kept_len += n;
    return 1;
}

static int bio_write(BIO *b, const char *buf, int n)
{
    sc_conn *c = BIO_get_data(b);
    const unsigned char *p = (const unsigned char *)buf;
    size_t sent = 0;

    BIO_clear_retry_flags(b);
    if (n <= 0 || c == NULL)
        return 0;
    if (!c->hold && !c->gather && c->kept_len == 0) {
        sent = transmit(c, p, (size_t)n);
        if (c->sys != 0)
            return -1;
    }
    if (sent < (size_t)n && !keep(c, p + sent, (size_t)n - sent)) {
        c->sys = ENOMEM;
        return -1;
    }
    return n;
}

/* Sends what is kept, as far as the transport takes it and no hold is on. */
void sc_bio_push(sc_conn *c)
{
    if (c->hold)
        return;
    while (c->kept_pos < c->kept_len) {
        size_t n = transmit(c, c->kept + c->kept_pos, c->kept_len - c->kept_pos);

        if (n == 0)
            return;
        c->kept_pos += n;
    }
    /* An idle connection keeps no buffer. */
    OPENSSL_free(c->kept);
    c->kept = NULL;
    c->kept_cap = c->kept_len = c->kept_pos = 0;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    sc_conn *c = BIO_get_data(b);

    (void)num; (void)ptr;
    switch (cmd) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_EOF:
        return c != NULL && c->eof && (c->io == NULL || c->io->in_pos == c->io->in_len);
    default:
        return 0;
    }
}

static int bio_create(BIO *b)
{
    BIO_set_init(b, 1);
    atomic_fetch_add(&sc_live_bios, 1);
    return 1;
}

static int bio_destroy(BIO *b)
{
    (void)b;
    atomic_fetch_sub(&sc_live_bios, 1);
    return 1;
}

static void make_method(void)
{
    int type = BIO_get_new_index();

    if (type < 0)
        return;
    method = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "sessioncb");
    if (method == NULL)
        return;
    if (!BIO_meth_set_read(method, bio_read)
        || !BIO_meth_set_write(method, bio_write)
        || !BIO_meth_set_ctrl(method, bio_ctrl)
        || !BIO_meth_set_create(method, bio_create)
        || !BIO_meth_set_destroy(method, bio_destroy)) {
        BIO_meth_free(method);
        method = NULL;
    }
}

BIO *sc_bio_new(sc_conn *c)
{
    BIO *b;

    if (!CRYPTO_THREAD_run_once(&once, make_method) || method == NULL)
        return NULL;
    b = BIO_new(method);
    if (b != NULL)
        BIO_set_data(b, c);
    return b;
}
