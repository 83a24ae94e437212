/*
 * The C peer of the benchmark: options, counters, the session store and the
 * works. One thread, one SSL_CTX.
 */
#ifndef CSERVER_H
#define CSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

typedef enum { WORK_HANDSHAKE, WORK_ECHO, WORK_SOURCE, WORK_SINK } work;
typedef enum { STORE_NONE, STORE_DER, STORE_REF, STORE_INTERNAL, STORE_TICKETS } store_kind;

typedef struct options {
    work work;
    store_kind store;
    int version;               /* TLS1_2_VERSION or TLS1_3_VERSION */
    const char *cert, *key, *client_ca;
    size_t max_sessions;
    size_t hosts;              /* virtual hosts, each an SSL_CTX; 0: none */
    int64_t lookup_delay;      /* nanoseconds that one lookup takes */
    bool release_buffers;
    bool tuned;                /* an allocator for libcrypto, gathered records, a larger read buffer */
} options;

typedef struct counters {
    unsigned long accepted, handshakes, resumed, failed, lookups, hits, stored;
} counters;

extern counters counted;

/* Gives ctx the sessions that o asks for. False: it said why on stderr. */
bool store_setup(SSL_CTX *ctx, const options *o);
void store_free(void);

/* Serves the descriptor fd, just accepted: takes it. */
void serve_open(int fd);

/* Goes on with the connection that epoll reported as data.ptr. */
void serve_event(void *data, uint32_t events);

/* Goes on with the connections that stopped to let others have their turn.
 * True: there are some again. */
bool serve_again(void);

/* What serve_open needs: all borrowed for good. */
void serve_setup(SSL_CTX *ctx, int epoll, const options *o);
void serve_free(void);

#endif
