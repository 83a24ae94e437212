/*
 * A park is a server whose ClientHello callback writes down the ids that the
 * client asks for and suspends the handshake until each of them is answered.
 * The answers come from a store between two calls of SSL_do_handshake, and
 * get_session_cb serves them. One thread at a time drives a park.
 */
#ifndef CONTRACT_PARK_H
#define CONTRACT_PARK_H

#include "harness.h"

#define MAX_KEYS 8
#define MAX_ASKED 8

/* In which shape a lookup keeps an answer, and so how get_cb serves it. */
typedef enum {
    KEEP_BYTES,  /* decoded again for each call */
    GIVE_OBJECT, /* one object, handed over by the first call */
    SHARE_OBJECT /* one object, one more reference a call */
} answer_form;

typedef struct park park;

/* An id that a client asks for. */
typedef struct wanted {
    session_id id;
    int answered;
    der bytes;           /* KEEP_BYTES, empty for a miss */
    SSL_SESSION *object; /* the other forms, NULL for a miss */
} wanted;

/* What one connection waits for. It lives in the SSL's ex_data. */
typedef struct lookup {
    park *park;
    wanted keys[MAX_KEYS];
    int count;
} lookup;

struct park {
    recorder rec;
    store *store;
    SSL_CTX *ctx;
    answer_form form;
    int take; /* an answer is deleted from the store */
    int max_keys;

    /* Of all connections since park_clear. */
    int hello_calls;
    int suspensions;
    int store_reads;
    int asked_count; /* get_cb: ids in the order of the calls */
    session_id asked[MAX_ASKED];
    long get_thread;

    int lookups_alive;
};

/* Starts a park on a server without internal cache. Takes ctx. */
void park_start(park *p, report *r, SSL_CTX *ctx);

/* Frees ctx and the store. No connection may be alive. */
void park_stop(park *p);

/* Sets the counts to zero. */
void park_clear(park *p);

/*
 * A connection that offers a duplicate of the session, or nothing when it is
 * NULL. Its handshake answers the lookup; the counts begin anew.
 */
connection parked_connection(park *p, SSL_CTX *client, SSL_SESSION *session);

/* What this server waits for; NULL before its ClientHello. */
lookup *lookup_of(SSL *ssl);

/*
 * Answers what is open: what happens between two calls into the library, the
 * slow part. Has the type of connection.resume_hello, arg is the park.
 */
int answer_lookup(SSL *ssl, void *arg);

/* Both ends say so. */
int resumed(const connection *c);

/* A big-endian number of the wire. */
size_t two_bytes(const unsigned char *p);

#endif
