/*
 * Harness of the contract tests: what OpenSSL's session callbacks really do,
 * shown on real handshakes through the public API only.
 *
 * A rule is a C function `void contract_R12(report *r)`. It builds its own
 * contexts and connections, states what it saw with check() and leaves nothing
 * alive. Rules share no state: what a callback needs hangs on its SSL_CTX (see
 * recorder), and every object that a rule makes is counted for that rule (see
 * objects.c). So rules may run at the same time on different threads.
 */
#ifndef CONTRACT_HARNESS_H
#define CONTRACT_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* Prepares the process: ex_data indexes, server key. Safe to call again. */
void harness_start(void);

/* Frees what harness_start made. No rule may run afterwards. */
void harness_stop(void);

/* ---- reports (report.c) ------------------------------------------------ */

/* The results of one run of one rule. */
typedef struct report report;

/* Adds a result with its place in the source and returns ok. */
int check_at(report *r, const char *file, int line, int ok,
             const char *format, ...) __attribute__((format(printf, 5, 6)));

/* What the text shows is read after the condition was tried. */
#define check(r, ok, ...)                                       \
    ({                                                          \
        int ok_ = (ok) != 0;                                    \
        check_at((r), __FILE__, __LINE__, ok_, __VA_ARGS__);    \
    })

/* "TLS 1.2" or "TLS 1.3". */
const char *version_name(int version);

/* Runs a scenario in TLS 1.2 and then in TLS 1.3. */
void for_each_version(report *r, void (*scenario)(report *r, int version));

/* ---- rules (rules.c) --------------------------------------------------- */

typedef struct rule {
    const char *name;               /* "R12" */
    void (*run)(report *r);
    int balance;                    /* 1: gives references back by give_back */
} rule;

/* A scenario that must run in a process of its own, see child.c. */
typedef struct child_scenario {
    const char *name;
    int (*run)(report *r);          /* the result is the exit status */
    void (*prepare)(void);          /* before OpenSSL is used; or NULL */
} child_scenario;

/* The table of all rules, ended by a NULL name, and access for Go. */
const rule *rule_at(int index);
const child_scenario *find_child_scenario(const char *name);

/* Runs one rule; NULL when there is none of that name. Free with report_free. */
report *rule_run(const char *name);

/* A report by hand, for the processes of child.c. */
report *report_new(void);
void report_free(report *r);
int report_count(const report *r);
int report_ok(const report *r, int index);
int report_line(const report *r, int index);
const char *report_file(const report *r, int index);
const char *report_text(const report *r, int index);

/* ---- objects alive (objects.c) ------------------------------------------ */

enum { OBJECT_CTX, OBJECT_SSL, OBJECT_SESSION, OBJECT_KINDS };

/*
 * Objects of one kind made while the rule ran, on its thread or on a thread of
 * start_thread, and not destroyed yet. r == NULL: of the whole process. An
 * object that is destroyed twice ends the process with a message.
 */
int objects_alive(report *r, int kind);

/*
 * An address may be used again for another session; a birth number is not.
 * 0 is no session's number. A session is destroyed when its memory is freed.
 */
unsigned long session_birth(const SSL_SESSION *s);
int session_destroyed(unsigned long birth);

/*
 * Gives back one reference that the rule owns by OpenSSL's contract. All such
 * references go back through this function: the environment variable
 * OPENSSL_CONTRACT_FAULT ("leak" or "double-free") spoils its first call, which
 * is how the counting itself is tested.
 */
void give_back(SSL_SESSION *s);

/* Binds the calling thread to a rule; used by the runner and by threads.c. */
void objects_bind(report *r);

/* ---- threads (threads.c) ----------------------------------------------- */

typedef struct rule_thread rule_thread;

/* Runs f(arg) on a new thread that belongs to the rule. */
rule_thread *start_thread(report *r, void (*f)(void *), void *arg);
void join_thread(rule_thread *t);

/*
 * Waits until the thread has finished (1), or sleeps in the kernel and goes on
 * sleeping (0). 0 inside a callback means: a callback that waited for this
 * thread would never return.
 */
int thread_finishes(rule_thread *t);

/*
 * 1 when the calling frame holds ctx's lock: a helper thread tries to flush
 * nothing from the cache, which takes the lock. Not for the last SSL_CTX_free.
 * join_lock_probes must follow when the library call has returned, before ctx
 * is freed.
 */
int lock_is_held(report *r, SSL_CTX *ctx);
void join_lock_probes(report *r);

/*
 * Whether a flush, and so an eviction, calls remove_cb with the context's lock
 * held: all of 3.0 and 3.5 do so far, and 3.6.5 does not. It is measured, not
 * taken from the version: releases may get it by a backport.
 */
int removes_under_lock(report *r);

/* The kernel's id of the calling thread. */
long thread_id(void);

/* ---- processes (child.c) ----------------------------------------------- */

typedef enum { CHILD_EXITED, CHILD_CRASHED, CHILD_HUNG, CHILD_LOST } child_end;

typedef struct child_result {
    child_end end;
    int status;                     /* exit status when end is CHILD_EXITED */
} child_result;

/*
 * Runs a scenario of a children table in a new process and waits for its end;
 * after `seconds` it counts as hung and is killed. The name may be followed by
 * a colon and an argument, which child_argument returns in that process.
 */
child_result run_child(const char *name, unsigned int seconds);
const char *child_end_name(child_end end);
const char *child_argument(void);

/* ---- contexts and connections (connection.c) --------------------------- */

/* The session id context of every server here. */
#define ID_CONTEXT "contract"

/* Contexts limited to min..max, with the harness's certificate. */
SSL_CTX *new_server(int min, int max);
SSL_CTX *new_client(int min, int max);

/* A server of one version that keeps sessions, not tickets, with one ticket. */
SSL_CTX *new_stateful_server(int version);

EVP_PKEY *new_key(void);
X509 *new_certificate(EVP_PKEY *key, const char *common_name);

/* SSL_CTX_set_verify callback that accepts every peer. */
int accept_any_peer(int ok, X509_STORE_CTX *store);

/* Both ends of one connection over memory. */
typedef struct connection {
    SSL *server;
    SSL *client;
    int server_reason;              /* why handshake() failed, ERR_GET_REASON */
    int client_reason;

    /*
     * Called when the server is suspended in its ClientHello callback. 1: try
     * again, 0: give up. NULL gives up.
     */
    int (*resume_hello)(SSL *server, void *arg);
    void *resume_arg;

    int (*drive)(SSL *ssl);         /* SSL_do_handshake, or a wrapper of it */
} connection;

/* offer: the session that the client offers, borrowed; NULL for none. */
connection new_connection(SSL_CTX *server, SSL_CTX *client, SSL_SESSION *offer);

/* Drives both ends. 1 when both completed. */
int handshake(connection *c);

/* One byte each way, so that a TLS 1.3 client reads its tickets. */
int exchange(connection *c);

/*
 * TLS 1.3: the server asks for the client's certificate after the handshake and
 * reads it, if the client offered that.
 */
void authenticate_later(connection *c);

/* The text of an SSL_R_ reason, "-" for 0. */
const char *reason_text(int reason);

/* With close_notify both ways, or by SSL_free alone. */
void close_cleanly(connection *c);
void close_abruptly(connection *c);

/* A full handshake with I/O and clean end: the client's session (one ref). */
SSL_SESSION *full_handshake(SSL_CTX *server, SSL_CTX *client);

/* Result of one connection that offers a session. */
typedef struct attempt {
    int completed;
    int resumed;
    int server_reason;
    int client_reason;
} attempt;

/*
 * Offers a private duplicate of session, with I/O and a clean end. The
 * duplicate is needed because a TLS 1.3 client uses an object only once.
 */
attempt try_resume(SSL_CTX *server, SSL_CTX *client, SSL_SESSION *session);

/* A record that no peer can decrypt, written as if `from` had sent it. */
void inject_bad_record(SSL *from);

/* A plain-text fatal alert (handshake_failure) as if `from` had sent it. */
void inject_fatal_alert(SSL *from);

/* ---- sessions (session.c) ---------------------------------------------- */

typedef struct session_id {
    unsigned char bytes[SSL_MAX_SSL_SESSION_ID_LENGTH];
    unsigned int len;
} session_id;

session_id id_of(const SSL_SESSION *s);
session_id id_from(const unsigned char *bytes, size_t len);
int same_id(session_id a, session_id b);

/* What a TLS 1.2 client sends as id or a TLS 1.3 client as 32-byte ticket. */
session_id offered_id(const SSL_SESSION *client_session);

/* A TLS 1.2 session whose id is 32 times tag: for cache tests, no handshake. */
SSL_SESSION *new_session(unsigned char tag, long time, long timeout);

/* new_session put into ctx's cache, which holds the only reference. */
void add_session(SSL_CTX *ctx, unsigned char tag, long time, long timeout);

/* Names that stay valid when OpenSSL deprecates the `long` functions. */
void flush_sessions(SSL_CTX *ctx, long time);
long session_time(const SSL_SESSION *s);
void set_session_time(SSL_SESSION *s, long time);

/* An encoded session. bytes is freed with free_der. */
typedef struct der {
    unsigned char *bytes;
    int len;
} der;

der encode(SSL_SESSION *s);
SSL_SESSION *decode(der d);
int same_der(der a, der b);
void free_der(der *d);

/* A store of encoded sessions by id, for concurrent use. */
typedef struct store store;

store *store_new(void);
void store_free(store *st);
void store_put(store *st, SSL_SESSION *s);

/* A fresh decode with one reference; NULL for a miss. */
SSL_SESSION *store_get(store *st, const unsigned char *id, size_t len);

/* store_get and delete in one step. */
SSL_SESSION *store_take(store *st, const unsigned char *id, size_t len);

/* The bytes themselves: a copy, empty for a miss. */
der store_get_der(store *st, const unsigned char *id, size_t len);
void store_delete(store *st, const unsigned char *id, size_t len);
int store_count(store *st);

/* ---- recorder (recorder.c) --------------------------------------------- */

#define COPY_UNWRITTEN (-1)
#define RECORDER_MAX 16

/*
 * Counts what the three session callbacks of one SSL_CTX saw and decides what
 * they answer. The fields may be changed between calls; hooks run inside the
 * callback. recorder_clear sets the counts to zero and leaves the decisions.
 */
typedef struct recorder recorder;
struct recorder {
    report *report;
    SSL_CTX *ctx;                   /* not owned */
    store *store;                   /* borrowed; NULL: stores nothing, misses */

    /* new_session_cb */
    int keep;                       /* 1: returns 1 and the reference is kept */
    SSL_SESSION *kept[RECORDER_MAX];
    int kept_count;
    int new_calls;
    session_id new_ids[RECORDER_MAX];
    void (*on_new)(recorder *rec, SSL *ssl, SSL_SESSION *s);  /* then stored */

    /* get_session_cb */
    int copy;                       /* written to *copy, or COPY_UNWRITTEN */
    int get_calls;
    int copy_on_entry;
    session_id get_id;              /* of the last call */
    const unsigned char *get_id_at; /* where it was; dead after the call */
    unsigned long got_birth;        /* of the session last returned, or 0 */
    SSL_SESSION *got;               /* the same; may be dead */
    SSL_SESSION *(*on_get)(recorder *rec, SSL *ssl, session_id id);
    void (*alter)(recorder *rec, SSL_SESSION *s);  /* before it is returned */

    /* remove_session_cb */
    int remove_calls;
    SSL_CTX *removed_from;
    session_id removed_id;
    unsigned long removed_birth;
    int removed_resumable;          /* SSL_SESSION_is_resumable inside */
    long removed_thread;
    void (*on_remove)(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s);

    void *arg;                      /* for the hooks */
};

enum { RECORD_NEW = 1, RECORD_GET = 2, RECORD_REMOVE = 4, RECORD_ALL = 7 };

/* Registers the callbacks named by which on ctx. rec must outlive ctx. */
void record(recorder *rec, report *r, SSL_CTX *ctx, int which);
void recorder_clear(recorder *rec);

/* Gives the kept references back. */
void recorder_release(recorder *rec);

/* The recorder that answers for this SSL: that of the context it was born in. */
recorder *recorder_of(SSL *ssl);

/*
 * What most scenarios need: a stateful server of one version with its three
 * callbacks recorded and a store behind them, and a client.
 */
typedef struct scene {
    int version;
    SSL_CTX *server;
    SSL_CTX *client;
    recorder rec;                   /* the server's */
    store *store;
} scene;

void scene_open(scene *sc, report *r, int version);

/* In TLS 1.3, two tickets, and a client for authenticate_later. */
void scene_open_authentication(scene *sc, report *r);

/*
 * Another stateful server that has never seen a session of the scene: get_cb
 * and remove_cb are recorded in rec, the scene's store is behind get_cb, and it
 * makes no tickets of its own in TLS 1.3.
 */
SSL_CTX *scene_second_server(scene *sc, recorder *rec, long mode);
void scene_close(scene *sc);

#endif
