/*
 * The transport of the two C programs: a BIO of their own over a TCP socket,
 * in place of BIO_s_socket. It saves system calls, no more:
 *
 * - What libssl writes is gathered in one buffer of the process until
 *   wire_flush, so that what one step produces is one send, whatever calls
 *   produced it. Of bulk data that is eight records, and the copy of them costs
 *   less than the seven sends saved.
 * - A recv that returned less than was asked for has emptied the socket
 *   (epoll(7)), so the next read says "would block" without asking. The event
 *   loop, which is edge-triggered, calls wire_ready when there is more.
 *
 * One thread. A step of one connection ends with wire_flush before a step of
 * another begins.
 */
#ifndef CWIRE_H
#define CWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

/* What libssl reads into at once: four full records. */
enum { WIRE_READ_BUFFER = 66 << 10 };

typedef struct wire {
    int fd;
    bool drained;              /* the last recv emptied the socket */
    bool ended;                /* the peer sent FIN or RST: a short recv proves nothing now */
    bool eof;                  /* recv returned 0 */
    bool broken;               /* a send or recv failed for good */
    unsigned char *left;       /* what a send did not take; NULL: nothing */
    size_t left_at, left_len;
} wire;

/* A BIO for w, which is borrowed: it must outlive the BIO. NULL: no memory. */
BIO *wire_bio(wire *w);

/* Starts w over for a new socket. Frees what an earlier one left unsent. */
void wire_open(wire *w, int fd);

/* Notes what epoll said of the socket. */
void wire_ready(wire *w, uint32_t events);

/* Sends what was gathered: 1 all is sent, 0 the socket is full (call again when
 * it is writable), -1 the connection is broken. */
int wire_flush(wire *w);

/* Takes up to n bytes off the socket and looks at none: how many, 0 at the end,
 * or -1, with w->broken unless there is none now. */
ssize_t wire_skip(wire *w, size_t n);

/* Whether bytes are gathered. They are, unless this says no: then each write of
 * libssl is a send. */
void wire_gather(bool on);

/* Whether getpid answers from memory. It does, unless this says no. */
void wire_remember_pid(bool on);

/* Raises the soft limit of open files to want, and the hard one if allowed.
 * Returns the limit now in force. */
size_t wire_files(size_t want);

#endif
