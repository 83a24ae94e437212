/* R23-R25: what may be done inside remove_session_cb, and what must not. */
#include "harness.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* ---- R23: operations inside ---------------------------------------------- */

/* Exit statuses of the children too. */
typedef enum { WORKS, REFUSED, BLOCKS, DIES, NOT_TRIED } outcome;

static const char *outcome_name(outcome x)
{
    static const char *const names[] = {
        "works", "is refused", "blocks", "dies", "was not tried"
    };

    return names[x];
}

/* What an operation gets: the removed session and another one, cached. */
typedef struct inside {
    SSL_CTX *ctx;
    SSL_SESSION *removed;
    SSL_SESSION *other;
} inside;

static int do_getters(inside *in)
{
    unsigned int len;

    return SSL_SESSION_get_id(in->removed, &len) != NULL
           && session_time(in->removed) > 0
           && SSL_SESSION_get_timeout(in->removed) > 0;
}

static int do_encode(inside *in)
{
    /* No cipher, hence no encoding; but it reads the session and returns. */
    return i2d_SSL_SESSION(in->removed, NULL) >= 0;
}

static int do_reference(inside *in)
{
    int ok = SSL_SESSION_up_ref(in->removed);

    SSL_SESSION_free(in->removed);
    return ok;
}

static int do_ex_data(inside *in)
{
    return SSL_CTX_get_ex_data(in->ctx, 0) == NULL;
}

static int do_number(inside *in)
{
    return SSL_CTX_sess_number(in->ctx) >= 0;
}

static int do_cache_size(inside *in)
{
    SSL_CTX_sess_set_cache_size(in->ctx, 100);
    return SSL_CTX_sess_get_cache_size(in->ctx) == 100;
}

static int do_timeout_removed(inside *in)
{
    return SSL_SESSION_set_timeout(in->removed, 5) != 0;
}

static int do_timeout_other(inside *in)
{
    return SSL_SESSION_set_timeout(in->other, 5) != 0;
}

static int do_remove_other(inside *in)
{
    return SSL_CTX_remove_session(in->ctx, in->other);
}

static int do_add(inside *in)
{
    SSL_SESSION *s = new_session(77, (long)time(NULL), 1000);
    int ok = SSL_CTX_add_session(in->ctx, s);

    SSL_SESSION_free(s);
    return ok;
}

static int do_flush(inside *in)
{
    long before = SSL_CTX_sess_number(in->ctx);

    flush_sessions(in->ctx, (long)time(NULL) + 100000);
    return SSL_CTX_sess_number(in->ctx) < before;
}

static int keep_id(SSL *ssl, unsigned char *id, unsigned int *len)
{
    return 1;
}

static int do_set_generator(inside *in)
{
    return SSL_CTX_set_generate_session_id(in->ctx, keep_id);
}

static int do_new_ssl(inside *in)
{
    SSL *ssl = SSL_new(in->ctx);

    SSL_free(ssl);
    return ssl != NULL;
}

static int do_ctx_reference(inside *in)
{
    SSL_CTX_up_ref(in->ctx);
    SSL_CTX_free(in->ctx);
    return 1;
}

typedef struct operation {
    const char *what;
    int (*run)(inside *in);         /* 0: refused */
    int locks;                      /* needs the context's lock */
    int revives;                    /* takes and drops a context reference */
} operation;

static const operation operations[] = {
    { "id, time, timeout", do_getters, 0, 0 },
    { "i2d_SSL_SESSION", do_encode, 0, 0 },
    { "SSL_SESSION_up_ref and free", do_reference, 0, 0 },
    { "SSL_CTX_get_ex_data", do_ex_data, 0, 0 },
    { "SSL_CTX_sess_number", do_number, 0, 0 },
    { "cache size", do_cache_size, 0, 0 },
    { "SSL_SESSION_set_timeout, this", do_timeout_removed, 0, 0 },
    { "SSL_SESSION_set_timeout, another", do_timeout_other, 1, 0 },
    { "SSL_CTX_remove_session, another", do_remove_other, 1, 0 },
    { "SSL_CTX_add_session", do_add, 1, 0 },
    { "SSL_CTX_flush_sessions", do_flush, 1, 0 },
    { "SSL_CTX_set_generate_session_id", do_set_generator, 1, 0 },
    { "SSL_new and SSL_free", do_new_ssl, 0, 1 },
    { "SSL_CTX_up_ref and SSL_CTX_free", do_ctx_reference, 0, 1 },
};

#define OPERATIONS (int)(sizeof(operations) / sizeof(operations[0]))

/* One operation, run by the first remove_cb call of a site. */
typedef struct trial {
    const operation *op;
    int on_thread;                  /* another thread does it */
    inside in;
    SSL_SESSION *other;
    int started;                    /* atomic */
    int done;
    outcome seen;
    rule_thread *thread;
    int exit_when_blocked;          /* in a child: before it can go on */
} trial;

static void operate(void *arg)
{
    trial *t = arg;

    t->done = t->op->run(&t->in);
}

static void try_inside(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    trial *t = rec->arg;

    if (__atomic_exchange_n(&t->started, 1, __ATOMIC_SEQ_CST))
        return;
    t->in = (inside){ ctx, s, t->other };
    if (!t->on_thread) {
        operate(t);
        t->seen = t->done ? WORKS : REFUSED;
    } else {
        t->thread = start_thread(rec->report, operate, t);
        if (thread_finishes(t->thread))
            t->seen = t->done ? WORKS : REFUSED;
        else
            t->seen = BLOCKS;
        if (t->seen == BLOCKS && t->exit_when_blocked)
            _exit(BLOCKS);
    }
}

static void site_flush(SSL_CTX *ctx)
{
    flush_sessions(ctx, (long)time(NULL));
}

static void site_evict(SSL_CTX *ctx)
{
    SSL_CTX_sess_set_cache_size(ctx, 3);
    add_session(ctx, 3, (long)time(NULL), 1000);
}

static void site_remove(SSL_CTX *ctx)
{
    SSL_SESSION *s = new_session(1, (long)time(NULL), 1000);

    SSL_CTX_remove_session(ctx, s);
    SSL_SESSION_free(s);
}

/* A context whose cache holds 1 (expired) and 2, which is also t->other. */
static SSL_CTX *open_trial(report *r, recorder *rec, trial *t)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    long now = (long)time(NULL);

    record(rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, now - 100, 10);
    t->other = new_session(2, now, 1000);
    SSL_CTX_add_session(ctx, t->other);
    rec->on_remove = try_inside;
    rec->arg = t;
    return ctx;
}

static outcome run_trial(report *r, void (*site)(SSL_CTX *ctx), trial *t)
{
    recorder rec;
    SSL_CTX *ctx = open_trial(r, &rec, t);

    site(ctx);
    if (t->thread != NULL)
        join_thread(t->thread);
    rec.on_remove = NULL;
    SSL_SESSION_free(t->other);
    SSL_CTX_free(ctx);
    return t->seen;
}

static void try_operation(report *r, const operation *op, int on_thread)
{
    const int locked = removes_under_lock(r);
    const struct {
        const char *name;
        void (*run)(SSL_CTX *ctx);
        int held;
    } sites[] = {
        { "flush", site_flush, locked },
        { "evict", site_evict, locked },
        { "SSL_CTX_remove_session", site_remove, 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        trial t = { .op = op, .on_thread = on_thread };
        outcome want = WORKS, seen;

        if (op->locks && sites[i].held)
            want = on_thread ? BLOCKS : REFUSED;
        seen = run_trial(r, sites[i].run, &t);
        check(r, t.started && seen == want, "%s, %s: %s %s", sites[i].name,
              on_thread ? "another thread" : "own thread", op->what,
              outcome_name(seen));
    }
}

/*
 * The last SSL_CTX_free: a thread that waits for the lock would wake up to a
 * dead context, so all of this happens in children. The argument is the
 * operation's number and 1 for another thread.
 */
static int free_trial(report *r)
{
    trial t = { 0 };
    recorder rec;
    SSL_CTX *ctx;
    int number;

    if (sscanf(child_argument(), "%d,%d", &number, &t.on_thread) != 2)
        return NOT_TRIED;
    t.op = &operations[number];
    ctx = open_trial(r, &rec, &t);
    t.exit_when_blocked = 1;
    SSL_CTX_free(ctx);
    return t.started ? (int)t.seen : NOT_TRIED;
}

/*
 * What must happen in the last free. A reference taken and dropped there frees
 * the context once more: on the own thread at once, on another after the lock.
 */
static outcome expected_in_ctx_free(const operation *op, int on_thread,
                                    int locked)
{
    if (op->run == do_new_ssl && OpenSSL_version_num() >= 0x30500000L)
        return REFUSED;             /* SSL_new returns NULL */
    if (!locked && (op->run == do_remove_other || op->run == do_flush))
        return REFUSED;             /* no session is cached by then */
    if (!locked)
        return op->revives ? DIES : WORKS;
    if (op->revives)
        return on_thread ? BLOCKS : DIES;
    if (op->locks)
        return on_thread ? BLOCKS : REFUSED;
    return WORKS;
}

static void try_in_ctx_free(report *r, int number, int on_thread)
{
    const operation *op = &operations[number];
    outcome want = expected_in_ctx_free(op, on_thread, removes_under_lock(r));
    outcome seen = DIES;
    char name[64];
    child_result end;

    snprintf(name, sizeof(name), "inside-ctx-free:%d,%d", number, on_thread);
    end = run_child(name, want == DIES ? 3 : 60);
    if (end.end == CHILD_EXITED && end.status <= NOT_TRIED)
        seen = (outcome)end.status;
    /* The thread frees twice on its way to the lock; a checking allocator
     * notices that before it blocks. */
    if (op->revives && want == BLOCKS && seen == DIES)
        want = DIES;
    check(r, end.end != CHILD_LOST && seen == want,
          "SSL_CTX_free, %s: %s %s (process %s, %d)",
          on_thread ? "another thread" : "own thread", op->what,
          outcome_name(seen), child_end_name(end.end), end.status);
}

/* Removing the session that is being removed calls the callback again. */
typedef struct reentry {
    int depth;
    int deepest;
} reentry;

static void remove_again(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    reentry *re = rec->arg;

    re->depth++;
    if (re->depth > re->deepest)
        re->deepest = re->depth;
    if (re->depth < 3)
        SSL_CTX_remove_session(ctx, s);
    re->depth--;
}

static void R23_reentry(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    reentry re = { 0, 0 };
    recorder rec;

    record(&rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, (long)time(NULL), 1000);
    rec.on_remove = remove_again;
    rec.arg = &re;
    site_remove(ctx);
    check(r, re.deepest == 3,
          "SSL_CTX_remove_session of the same session inside enters the"
          " callback again: depth %d", re.deepest);
    SSL_CTX_free(ctx);
}

static void contract_R23(report *r)
{
    int i, on_thread;

    for (on_thread = 0; on_thread <= 1; on_thread++)
        for (i = 0; i < OPERATIONS; i++)
            try_operation(r, &operations[i], on_thread);
    for (on_thread = 0; on_thread <= 1; on_thread++)
        for (i = 0; i < OPERATIONS; i++)
            try_in_ctx_free(r, i, on_thread);
    R23_reentry(r);
}

/* ---- R24: the context in its last free ------------------------------------- */

static void take_reference(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    int *result = rec->arg;

    if (*result < 0)
        *result = SSL_CTX_up_ref(ctx);
}

/* Exit status: what SSL_CTX_up_ref returned inside the last free. */
static int reference_in_free(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    int result = -1;
    recorder rec;

    record(&rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, (long)time(NULL), 1000);
    rec.on_remove = take_reference;
    rec.arg = &result;
    SSL_CTX_free(ctx);
    return result;
}

static void use_reference(recorder *rec, SSL_CTX *ctx, SSL_SESSION *s)
{
    int *calls = rec->arg;

    if ((*calls)++ > 0)
        return;
    SSL_CTX_up_ref(ctx);
    SSL_CTX_free(ctx);
}

static int free_in_free(report *r)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    int calls = 0;
    recorder rec;

    record(&rec, r, ctx, RECORD_REMOVE);
    add_session(ctx, 1, (long)time(NULL), 1000);
    rec.on_remove = use_reference;
    rec.arg = &calls;
    SSL_CTX_free(ctx);
    return 0;
}

static void contract_R24(report *r)
{
    child_result up = run_child("reference-in-ctx-free", 60);
    child_result both = run_child("free-in-ctx-free", 3);

    check(r, up.end == CHILD_EXITED && up.status == 0,
          "inside the last SSL_CTX_free, SSL_CTX_up_ref returns %d (process"
          " %s)", up.status, child_end_name(up.end));
    check(r, both.end == CHILD_CRASHED || both.end == CHILD_HUNG,
          "SSL_CTX_free of that reference: the process %s",
          child_end_name(both.end));
}

/* ---- R25: ex_data hooks of sessions ---------------------------------------- */

typedef struct watched {
    report *report;
    SSL_CTX *ctx;
    int held;                       /* in the free hook; -1: did not run */
} watched;

static int watched_index;

static void free_watched(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
                         long argl, void *argp)
{
    watched *w = ptr;

    if (w != NULL)
        w->held = lock_is_held(w->report, w->ctx);
}

static void make_watched_index(void)
{
    watched_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL,
                                                 free_watched);
}

static void add_watched(watched *w, unsigned char tag)
{
    SSL_SESSION *s = new_session(tag, (long)time(NULL), 1000);

    SSL_SESSION_set_ex_data(s, watched_index, w);
    SSL_CTX_add_session(w->ctx, s);
    SSL_SESSION_free(s);
    w->held = -1;
}

static void free_hook_replaced(SSL_CTX *ctx)
{
    add_session(ctx, 1, (long)time(NULL), 1000);
}

static void free_hook_evicted(SSL_CTX *ctx)
{
    SSL_CTX_sess_set_cache_size(ctx, 1);
    add_session(ctx, 2, (long)time(NULL), 1000);
}

static void free_hook_flushed(SSL_CTX *ctx)
{
    flush_sessions(ctx, 0);
}

static void watch(report *r, const char *what, void (*site)(SSL_CTX *ctx),
                  int held)
{
    watched w = { r, new_server(TLS1_2_VERSION, TLS1_2_VERSION), -1 };

    add_watched(&w, 1);
    site(w.ctx);
    join_lock_probes(r);
    check(r, w.held == held, "%s: lock held in the session's free hook: %d",
          what, w.held);
    SSL_CTX_free(w.ctx);
}

static void contract_R25(report *r)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_watched_index);
    watch(r, "replaced by another object of its id", free_hook_replaced, 1);
    watch(r, "evicted", free_hook_evicted, removes_under_lock(r));
    watch(r, "flushed", free_hook_flushed, 0);
}

const rule inside_rules[] = {
    { "R23", contract_R23, 0 },
    { "R24", contract_R24, 0 },
    { "R25", contract_R25, 0 },
    { NULL, NULL, 0 },
};

const child_scenario inside_children[] = {
    { "inside-ctx-free", free_trial, NULL },
    { "reference-in-ctx-free", reference_in_free, NULL },
    { "free-in-ctx-free", free_in_free, NULL },
    { NULL, NULL, NULL },
};
