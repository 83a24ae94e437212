/*
 * cserver: the C peer of the benchmark, one thread, one epoll, one SSL_CTX. It
 * is meant to be as good as C gets, so that nobody is compared with a weak one.
 * Ratios are server CPU per operation without the measure to that with it,
 * medians of 14 to 16 alternated rounds on two virtual processors where a
 * system call costs 1 us (OpenSSL 3.0.19); two copies of one program differ by
 * up to 0.02. "Resumption" is TLS 1.2, store der, 32 connections.
 *
 * What it does, and what that is worth:
 * - Read-ahead: one recv for what is there, not two for each record. 1.22 of a
 *   resumption.
 * - One flight is one send. libssl does that within a handshake; the BIO
 *   (wire.h) does it across calls, so a ticket and close_notify, or eight
 *   records of bulk data, go out together. 1.2 to 1.3 of bulk data sent.
 * - A read buffer of four records: bulk data comes in fewer recvs. 1.2 to 1.4.
 * - No recv that is known to fail: 1.07 of an echo, 1.08 of a resumption.
 * - Edge-triggered, registered once, after the first flight is answered: no
 *   EPOLL_CTL_MOD except for a socket that was full. Level-triggered measures
 *   the same as long as there are no recvs in vain.
 * - TCP_DEFER_ACCEPT: a connection is accepted with its ClientHello there to be
 *   read, which saves a round of the loop and an EAGAIN. 1.04.
 * - As many accepts as events: one for each round is 1.04, until EAGAIN 1.02.
 * - TCP_NODELAY is inherited from the listener: a system call less.
 * - close before SSL_free: the peer waits for the FIN. 1.06.
 * - An allocator for libcrypto that is a list of free blocks (alloc.h): 1.05 of
 *   a resumption, and 22 instead of 31 KiB for an idle connection.
 * - getpid from memory (pid.c): 1.02 of a resumption, up to 1.07 in TLS 1.3.
 * - i2d in one pass: the size is bounded by SSL_CTX_set_max_cert_list, so the
 *   stack has room. A table without a malloc for a session that has no client
 *   certificate, written before it is measured. Reference for reference with
 *   *copy = 1 in store ref (store.c says why no duplicate is needed).
 * - The error queue is empty before each call and read only after a failure.
 * - SSL_MODE_NO_AUTO_CHAIN: no search for a chain in each handshake. It matters
 *   when client CAs are loaded, and is nothing otherwise.
 *
 * What was measured and is not done:
 * - SSL_clear in place of SSL_new: nothing that could be told from noise, and
 *   its manual page says that it is for the same peer again.
 * - A list of signature algorithms of one element: nothing.
 * - SSL_MODE_RELEASE_BUFFERS by default: costs nothing that could be measured
 *   and leaves 14.4 of 22.4 KiB for an idle connection; it is a flag, since
 *   memory is a row of its own.
 * - jemalloc by LD_PRELOAD: 1.02 slower than glibc's malloc.
 * - More threads, io_uring, kTLS: another program. Pipelining, fewer checks,
 *   another security level, reused key shares: another protocol or a weaker one.
 *
 * Only with -tuned: the gathering, the larger read buffer, the allocator and
 * getpid, none of which a C programmer does as a matter of course. They are worth
 * 1.07 of a handshake or resumption, 1.2 of bulk data sent and 1.4 received.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "alloc.h"
#include "cserver.h"
#include "wire.h"

enum { EVENTS = 256, BACKLOG = 4096, FILES = 20100 };

/* The first is used. TLS 1.2 wants the second for a certificate with a P-256 key. */
static const char groups[] = "X25519:P-256";
static const char id_context[] = "sessioncb bench";

static _Noreturn void usage(const char *what, const char *value)
{
    fprintf(stderr, "cserver: %s: %s\n"
            "usage: cserver -work handshake|echo|source|sink -version 1.2|1.3 -cert FILE -key FILE [-client-ca FILE]\n"
            "       -store none|der|ref|internal|tickets [-max-sessions N] [-lookup-delay DURATION]\n"
            "       [-release-buffers] [-tuned] [-hosts N (store none)]\n",
            what, value);
    exit(2);
}

static int one_of(const char *flag, const char *value, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    usage(flag, value);
}

/* A duration as Go writes it, in one unit: nanoseconds. */
static int64_t duration(const char *value)
{
    static const struct { const char *name; double ns; } units[] = {
        { "ns", 1 }, { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }
    };
    char *end;
    double n = strtod(value, &end);

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (end != value && n >= 0 && strcmp(end, units[i].name) == 0)
            return (int64_t)(n * units[i].ns);
    if (strcmp(value, "0") == 0)
        return 0;
    usage("-lookup-delay", value);
}

static options parse(int argc, char **argv)
{
    static const char *const works[] = { "handshake", "echo", "source", "sink", NULL };
    static const char *const stores[] = { "none", "der", "ref", "internal", "tickets", NULL };
    static const char *const versions[] = { "1.2", "1.3", NULL };
    static const struct option flags[] = {
        { "work", required_argument, NULL, 'w' }, { "version", required_argument, NULL, 'v' },
        { "cert", required_argument, NULL, 'c' }, { "key", required_argument, NULL, 'k' },
        { "client-ca", required_argument, NULL, 'a' }, { "store", required_argument, NULL, 's' },
        { "max-sessions", required_argument, NULL, 'm' }, { "lookup-delay", required_argument, NULL, 'l' },
        { "hosts", required_argument, NULL, 'h' }, { "release-buffers", no_argument, NULL, 'r' },
        { "tuned", no_argument, NULL, 't' }, { NULL, 0, NULL, 0 }
    };
    options o = { .version = TLS1_3_VERSION, .max_sessions = 100000 };
    int f;

    while ((f = getopt_long_only(argc, argv, "", flags, NULL)) != -1)
        switch (f) {
        case 'w': o.work = (work)one_of("-work", optarg, works); break;
        case 'v': o.version = one_of("-version", optarg, versions) == 0 ? TLS1_2_VERSION : TLS1_3_VERSION; break;
        case 'c': o.cert = optarg; break;
        case 'k': o.key = optarg; break;
        case 'a': o.client_ca = optarg; break;
        case 's': o.store = (store_kind)one_of("-store", optarg, stores); break;
        case 'm': o.max_sessions = (size_t)strtoul(optarg, NULL, 10); break;
        case 'h': o.hosts = (size_t)strtoul(optarg, NULL, 10); break;
        case 'l': o.lookup_delay = duration(optarg); break;
        case 'r': o.release_buffers = true; break;
        case 't': o.tuned = true; break;
        default: usage("flag", "see above");
        }
    if (optind < argc)
        usage("argument", argv[optind]);
    if (o.cert == NULL || o.key == NULL)
        usage("-cert and -key", "needed");
    if (o.hosts > 100000 || (o.hosts > 0 && o.store != STORE_NONE))
        usage("-hosts", "out of range, or with a store");
    if (o.max_sessions == 0 || o.max_sessions > 100000000)
        usage("-max-sessions", "out of range");
    return o;
}

static _Noreturn void die(const char *what)
{
    if (ERR_peek_error() != 0)
        ERR_print_errors_fp(stderr);
    fprintf(stderr, "cserver: %s: %s\n", what, strerror(errno));
    exit(1);
}

static SSL_CTX *make_context(const options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    long mode = SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN;

    if (ctx == NULL)
        die("SSL_CTX_new");
    if (!SSL_CTX_set_min_proto_version(ctx, o->version) || !SSL_CTX_set_max_proto_version(ctx, o->version)
        || !SSL_CTX_set1_groups_list(ctx, groups)
        || !SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        || !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256")
        || !SSL_CTX_set_session_id_context(ctx, (const unsigned char *)id_context, sizeof id_context - 1))
        die("settings");
    if (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1)
        die(o->cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1)
        die(o->key);
    if (o->client_ca != NULL) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->client_ca);

        if (names == NULL || !SSL_CTX_load_verify_file(ctx, o->client_ca))
            die(o->client_ca);
        SSL_CTX_set_client_CA_list(ctx, names);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (o->release_buffers)
        mode |= SSL_MODE_RELEASE_BUFFERS;
    SSL_CTX_set_mode(ctx, mode);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(ctx, 1);
    if (o->tuned)
        SSL_CTX_set_default_read_buffer_len(ctx, WIRE_READ_BUFFER);
    if (!store_setup(ctx, o))
        exit(1);
    return ctx;
}

/* Virtual hosts: an SSL_CTX each, under "hN.test". */
static struct {
    SSL_CTX **all;
    size_t n;
} hosts;

/* The number in the name is the index: no search could be cheaper. */
static int choose_host(SSL *ssl, int *alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    size_t i = name == NULL || name[0] != 'h' ? hosts.n : strtoul(name + 1, NULL, 10);

    (void)arg;
    if (i >= hosts.n || SSL_set_SSL_CTX(ssl, hosts.all[i]) == NULL) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    return SSL_TLSEXT_ERR_OK;
}

static void make_hosts(SSL_CTX *ctx, const options *o)
{
    if (o->hosts == 0)
        return;
    hosts.all = calloc(o->hosts, sizeof *hosts.all);
    if (hosts.all == NULL)
        die("hosts");
    for (hosts.n = 0; hosts.n < o->hosts; hosts.n++)
        hosts.all[hosts.n] = make_context(o);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_host);
}

static void free_hosts(void)
{
    while (hosts.n > 0)
        SSL_CTX_free(hosts.all[--hosts.n]);
    free(hosts.all);
}

static int listen_here(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;

    /* Accepted sockets inherit it: one system call less for each. */
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        die("socket");
    /* A connection is accepted when its ClientHello is there to be read. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on) != 0)
        die("TCP_DEFER_ACCEPT");
    if (bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, BACKLOG) != 0
        || getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        die("listen");
    printf("listening 127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

/* At most n connections, n being how much is going on: a server that is asked
 * for one at a time need not hear that there is no second one. */
static void accept_some(int listener, int n)
{
    while (n-- > 0) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            serve_open(fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void print_stats(void)
{
    printf("{\"accepted\":%lu,\"handshakes\":%lu,\"resumed\":%lu,\"failed\":%lu,"
           "\"lookups\":%lu,\"hits\":%lu,\"stored\":%lu}\n",
           counted.accepted, counted.handshakes, counted.resumed, counted.failed,
           counted.lookups, counted.hits, counted.stored);
    fflush(stdout);
}

/* Reads what is on stdin and answers it. False: it ended. */
static bool command(void)
{
    static char line[64];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, line + len, sizeof line - len);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    len += (size_t)n;
    for (char *end; (end = memchr(line, '\n', len)) != NULL;) {
        size_t used = (size_t)(end + 1 - line);

        if (used == sizeof "stats" && memcmp(line, "stats\n", used) == 0)
            print_stats();
        len -= used;
        memmove(line, end + 1, len);
    }
    if (len == sizeof line)
        len = 0;               /* no command is as long as that */
    return true;
}

int main(int argc, char **argv)
{
    options o = parse(argc, argv);
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener;
    struct epoll_event events[EVENTS], e = { .events = EPOLLIN };
    bool again = false;
    SSL_CTX *ctx;

    /* Freed memory stays with the process: no brk for each connection. */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
    if (o.tuned && !alloc_setup())
        die("allocator");
    (void)wire_files(FILES);
    ctx = make_context(&o);
    make_hosts(ctx, &o);
    if (epoll < 0)
        die("epoll");
    wire_gather(o.tuned);
    wire_remember_pid(o.tuned);
    serve_setup(ctx, epoll, &o);
    listener = listen_here();
    e.data.ptr = &listener;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) != 0)
        die("epoll_ctl");
    e.data.ptr = NULL;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e) != 0) {
        while (errno == EPERM && command())    /* a file: there is no waiting for it */
            errno = EPERM;
        return 0;
    }
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, again ? 0 : -1);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            void *data = events[i].data.ptr;

            if (data == &listener)
                accept_some(listener, n);
            else if (data != NULL)
                serve_event(data, events[i].events);
            else if (!command())
                goto end;
        }
        again = serve_again();
    }
end:
    SSL_CTX_free(ctx);
    free_hosts();
    store_free();
    serve_free();
    (void)close(listener);
    (void)close(epoll);
    return 0;
}
