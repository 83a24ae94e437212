/*
 * A C program in a box: a TLS server on an SSL_CTX of its own, with its own
 * threads, its own handshakes and its own session callbacks over its own store.
 * It uses libssl's public API alone and knows nothing of the binding, which is
 * what it is there to be attached to.
 *
 * A server is configured, started, stopped and freed by one caller. Its
 * threads and the callbacks may run at any time in between.
 */
#ifndef CHOST_H
#define CHOST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* ---- options ------------------------------------------------------------- */

/* Callbacks of the C program, as bits. */
enum { CH_NEW = 1, CH_GET = 2, CH_REMOVE = 4 };

/* What the store keeps. Blank: nothing, and it answers with SSL_SESSION_new. */
enum { CH_KEEP_REFERENCES, CH_KEEP_DER, CH_KEEP_BLANK };

/* What get_session_cb writes to *copy. */
enum { CH_COPY_0, CH_COPY_1, CH_COPY_UNWRITTEN };

/* Which SSL a connection is served with. */
enum {
    CH_PLAIN,
    CH_SWITCH_SNI,             /* SSL_set_SSL_CTX in the servername callback */
    CH_DUP,                    /* SSL_dup of one that was not used yet */
    CH_SWITCH_DUP              /* SSL_set_SSL_CTX, and SSL_dup of that one */
};

/* A fault that is done once, to see that the tests notice. */
enum {
    CH_NO_FAULT,
    CH_STORE_LEAKS,            /* get_session_cb makes a reference too many */
    CH_STORE_DOUBLE_FREES,     /* ... or gives one away that the store still counts on */
    CH_CONNECTION_LEAKS,       /* a connection never frees a reference that it made */
    CH_CONNECTION_DOUBLE_FREES /* ... or frees one twice */
};

typedef struct ch_options {
    const char *chain_file;
    const char *key_file;
    int version;               /* TLS1_2_VERSION, TLS1_3_VERSION, 0: both */
    int stateless;             /* without SSL_OP_NO_TICKET */
    int num_tickets;           /* -1: libssl's */
    long cache_mode;
    long cache_size;           /* 0: libssl's */
    long timeout;              /* seconds; 0: libssl's */
    int ignore_eof;            /* SSL_OP_IGNORE_UNEXPECTED_EOF */
    unsigned char sid_ctx[SSL_MAX_SID_CTX_LENGTH];
    unsigned int sid_ctx_len;
    int callbacks;             /* bits */
    int keep;
    int copy;
    int birth;
    int threads;               /* of the pool; 0: a thread for each connection */
    int fault;
} ch_options;

/* Once, before the first SSL_CTX: 1, or 0 when libssl has no index for us. */
int ch_start(void);

/* ---- servers (server.c) ---------------------------------------------------- */

typedef struct ch_counts {
    uint64_t new_calls, get_calls, remove_calls;
    uint64_t accepted, failed, resumed, ended;
    uint64_t dirty;            /* steps that succeeded and left an error in the queue */
    int64_t stored;
} ch_counts;

typedef struct ch_server ch_server;

/* Returns new, or NULL with a message in why. Borrows o; second may be NULL. */
ch_server *ch_server_new(const ch_options *o, ch_server *second, char *why, size_t cap);
/* Listens on the loopback interface and starts the threads: the port, or 0 with a message. */
int ch_server_start(ch_server *s, char *why, size_t cap);
/* Ends all connections and waits for the threads. */
void ch_server_stop(ch_server *s);
/*
 * Takes s: stops it and drops the reference on the SSL_CTX. The callbacks and
 * the store stay until the SSL_CTX is gone, whoever else holds it.
 */
void ch_server_free(ch_server *s);
/* Borrowed: the server keeps its reference. */
SSL_CTX *ch_server_ctx(const ch_server *s);
void ch_server_counts(ch_server *s, ch_counts *c);
/* The failure of a connection that failed last, "" if none did. */
void ch_server_last_error(ch_server *s, char *out, size_t cap);

/* Calls that a C program makes on its SSL_CTX. They borrow what they are given. */
void ch_server_flush(ch_server *s, long when);
/* Puts n made-up sessions into the internal cache; how many were added. */
int ch_server_crowd(ch_server *s, int n);
long ch_server_cached(const ch_server *s);

/* What SSL_CTX_sess_get_new_cb and its kin say of an SSL_CTX now. */
typedef struct ch_pointers { uintptr_t new_cb, get_cb, remove_cb; } ch_pointers;
void ch_ctx_pointers(SSL_CTX *ctx, ch_pointers *p);
/* The functions of this box. */
void ch_own_pointers(ch_pointers *p);
/* Sets those of the bits on an SSL_CTX of somebody else; they count on s from then on. */
int ch_ctx_set_callbacks(SSL_CTX *ctx, ch_server *s, int bits);

/* ---- connections (connection.c) --------------------------------------------- */

/* Serves one connection, and closes fd. */
void ch_serve(ch_server *s, int fd);

/* ---- store (store.c) ----------------------------------------------------------- */

typedef struct ch_store ch_store;

/* Returns new, or NULL when out of memory. */
ch_store *ch_store_new(int keep, int copy, int fault);
void ch_store_free(ch_store *t);
int64_t ch_store_count(ch_store *t);
/* The bodies of the three callbacks, with their rules of references. */
int ch_store_new_session(ch_store *t, SSL_SESSION *s);
SSL_SESSION *ch_store_get_session(ch_store *t, const unsigned char *id, int len, int *copy);
void ch_store_remove_session(ch_store *t, SSL_SESSION *s);

/* ---- ledger (ledger.c) ----------------------------------------------------------- */

/*
 * The references that this box owns. libssl must not destroy a session that
 * stands here: if it does, somebody freed a reference that was not theirs. The
 * ledger notes that, and the owner's own reference is void then.
 */
int ch_ledger_start(void);
void ch_ledger_hold(SSL_SESSION *s);
/* Frees the reference, unless the session was destroyed under its owner. */
void ch_ledger_free(SSL_SESSION *s);
/* Whether the session was not destroyed under its owner. */
int ch_ledger_alive(SSL_SESSION *s);
/* Makes another reference if the session is alive: 1, or 0. */
int ch_ledger_up_ref(SSL_SESSION *s);
/* How many sessions were destroyed while held. */
uint64_t ch_ledger_violations(void);

/* ---- watch (watch.c) -------------------------------------------------------------- */

int ch_watch_start(void);
/* The SSL_CTX that this thread made last, borrowed; NULL if none. */
SSL_CTX *ch_last_ctx(void);
/* The calling thread's error queue. */
void ch_push_error(void);
int ch_error_is_mine(void);
void ch_clear_errors(void);

/* ---- the internals of a server, for the files of this box ---------------------------- */

typedef struct ch_connection {
    struct ch_connection *next;
    ch_server *server;
    int fd;
} ch_connection;

struct ch_server {
    atomic_int refs;           /* the owner's, and one for each SSL_CTX that names it */
    ch_options options;
    SSL_CTX *ctx;              /* owned */
    SSL_CTX *second;           /* owned reference, or NULL */
    ch_store *store;           /* owned */
    int listener;              /* or -1 */
    pthread_t *pool;
    int pool_len;
    pthread_mutex_t lock;
    pthread_cond_t idle;       /* told when a connection ends */
    ch_connection *connections;  /* those alive */
    int loose;                 /* threads that are not of the pool */
    int stopping;
    atomic_int fault;          /* of the connections, until it was done once */
    char last_error[256];
    atomic_ulong new_calls, get_calls, remove_calls;
    atomic_ulong accepted, failed, resumed, ended, dirty;
};

/* Notes the failure of a connection, with the oldest entry of the error queue. */
void ch_failed(ch_server *s, const char *what);

#endif
