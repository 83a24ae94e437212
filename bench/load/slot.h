/*
 * A slot as slot.c, which connects it, and work.c, which works on it, see it.
 */
#ifndef SLOT_H
#define SLOT_H

#include "load.h"
#include "wire.h"

typedef enum { SHUT, HANDSHAKE, TICKET, BYE, ECHO_WRITE, ECHO_READ, DOWN_START, DOWN_READ, DOWN_SKIP, UP_WRITE, IDLING } phase;

typedef struct slot {
    wire wire;
    SSL *ssl;
    SSL_SESSION *session;      /* the newest; owned. NULL: none yet */
    phase phase;
    bool reused, fresh, warm, again, wants_out;
    size_t got;                /* of the echo that is being read, or of down so far */
    int64_t began;
    struct slot *next;         /* in the list of those that had their turn */
} slot;

typedef enum { WAIT, TURN_OVER, DONE, FAILED } outcome;

typedef struct slots {
    SSL_CTX *ctx;
    const options *o;
    int epoll;
    bool stopping;
    slot *all, *again;
    size_t warm, open;
    unsigned char *message;    /* what echo sends */
} slots;

extern slots load;

/* Goes on with the connection of t. */
outcome step(slot *t);

/* Asks for the end of the connection. */
outcome say_bye(slot *t);

/* The op of t failed. The first error of all is told. */
void failed(slot *t, const char *what);

#endif
