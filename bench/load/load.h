/*
 * The load generator: options, the count of the window, the slots and what the
 * client does not do.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <openssl/ssl.h>

typedef enum { FULL, RESUME, ECHO, DOWN, UP, IDLE } work;

typedef struct options {
    struct sockaddr_in addr;
    int pid;
    work work;
    int version;
    size_t conns, size, hosts; /* hosts: virtual ones to ask for in turn; 0: none is named */
    double warmup, seconds;
    const char *cert, *key;
    bool verbose;
} options;

/* What happened, since the window opened. */
typedef struct counters {
    uint64_t ops, bytes, resumed, full, failed;
} counters;

extern counters counted;

/* Latencies of one microsecond each, in order of arrival until sorted. */
void latency_add(int64_t ns);
void latency_clear(void);
/* In microseconds; 0 when there is none. */
double latency_quantile(double q);

int64_t now_ns(void);

/* The slots: each is one connection at a time. */
void slots_setup(SSL_CTX *ctx, int epoll, const options *o);
/* Begins with slot i. */
void slot_start(size_t i);
void slot_event(void *data, uint32_t events);
/* Goes on with the slots that stopped to let others have their turn. */
bool slots_again(void);
/* No new op is begun from here on, and a connection that is between two ops is closed. */
void slots_stop(void);
/* How many slots are ready for the window: have what warming up gives them. */
size_t slots_warm(void);
size_t slots_open(void);
void slots_free(void);

/* Calls to libcrypto that libssl made and skip.c answered. */
extern unsigned long skipped_verify, skipped_keygen, skipped_parse;

#endif
