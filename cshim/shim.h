/*
 * The C side of the binding. What stands here exists because cgo cannot call
 * it (macros, callbacks) or because several calls must be one crossing.
 *
 * Ownership, one word for each pointer: "takes" (the callee owns it after the
 * call), "borrows" (only for the call), "returns new" (the caller owns it).
 * A uintptr_t named handle is a runtime/cgo.Handle; nothing else of Go is kept.
 */
#ifndef SESSIONCB_SHIM_H
#define SESSIONCB_SHIM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* ---- errors (errors.c) -------------------------------------------------- */

enum { SC_MAX_ERRORS = 4, SC_ERROR_DATA = 160 };

typedef struct sc_error {
    unsigned long code;
    int line;
    const char *file;          /* static strings of the library */
    const char *library;
    const char *reason;
    char data[SC_ERROR_DATA];
} sc_error;

/* What the failing crossing found in its thread's error queue, oldest first. */
typedef struct sc_errors {
    int count;
    int sys;                   /* errno, or 0 */
    sc_error e[SC_MAX_ERRORS];
} sc_errors;

void sc_errors_take(sc_errors *e);
void sc_errors_clear(void);

/* ---- sessions (session.c) ----------------------------------------------- */

/* Why a session was removed; the order is that of sessioncb.Reason. */
enum {
    SC_UNKNOWN, SC_EXPLICIT, SC_EXPIRED, SC_EVICTED, SC_FLUSHED, SC_CONTEXT_FREED,
    SC_FAULTY, SC_UNCLEAN_CLOSE, SC_SINGLE_USE, SC_USED
};

/*
 * One reference on an SSL_SESSION, with what Go reads of it without a
 * crossing, and its place in a list of events.
 */
typedef struct sc_session {
    SSL_SESSION *session;      /* owned */
    struct sc_session *next;
    int64_t time;
    int64_t timeout;
    int version;
    int reason;                /* of a removal */
    unsigned char handshake_done;
    unsigned char id_len;
    unsigned char context_len;
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
    unsigned char context[SSL_MAX_SID_CTX_LENGTH];
    char fault[96];            /* of a removal as faulty: the error, or "" */
} sc_session;

/* Takes one reference on s; NULL when out of memory (the reference is freed). */
sc_session *sc_session_box(SSL_SESSION *s);
/* Takes b; NULL is allowed. */
void sc_session_free(sc_session *b);
/* Takes each of a list linked by next. */
void sc_session_free_list(sc_session *b);
/* Borrows der; returns new, or NULL with e filled. */
sc_session *sc_session_parse(const unsigned char *der, size_t len, sc_errors *e);
/* Borrows b; writes the encoding if cap suffices; returns its length, 0 if it has none. */
int sc_session_encode(sc_session *b, unsigned char *out, int cap);
/* Borrows b; returns new: another reference, or a copy with the references of its own. */
sc_session *sc_session_retain(sc_session *b);
sc_session *sc_session_dup(sc_session *b);
/* Replaces the box's reference by a private copy; 0 when out of memory. */
int sc_session_unshare(sc_session *b);
void sc_session_set_time(sc_session *b, int64_t t);
void sc_session_set_timeout(sc_session *b, int64_t t);
int sc_session_set_id_context(sc_session *b, const unsigned char *id, unsigned int len);
int sc_session_set_id(sc_session *b, const unsigned char *id, unsigned int len);
int sc_session_set_appdata(sc_session *b, const unsigned char *data, size_t len);
/* Borrows; returns new bytes of OPENSSL_malloc in *der; their length, or 0. */
int sc_session_peer_der(sc_session *b, unsigned char **der);
void sc_free(void *p);         /* takes memory of OPENSSL_malloc */
int64_t sc_session_time(const SSL_SESSION *s);
int64_t sc_clock(void);        /* now, by the clock that libssl compares times of sessions with */
int sc_counts_fractions(void); /* 1: to this libssl a session is over as the last second begins */

/* ---- contexts (context.c, callbacks.c) ----------------------------------- */

typedef int (*sc_new_cb)(SSL *, SSL_SESSION *);
typedef SSL_SESSION *(*sc_get_cb)(SSL *, const unsigned char *, int, int *);
typedef void (*sc_remove_cb)(SSL_CTX *, SSL_SESSION *);

/* Which callbacks, as bits. */
enum { SC_NEW = 1, SC_GET = 2, SC_REMOVE = 4 };

/* What the get callback did with answers it could not use; index of refused. */
enum {
    SC_MALFORMED = 1, SC_WRONG_ID, SC_WRONG_CONTEXT, SC_WRONG_VERSION, SC_PAST,
    SC_NOT_RESUMABLE, SC_NO_CIPHER, SC_CIPHER_NOT_OFFERED, SC_EMS_MISSING, SC_NO_PEER, SC_VERDICTS
};

enum { SC_MOST_EARLY_DATA = 1 << 20 };  /* bytes that a server may be told to keep */

/*
 * The Go side of an SSL_CTX. It is found in the SSL_CTX's ex_data, and counted:
 * one reference for the ex_data, one for the Go object. The last one deletes
 * the handle.
 */
typedef struct sc_context {
    atomic_int refs;
    uintptr_t handle;
    SSL_CTX *ctx;              /* owned until sc_context_close or sc_detach */
    _Atomic(sc_session *) removed;  /* newest first; Go takes the list whole */
    atomic_int dead;           /* the SSL_CTX is gone: no event will follow */
    atomic_int detached;       /* an attachment was closed: pass to the earlier callbacks */
    int attached;              /* C code drives the SSLs */
    int slot;                  /* of its trampolines */
    int parks;                 /* lookups are made outside OpenSSL's stack */
    int callbacks;             /* bits: ours are registered */
    int chain;                 /* call the earlier callbacks too */
    sc_new_cb prior_new;
    sc_get_cb prior_get;
    sc_remove_cb prior_remove;
    unsigned char sid_ctx[SSL_MAX_SID_CTX_LENGTH];
    unsigned int sid_ctx_len;
    unsigned char *alpn;       /* owned; wire format, in order of preference */
    unsigned int alpn_len;
    char *groups;              /* owned; NULL: the default */
    int64_t max_age;           /* seconds from a full handshake to the end of all its resumptions; 0: no bound */
    int asks_host;             /* Go chooses the context for each ClientHello */
    uint32_t early_max;        /* bytes of early data that a server keeps; 0: none */
    _Atomic uint64_t refused[SC_VERDICTS];
    atomic_ulong lost;         /* events dropped for want of memory */
} sc_context;

/* Takes handle and returns new (with a reference for the caller), or NULL with e filled. */
sc_context *sc_context_new(uintptr_t handle, sc_errors *e);
/*
 * Drops our reference on the SSL_CTX. Like every call that may remove
 * sessions it returns bits SC_EVENT_*.
 */
unsigned sc_context_close(sc_context *c);
void sc_context_unref(sc_context *c);
enum { SC_EVENT_REMOVED = 1, SC_EVENT_DEAD = 2 };

/* Setters: 1, or 0 with e filled. They borrow all they are given. */
int sc_context_chain(sc_context *c, const unsigned char *pem, size_t len, sc_errors *e);
int sc_context_key(sc_context *c, const unsigned char *pem, size_t len,
                   const unsigned char *pass, size_t pass_len, sc_errors *e);
int sc_context_trust_pem(sc_context *c, const unsigned char *pem, size_t len, int name_to_clients, sc_errors *e);
enum { SC_DIGEST = 32 };
/* Borrows pem; fills out with SHA-256 digests of its certificates. */
int sc_cert_digests(const unsigned char *pem, size_t len, unsigned char *out, int most);
int sc_context_trust_dir(sc_context *c, const char *dir, sc_errors *e);
int sc_context_trust_system(sc_context *c, sc_errors *e);
int sc_context_versions(sc_context *c, int min, int max, sc_errors *e);
int sc_context_ciphers(sc_context *c, const char *list, const char *suites,
                       const char *groups, sc_errors *e);
int sc_context_sid_ctx(sc_context *c, const unsigned char *id, unsigned int len, sc_errors *e);
int sc_context_alpn(sc_context *c, const unsigned char *protos, unsigned int len, sc_errors *e);
void sc_context_cache(sc_context *c, long mode, long size, long timeout,
                      int no_ticket, int num_tickets);
void sc_context_verify(sc_context *c, int mode, int depth);
void sc_context_early_data(sc_context *c, uint32_t max);
/* How long resumptions may go on after a full handshake, in seconds; 0 is no bound. */
void sc_context_max_age(sc_context *c, int64_t seconds);
/* The handshake waits for sc_conn_adopt or sc_conn_stay after each first ClientHello. */
void sc_context_ask_host(sc_context *c);
/* Registers the callbacks of the bits, and takes back ours of the others. */
void sc_context_callbacks(sc_context *c, int bits);

typedef struct sc_stats {
    int64_t number, connect, connect_good, connect_renegotiate, accept, accept_good,
        accept_renegotiate, hits, cb_hits, misses, timeouts, cache_full;
} sc_stats;
void sc_context_stats(sc_context *c, sc_stats *s);
int64_t sc_context_number(sc_context *c, int what, int64_t value);
enum { SC_GET_SIZE, SC_SET_SIZE, SC_GET_TIMEOUT, SC_SET_TIMEOUT };

/* Cache operations. They borrow the session and set *events to SC_EVENT bits. */
int sc_context_add(sc_context *c, sc_session *b, unsigned *events);
int sc_context_remove(sc_context *c, sc_session *b, unsigned *events);
void sc_context_flush(sc_context *c, int64_t when, unsigned *events);

/* ---- attachments (attach.c) ----------------------------------------------- */

enum { SC_SLOTS = 64 };        /* attached contexts alive at once */

enum { SC_REFUSE, SC_CHAIN, SC_REPLACE };
enum {
    SC_ATTACH_TAKEN = -1, SC_ATTACH_OURS = -2, SC_ATTACH_FAILED = -3, SC_ATTACH_FULL = -4,
    SC_ATTACH_COPIED = -5
};

/*
 * Borrows ctx and makes a reference of its own on it. Returns new in *out and 1,
 * or a negative code; which has the bits of the callbacks in the way. Nothing is
 * called before sc_attach_start, which takes handle.
 */
int sc_attach(SSL_CTX *ctx, int bits, int mode, sc_context **out, int *which);
void sc_attach_start(sc_context *c, uintptr_t handle);
/* Whether f is one of the callbacks of this shim. */
int sc_is_trampoline(uintptr_t f);
/* Gives the trampolines of an attached context back. */
void sc_slot_free(sc_context *c);
/* Detaches; with restore the earlier pointers are set again. */
unsigned sc_detach(sc_context *c, int restore);
/* Call an earlier C callback, with its own rule of references. Borrow all. */
int sc_prior_new(sc_context *c, SSL *ssl, sc_session *b);
sc_session *sc_prior_get(sc_context *c, SSL *ssl, const unsigned char *id, int len);
void sc_prior_remove(sc_context *c, sc_session *b);

/* An SSL that C code drives, as a handler may look at it. */
int sc_foreign_server_name(SSL *ssl, char *out, int cap);

/* ---- connections (conn.c, bio.c, hello.c) ---------------------------------- */

/* How a step ended. */
enum {
    SC_DONE, SC_WANT_READ, SC_WANT_WRITE, SC_WANT_LOOKUP,
    SC_WANT_POOL,              /* the ClientHello was read, and the step was told to stop there */
    SC_CLOSED,                 /* the peer's close_notify */
    SC_TRUNCATED,              /* the transport ended without one */
    SC_FAILED,
    SC_LATE,                   /* the time for the handshake is over */
    SC_EARLY                   /* early data was accepted, or read; see early.c */
};

enum { SC_MAX_LOOKUPS = 8 };   /* identities looked up for one ClientHello; HelloRetryRequest brings a second one */

typedef struct sc_lookup {
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
    unsigned char id_len;
    unsigned char answered;
    unsigned char *der;        /* owned, cleansed when freed; NULL: a miss, or live */
    size_t der_len;
    sc_session *live;          /* owned, and nobody else's; duplicated for each use */
    SSL_SESSION *decoded;      /* owned: der as it was judged, for the first use */
} sc_lookup;

/* Conditions are of this type: there is a connection for each client. */
typedef unsigned char sc_flag;

/* The early data of a connection. */
typedef struct sc_early {
    sc_flag offered;           /* the ClientHello has the extension */
    sc_flag allowed;           /* set by Go with the answers to the lookups */
    sc_flag accepted;
    sc_flag ended;             /* server: SSL_read_early_data said so */
    uint32_t cap, len, pos;
    unsigned char *data;       /* owned; read and not taken yet: data[pos..len] */
} sc_early;

typedef struct sc_result {
    int status;
    int ssl_error;             /* SSL_get_error, when the status is SC_FAILED */
    int sys;                   /* errno of the transport, or 0 */
    int write_sys;             /* errno of a failed flush, or 0 */
    unsigned events;           /* SC_EVENT_* */
    size_t n;                  /* application bytes read or written */
    size_t in;                 /* borrowed input consumed; of a descriptor, 1: it was left empty */
    size_t out;                /* borrowed output filled */
    size_t pending;            /* encrypted bytes that have not left yet */
    long verify;               /* X509_V_*, when the status is SC_FAILED */
} sc_result;

struct sc_conn;

enum { SC_ALL, SC_QUICK_RESUMPTION, SC_NOTHING };

/* A handshake step in the hands of the pool. */
typedef struct sc_step {
    struct sc_conn *next;      /* in its queue, or of those done */
    int fd, until;
    uint32_t tag;              /* Go's */
    sc_flag in_place;          /* what of what comes after the ClientHello, SC_ALL and so on; the rest is for the pool */
    sc_flag heavy;             /* it stands at the ClientHello, as the rest is not made here */
} sc_step;

struct post;

/* What the epoll of a thread of ours points at; each begins with its kind. */
enum { SC_SOURCE_KICK, SC_SOURCE_POST, SC_SOURCE_CONN };

enum { SC_PEER = 28 };         /* bytes of a struct sockaddr_in6 */

/* A connection of a listener of ours, in its handshake. */
typedef struct sc_door {
    int kind;
    int fd;                    /* owned, until Go has it */
    struct sc_conn *conn;
    struct post *post;         /* NULL when it was given */
    struct sc_conn *prev, *next;
    int64_t ends;              /* the time for the handshake, of sc_now */
    unsigned events;           /* SC_EVENT_* of its steps */
    int ended;                 /* the peer's end came, or an error */
    unsigned char peer[SC_PEER];
} sc_door;

/* The transport during a step: a descriptor, or borrowed memory. */
typedef struct sc_io {
    int fd;                    /* or -1 */
    const unsigned char *in;
    size_t in_len, in_pos;
    unsigned char *out;
    size_t out_cap, out_len;
} sc_io;

typedef struct sc_conn {
    SSL *ssl;                  /* owned */
    sc_step step;
    sc_door *door;             /* owned, until the first step that Go makes */
    sc_context *birth;         /* borrowed: the SSL holds its SSL_CTX, which holds it */
    sc_context *host;          /* borrowed in the same way: in force, birth or chosen by the ClientHello */
    unsigned char *hello_text; /* owned; what the choice looks at, until it is made */
    size_t hello_text_len;
    unsigned char *ids;        /* owned; for the next sessions */
    size_t ids_len;
    int64_t origin;            /* when the full handshake was that the offered session goes back to, or 0 */
    sc_io *io;                 /* borrowed, during a step; or NULL */
    int ahead_sys;             /* errno of a receive that looked ahead, not reported yet */
    int sys;                   /* errno of a failed transport call in this step */
    unsigned char *rest;       /* owned; what looking ahead received and libssl did not take, or NULL */
    size_t rest_len;
    /* Encrypted bytes that OpenSSL wrote and the transport did not take yet. */
    unsigned char *kept;
    size_t kept_cap, kept_len, kept_pos;
    sc_flag hello_seen;
    signed char host_chosen;   /* negative: refused */
    sc_flag eof;               /* the transport's input ended */
    sc_flag quiet;             /* a step's: the descriptor has nothing, so it is not asked */
    sc_flag drained;           /* the last receive took all that the descriptor had */
    sc_flag polled;            /* Go knows when the descriptor has something */
    sc_flag idle;              /* polled, and the last SSL_read left nothing in the SSL */
    sc_flag hold;              /* a session was announced: keep all until released */
    sc_flag gather;            /* inside a handshake: a flight is one write */
    sc_flag done;              /* the handshake finished */
    sc_flag resumes;           /* what the steps so far made is a resumption */
    sc_flag fatal;             /* a fatal alert was sent or received */
    int version;               /* of the protocol, once decided, or 0 */
    int slow_pulses;           /* of the last step */
    char *server_name;         /* owned; of the ClientHello */
    sc_lookup *lookup;         /* owned, until the handshake ends: lookup[0..lookups] */
    int lookups;
    sc_early early;
    sc_session *announced;     /* owned, oldest first, until Go takes them */
    sc_session **announced_end;
    sc_session *dropped;       /* owned; freed by the next step */
    sc_errors *errors;         /* owned; of the last failure */
    sc_result result;
} sc_conn;

/*
 * Returns new, or NULL when out of memory. Borrows c, which must not be closed.
 * Without an ssl it failed, for what its errors say, and is to be discarded.
 */
sc_conn *sc_conn_new(sc_context *c, int server);
/* Takes what failed; NULL is allowed. */
void sc_conn_discard(sc_conn *c);
/*
 * A client's name for SNI and for the check of the certificate (host or ip may be
 * NULL), the session to offer (borrowed and duplicated), ALPN.
 */
int sc_conn_client(sc_conn *c, const char *sni, const char *host, const char *ip,
                   int verify, sc_session *offer, sc_errors *e);

/*
 * Makes the SSL one of host (borrowed, not closed; the SSL holds its SSL_CTX): all
 * that a configuration can say is that of host from now on, but for the
 * callbacks and the session cache. For a handshake that waits for the choice.
 * 1, or 0 with e filled: the handshake must not go on then.
 */
int sc_conn_adopt(sc_conn *c, sc_context *host, sc_errors *e);
/* Adds n ids of 32 bytes, borrowed, for new sessions; 0 when out of memory. */
int sc_conn_ids(sc_conn *c, const unsigned char *ids, size_t n);
/*
 * Whether libssl would be given this answer for the id: 0, or a verdict. Borrows all;
 * live is NULL or takes the place of der.
 */
int sc_conn_judge(sc_conn *c, const unsigned char *id, int id_len,
                  const unsigned char *der, size_t len, sc_session *live);

/*
 * Steps: each is one crossing. fd is the descriptor, or -1 for memory: in is
 * borrowed for the call, as is out. eof says that no input will follow. The
 * outcome is in c->result. answers are borrowed; a session in them is taken.
 * until and early, which is borrowed, are those of sc_early_handshake.
 */
void sc_conn_handshake(sc_conn *c, int fd, const unsigned char *in, size_t in_len, int eof,
                       unsigned char *out, size_t out_cap, const unsigned char *answers, size_t answers_len,
                       int until, unsigned char *early, size_t early_len);
void sc_conn_read(sc_conn *c, int fd, const unsigned char *in, size_t in_len, int eof,
                  unsigned char *buf, size_t len);
/* Handles what is not application data (SSL_peek_ex); done when some is there. */
void sc_conn_peek(sc_conn *c, int fd, const unsigned char *in, size_t in_len, int eof);
/* Writes until all is written, the transport is full, or others are to have their
 * turn: then less than len is done. */
void sc_conn_write(sc_conn *c, int fd, unsigned char *out, size_t out_cap,
                   const unsigned char *buf, size_t len);
/* Sends what is kept; release ends a hold first. */
void sc_conn_flush(sc_conn *c, int fd, unsigned char *out, size_t out_cap, int release);
/*
 * Sends what is queued, and our close_notify if the state allows one. A ticket
 * that was queued is announced; then all is kept, for a flush with release.
 */
void sc_conn_shutdown(sc_conn *c, int fd, unsigned char *out, size_t out_cap);
/*
 * Takes c. Unless a fatal alert was seen, mark sets SSL_SENT_SHUTDOWN so that
 * the session stays resumable. Returns SC_EVENT bits of the birth context.
 */
unsigned sc_conn_free(sc_conn *c, int mark);
/* SSL_new_session_ticket, SSL_key_update: queued, sent by the next write. */
int sc_conn_new_ticket(sc_conn *c);
int sc_conn_key_update(sc_conn *c, int request);

typedef struct sc_state {
    int version, resumed, cipher;
    const unsigned char *alpn; /* borrowed from the SSL */
    unsigned int alpn_len;
    const char *server_name;   /* borrowed from the SSL */
    unsigned char *certs;      /* new: each 4 bytes of length, then DER; peer chain, leaf first */
    size_t certs_len;
    unsigned char *verified;   /* new: the verified chain in the same form */
    size_t verified_len;
    unsigned char *ocsp;       /* borrowed from the SSL */
    long ocsp_len;
    long verify;
} sc_state;
void sc_conn_state(sc_conn *c, sc_state *s);
void sc_state_free(sc_state *s);
int sc_conn_export(sc_conn *c, unsigned char *out, size_t out_len, const char *label, size_t label_len,
                   const unsigned char *context, size_t context_len, int use_context);
/* Returns new, or NULL if there is none. */
sc_session *sc_conn_session(sc_conn *c);

/* bio.c */
/* Borrows c for its life; returns new, or NULL. */
BIO *sc_bio_new(sc_conn *c);
void sc_bio_push(sc_conn *c);

/* Records a failure of the call that SSL_get_error described so. */
void sc_conn_failed(sc_conn *c, int ssl_error);

/* early.c */
/* Makes servers of c accept up to max bytes of early data, 1 to 16 MiB. */
void sc_early_enable(sc_context *c, uint32_t max);
int sc_early_allow(SSL *ssl, void *arg);
/* How far a handshake goes. */
enum {
    SC_UNTIL_DONE,             /* early data is kept for sc_conn_read */
    SC_UNTIL_EARLY,            /* until early data was accepted, else to the end */
    SC_UNTIL_DATA              /* until some was read; none: it is at its end */
};
enum { SC_EARLY_HERE = 2 };
/*
 * SSL_do_handshake, after SSL_read_early_data on a server that accepts early
 * data. Returns what SSL_do_handshake returns, or SC_EARLY_HERE. Borrows buf,
 * which SC_UNTIL_DATA fills.
 */
int sc_early_handshake(sc_conn *c, int until, unsigned char *buf, size_t len);
/* Borrows buf and fills it with what is kept; how much. */
size_t sc_early_take(sc_conn *c, unsigned char *buf, size_t len);
/* The same as a step, with no transport; n of the result is 0 at the end. */
void sc_early_rest(sc_conn *c, unsigned char *buf, size_t len);
void sc_early_free(sc_conn *c);
/* Whether a server waits for early data and nothing else. */
int sc_early_open(sc_conn *c);
/* Why a client cannot send early data. */
enum {
    SC_EARLY_BEGUN = 1, SC_EARLY_NO_SESSION, SC_EARLY_NOT_PROMISED, SC_EARLY_WRONG_VERSION,
    SC_EARLY_PAST, SC_EARLY_OTHER_NAME, SC_EARLY_OTHER_ALPN
};
/*
 * Begins a client's handshake with a first record of early data, n of the
 * result, which the next step that writes sends. Borrows buf. Returns 0, or why
 * not, and then nothing was begun; nor is it when len is over *max, which is set.
 */
int sc_early_start(sc_conn *c, const unsigned char *buf, size_t len, uint32_t *max);

/* thread.c */
int64_t sc_now(void);          /* CLOCK_MONOTONIC, in ns */
/* Starts a thread that never ends, and gets no signals; 0 when it cannot. */
int sc_thread_start(void *(*f)(void *), void *arg);
/* Called by such a thread first: it takes no processor from a thread of Go that it wakes. */
void sc_thread_begin(void);
extern _Thread_local int sc_thread_is_ours;

/* pulse.c */
/* Handshakes with ctx show Go's scheduler that they go on. */
void sc_pulse(SSL_CTX *ctx);
extern _Atomic uint64_t sc_pulses;  /* signs that there were */

/* listen.c */
enum { SC_MOST_UNTAKEN = 1024, SC_FEW_UNTAKEN = SC_MOST_UNTAKEN / 2 };

typedef struct sc_listener {
    int fd;                    /* owned, until the last thread has left */
    int event;                 /* eventfd, Go's: something was given, or a fault, or the last thread left */
    sc_context *context;       /* borrowed: ctx holds it */
    SSL_CTX *ctx;              /* a reference of its own */
    int64_t timeout;           /* for a handshake, in ns; 0: none */
    _Atomic(sc_conn *) given;  /* newest first; Go takes the list whole, and all that is in it */
    atomic_int told;           /* event was written, and Go has not looked */
    atomic_int untaken;        /* given, and not accepted by the program */
    atomic_int paused;         /* no more are accepted until somebody kicks */
    atomic_int fault;          /* errno of accept, or 0 */
    atomic_int closing;
    atomic_int threads;        /* that have not left */
} sc_listener;

/*
 * Accepts on fd, which it takes if it returns new; NULL: no memory, or no thread.
 * Borrows c, which is not closed and asks Go for nothing in a handshake, and event.
 */
sc_listener *sc_listen(sc_context *c, int fd, int event, int threads, int64_t timeout);
/* Threads look at what Go changed. */
void sc_listener_kick(sc_listener *l);
/* The threads give all they have and leave, one by one. */
void sc_listener_close(sc_listener *l);
/* Takes l, which all threads have left. Returns SC_EVENT bits. */
unsigned sc_listener_free(sc_listener *l);
/* As sc_conn_new, for a server. */
sc_conn *sc_conn_accepted(sc_context *c, SSL_CTX *ctx);

/* pool.c: handshake steps on a descriptor, on threads of our own. */
/* Starts the threads, once; event, an eventfd, is kept, and tells of steps done. 0: no thread. */
int sc_pool_start(int threads, int event);
/*
 * Borrows c until it is among those done; no other call may touch it meanwhile.
 * Borrows answers for the call, and takes the sessions in them.
 */
void sc_pool_submit(sc_conn *c, int fd, int until, uint32_t tag, const unsigned char *answers, size_t len);
extern _Atomic(sc_conn *) sc_pool_done;  /* newest first; Go takes the list whole */
extern atomic_int sc_pool_told;  /* the eventfd was written, and Go has not looked */

/* bio.c */
/* Whether SSL_read has a reason to look: 0 when it would find nothing. */
int sc_bio_look_ahead(sc_conn *c);
void sc_bio_keep_ahead(sc_conn *c);

/* hello.c */
int sc_hello_cb(SSL *ssl, int *alert, void *arg);
/* Borrows answers, and takes the sessions in them. */
void sc_hello_answer(sc_conn *c, const unsigned char *answers, size_t len);
void sc_hello_free(sc_conn *c);
/* Whether a ClientHello offered a session that was looked up under this id. */
int sc_hello_offered(const sc_conn *c, const sc_session *b);
/* Returns new: the session that the answer allows, or NULL. */
SSL_SESSION *sc_hello_session(sc_conn *c, const unsigned char *id, int len);

/* ids.c: the GEN_SESSION_CB of our contexts. */
int sc_make_id(SSL *ssl, unsigned char *id, unsigned int *len);
/* Copies what the ClientHello says into c->hello_text. */
void sc_hello_describe(sc_conn *c);

/* accept.c: what a get callback may return, whatever the store said. */
/* Borrows der; returns new, or NULL. */
SSL_SESSION *sc_decode(const unsigned char *der, size_t len);
/* Whether s is without the peer certificate that a full handshake of ssl would require. */
int sc_lacks_peer(const SSL *ssl, const SSL_SESSION *s);
int sc_refuse(SSL *ssl, int version, const SSL_SESSION *s, const unsigned char *id, int len,
              const unsigned char *sid_ctx, int sid_ctx_len);

/* age.c: how long a session may be resumed, and with it its descendants. */
/* The part of a session's appdata that is the user's; borrowed from the session. */
const unsigned char *sc_appdata(const SSL_SESSION *s, size_t *len);
/* Borrows data; keeps what the shim itself noted. */
int sc_set_appdata(SSL_SESSION *s, const unsigned char *data, size_t len);
/* When the full handshake was that s goes back to, in Unix seconds. */
int64_t sc_origin(const SSL_SESSION *s);
/* Notes another; 0 when out of memory. */
int sc_set_origin(SSL_SESSION *s, int64_t origin);
/* Whether the full handshake that s goes back to is longer ago than max_age. */
int sc_outlived(const sc_conn *c, const SSL_SESSION *s);
/* Notes the origin of a new session and bounds its lifetime. */
void sc_bound_age(sc_conn *c, SSL_SESSION *s);

/* ---- the record of the running call (record.c) ------------------------------ */

enum {
    SC_OP_IO, SC_OP_CONN_FREE, SC_OP_REMOVE, SC_OP_FLUSH, SC_OP_ADD, SC_OP_CONTEXT_FREE
};

/*
 * What this thread is asking OpenSSL to do. A callback finds here whether we
 * made the call, for which connection, and why a session is removed.
 */
typedef struct sc_record {
    int op;
    SSL *ssl;
    sc_conn *conn;
    sc_context *context;       /* its events come back in the result */
    SSL_SESSION *session;
    int unclean;               /* SSL_free will call the session bad */
    int64_t when;              /* of a flush */
    unsigned events;
    struct sc_record *outer;
} sc_record;

void sc_record_enter(sc_record *r);
void sc_record_leave(sc_record *r);
sc_record *sc_record_current(void);

/* A Go handler's answer to get_session_cb: new bytes of malloc, or a new box. */
typedef struct sc_answer {
    unsigned char *der;
    size_t len;
    sc_session *live;
} sc_answer;

/* ---- callbacks (callbacks.c) ------------------------------------------------ */

/* Our connection, borrowed, if this callback runs inside a call of ours for its SSL; or NULL. */
sc_conn *sc_conn_of(const SSL *ssl);
int sc_on_new(SSL *ssl, SSL_SESSION *s);
SSL_SESSION *sc_on_get(SSL *ssl, const unsigned char *id, int len, int *copy);
int sc_foreign_new(sc_context *c, SSL *ssl, SSL_SESSION *s);
/* By the rule of get_session_cb: with *copy 0 it returns new. */
SSL_SESSION *sc_foreign_get(sc_context *c, SSL *ssl, const unsigned char *id, int len, int *copy);
void sc_on_remove(SSL_CTX *ctx, SSL_SESSION *s);
/* Returns what the SSL_CTX's ex_data borrows to it, or NULL. */
sc_context *sc_context_of(const SSL_CTX *ctx);
int sc_set_context_of(SSL_CTX *ctx, sc_context *c);

/* ---- start and gauges (init.c) ---------------------------------------------- */

/* 1, or 0 when libssl cannot be used. */
int sc_init(void);
extern int sc_context_index;

/* Live objects. Contexts, connections and sessions are those of this shim. */
typedef struct sc_gauges {
    int64_t contexts, conns, bios, sessions;
    int64_t ssl_ctx, ssl, ssl_session;  /* all in the process, once counted */
} sc_gauges;
void sc_gauges_read(sc_gauges *g);
/* Begins to count all SSL_CTX, SSL and SSL_SESSION objects; for tests. */
int sc_gauges_count_all(void);
/* Gives back to the system what this process freed and malloc keeps, with glibc.
 * It takes the lock of each arena while it looks through it. 0: there was none. */
int sc_trim(void);
/* All removals that were ever queued for delivery. */
extern _Atomic uint64_t sc_removals_queued;
extern atomic_long sc_live_contexts, sc_live_conns, sc_live_bios, sc_live_sessions;

#endif
