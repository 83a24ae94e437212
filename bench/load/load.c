/*
 * load: the load generator of the benchmark. One thread, one epoll, one JSON
 * line on stdout.
 *
 * - full, resume: connect, handshake, close_notify both ways, the server's FIN,
 *   reset. In TLS 1.3 a resuming client reads its next session before it says
 *   close_notify. An op counts when it is complete, and as resumed or full by
 *   what SSL_session_reused says; a resumption where none was offered is a
 *   failure. Latency is from connect to the end of the handshake.
 * - echo: a message there and back. The server is to run -work echo.
 * - down, up: bulk data, ops are 16 KiB. Up counts what was written. Of down the
 *   first MiB of a connection is decrypted, and the rest counted: as full records.
 * - idle: each connection has one echo and then idles until stdin ends.
 *
 * It leaves out what costs a client time and a server nothing to be spared
 * (skip.c, pid.c, alloc.h): to check the server's signature, to make a new key
 * share, to parse the same certificate again. -v tells how often.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

#include "alloc.h"
#include "load.h"
#include "wire.h"

enum {
    EVENTS = 256,
    FILES = 20100,
    OPENING = 64,              /* connections that are being made at once */
    PATIENCE = 30              /* seconds that draining may take, and warming up more than asked for */
};

static _Noreturn void usage(const char *what, const char *value)
{
    fprintf(stderr, "load: %s: %s\n"
            "usage: load -addr IP:PORT -pid SERVERPID -work full|resume|echo|down|up|idle -version 1.2|1.3 -conns N\n"
            "       -warmup SECONDS -seconds SECONDS [-size 64] [-hosts N] [-cert FILE -key FILE] [-v]\n", what, value);
    exit(2);
}

static int one_of(const char *flag, const char *value, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    usage(flag, value);
}

static struct sockaddr_in address(const char *value)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    const char *colon = strchr(value, ':');
    char host[INET_ADDRSTRLEN] = "";

    if (colon == NULL || colon - value >= INET_ADDRSTRLEN)
        usage("-addr", value);
    memcpy(host, value, (size_t)(colon - value));
    a.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &a.sin_addr) != 1 || a.sin_port == 0)
        usage("-addr", value);
    return a;
}

static double number(const char *flag, const char *value)
{
    char *end;
    double n = strtod(value, &end);

    if (end == value || *end != '\0' || !(n >= 0 && n <= 1e6))
        usage(flag, value);
    return n;
}

static options parse(int argc, char **argv)
{
    static const char *const works[] = { "full", "resume", "echo", "down", "up", "idle", NULL };
    static const char *const versions[] = { "1.2", "1.3", NULL };
    static const struct option flags[] = {
        { "addr", required_argument, NULL, 'a' }, { "pid", required_argument, NULL, 'p' },
        { "work", required_argument, NULL, 'w' }, { "version", required_argument, NULL, 'V' },
        { "conns", required_argument, NULL, 'n' }, { "warmup", required_argument, NULL, 'u' },
        { "seconds", required_argument, NULL, 's' }, { "size", required_argument, NULL, 'z' },
        { "cert", required_argument, NULL, 'c' }, { "key", required_argument, NULL, 'k' },
        { "hosts", required_argument, NULL, 'h' }, { "v", no_argument, NULL, 'v' }, { NULL, 0, NULL, 0 }
    };
    options o = { .version = TLS1_3_VERSION, .conns = 1, .size = 64, .warmup = 0.5, .seconds = 1 };
    int f;

    while ((f = getopt_long_only(argc, argv, "", flags, NULL)) != -1)
        switch (f) {
        case 'a': o.addr = address(optarg); break;
        case 'p': o.pid = (int)number("-pid", optarg); break;
        case 'w': o.work = (work)one_of("-work", optarg, works); break;
        case 'V': o.version = one_of("-version", optarg, versions) == 0 ? TLS1_2_VERSION : TLS1_3_VERSION; break;
        case 'n': o.conns = (size_t)number("-conns", optarg); break;
        case 'u': o.warmup = number("-warmup", optarg); break;
        case 's': o.seconds = number("-seconds", optarg); break;
        case 'z': o.size = (size_t)number("-size", optarg); break;
        case 'h': o.hosts = (size_t)number("-hosts", optarg); break;
        case 'c': o.cert = optarg; break;
        case 'k': o.key = optarg; break;
        case 'v': o.verbose = true; break;
        default: usage("flag", "see above");
        }
    if (optind < argc)
        usage("argument", argv[optind]);
    if (o.addr.sin_port == 0 || o.pid == 0)
        usage("-addr and -pid", "needed");
    if (o.conns == 0 || o.size == 0 || o.size > 16384)
        usage("-conns or -size", "out of range");
    if ((o.cert == NULL) != (o.key == NULL))
        usage("-cert and -key", "one without the other");
    return o;
}

static _Noreturn void die(const char *what)
{
    if (ERR_peek_error() != 0)
        ERR_print_errors_fp(stderr);
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- latencies ------------------------------------------------------------ */

static struct {
    uint32_t *us10;            /* tenths of a microsecond */
    size_t len, cap;
    bool sorted;
} latency;

void latency_add(int64_t ns)
{
    if (latency.len == latency.cap) {
        latency.cap = latency.cap == 0 ? 1 << 16 : latency.cap * 2;
        latency.us10 = realloc(latency.us10, latency.cap * sizeof *latency.us10);
        if (latency.us10 == NULL)
            abort();
    }
    latency.us10[latency.len++] = ns / 100 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 100);
}

void latency_clear(void)
{
    latency.len = 0;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

double latency_quantile(double q)
{
    if (latency.len == 0)
        return 0;
    if (!latency.sorted)
        qsort(latency.us10, latency.len, sizeof *latency.us10, by_size);
    latency.sorted = true;
    return latency.us10[(size_t)(q * (double)(latency.len - 1))] / 10.0;
}

/* ---- the context ---------------------------------------------------------- */

/* No chain is built and no name compared. */
static int believe(X509_STORE_CTX *x, void *arg)
{
    (void)x;
    (void)arg;
    return 1;
}

/* The first is used. TLS 1.2 wants the second for a certificate with a P-256 key. */
static const char groups[] = "X25519:P-256";

static SSL_CTX *make_context(const options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL)
        die("SSL_CTX_new");
    if (!SSL_CTX_set_min_proto_version(ctx, o->version) || !SSL_CTX_set_max_proto_version(ctx, o->version)
        || !SSL_CTX_set1_groups_list(ctx, groups)
        || !SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        || !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256"))
        die("settings");
    if (o->cert != NULL && (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1
                            || SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1))
        die("client certificate");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, believe, NULL);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, WIRE_READ_BUFFER);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN
                          | (o->work == IDLE ? SSL_MODE_RELEASE_BUFFERS : 0));
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    return ctx;
}

/* ---- the window ----------------------------------------------------------- */

typedef struct window {
    int64_t wall, server, client;
} window;

static int64_t spun;           /* time in which there was nothing to do */

static int64_t read_clock(clockid_t id, const char *whose)
{
    struct timespec t;

    if (clock_gettime(id, &t) != 0)
        die(whose);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static window read_clocks(const options *o)
{
    clockid_t server;
    int error = clock_getcpuclockid(o->pid, &server);

    if (error != 0) {
        errno = error;
        die("-pid");
    }
    return (window){ now_ns(), read_clock(server, "the server's CPU clock"),
                     read_clock(CLOCK_PROCESS_CPUTIME_ID, "own CPU clock") - spun };
}

/*
 * One round of the event loop, which waits ms milliseconds at most. With spin it
 * asks again and again in place of waiting: what wakes a processor that sleeps is
 * the server's send, at a price that depends on how the machine is virtualized,
 * and the quicker a server the less often it would pay.
 */
static void turn(int epoll, int ms, bool spin)
{
    static struct epoll_event events[EVENTS];
    static bool again;
    int64_t asked = spin ? now_ns() : 0;
    int n = epoll_wait(epoll, events, EVENTS, again || spin ? 0 : ms);

    if (n == 0 && spin && !again)
        spun += now_ns() - asked;
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++)
        slot_event(events[i].data.ptr, events[i].events);
    again = slots_again();
}

/* One connection alone is a conversation: each side sleeps while the other talks. */
static bool spins(const options *o)
{
    return o->work != IDLE && o->conns > 1;
}

/* Opens all slots and waits until the warm-up is over and each slot is warm. */
static void warm_up(int epoll, const options *o)
{
    int64_t begin = now_ns(), end = begin + (int64_t)(o->warmup * 1e9);
    int64_t patience = (PATIENCE + (int64_t)o->conns / 50) * 1000000000;
    size_t started = 0;

    while (now_ns() < end || slots_warm() < o->conns) {
        while (started < o->conns && started - slots_warm() < OPENING)
            slot_start(started++);
        turn(epoll, 10, spins(o));
        if (now_ns() > end + patience || counted.failed > o->conns) {
            fprintf(stderr, "load: %zu of %zu connections are warm, %llu failed\n", slots_warm(), o->conns,
                    (unsigned long long)counted.failed);
            exit(1);
        }
        if (o->work == IDLE && slots_warm() == o->conns)
            return;
    }
}

static void report(const options *o, window a, window b, const counters *c)
{
    printf("{\"ops\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"server_cpu\":%.6f,\"client_cpu\":%.6f,"
           "\"resumed\":%llu,\"full\":%llu,\"failed\":%llu,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           (unsigned long long)c->ops, (unsigned long long)c->bytes, (double)(b.wall - a.wall) / 1e9,
           (double)(b.server - a.server) / 1e9, (double)(b.client - a.client) / 1e9,
           (unsigned long long)c->resumed, (unsigned long long)c->full, (unsigned long long)c->failed,
           latency_quantile(0.5), latency_quantile(0.99));
    fflush(stdout);
    if (o->verbose)
        fprintf(stderr, "load: answered here, since the start: %lu calls of EVP_DigestVerify, "
                "%lu of EVP_PKEY_keygen, %lu of d2i_X509\n",
                skipped_verify, skipped_keygen, skipped_parse);
}

/* Blocks until stdin ends. */
static void wait_for_stdin(void)
{
    char c[64];
    ssize_t n;

    do
        n = read(STDIN_FILENO, c, sizeof c);
    while (n > 0 || (n < 0 && errno == EINTR));
}

int main(int argc, char **argv)
{
    options o = parse(argc, argv);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    size_t files = wire_files(FILES);
    window a, b;
    counters seen;
    int64_t deadline;
    SSL_CTX *ctx;

    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
    if (!alloc_setup())
        die("allocator");
    if (o.conns + 8 > files) {
        fprintf(stderr, "load: %zu connections need more open files than the limit of %zu\n", o.conns, files);
        return 1;
    }
    ctx = make_context(&o);
    if (epoll < 0)
        die("epoll");
    slots_setup(ctx, epoll, &o);
    a = read_clocks(&o);
    warm_up(epoll, &o);
    if (o.work != IDLE) {
        counted = (counters){ 0 };
        latency_clear();
        a = read_clocks(&o);
        while (now_ns() - a.wall < (int64_t)(o.seconds * 1e9))
            turn(epoll, 10, spins(&o));
    }
    b = read_clocks(&o);
    seen = counted;
    report(&o, a, b, &seen);
    if (o.work == IDLE)
        wait_for_stdin();
    slots_stop();
    deadline = now_ns() + PATIENCE * INT64_C(1000000000);
    while (slots_open() > 0 && now_ns() < deadline)
        turn(epoll, 10, spins(&o));
    if (counted.failed > seen.failed)
        fprintf(stderr, "load: %llu more failed after the window\n", (unsigned long long)(counted.failed - seen.failed));
    slots_free();
    SSL_CTX_free(ctx);
    (void)close(epoll);
    return 0;
}
