/*
 * An SSL_CTX that C code made and drives. Its callback pointers are set once,
 * and stay until it dies: changing them under load is a race inside libssl. To
 * detach, the trampolines pass straight to what was there before.
 */
#include "shim.h"

/*
 * A pair of trampolines for each attached context. libssl gives new_cb and
 * get_cb only the SSL, from which the context that they belong to cannot be
 * found once SSL_set_SSL_CTX was called; nor can ex_data of the SSL record it:
 * since 3.2 its new_func runs before the SSL has a context.
 */
static _Atomic(sc_context *) slots[SC_SLOTS];

#define TRAMPOLINES(n)                                                                     \
    static int new_##n(SSL *ssl, SSL_SESSION *s)                                           \
    {                                                                                      \
        return sc_foreign_new(atomic_load(&slots[0##n]), ssl, s);                          \
    }                                                                                      \
    static SSL_SESSION *get_##n(SSL *ssl, const unsigned char *id, int len, int *copy)     \
    {                                                                                      \
        return sc_foreign_get(atomic_load(&slots[0##n]), ssl, id, len, copy);              \
    }
/* Slots are numbered in octal, two digits each. */
#define EIGHT(f, d) f(d##0) f(d##1) f(d##2) f(d##3) f(d##4) f(d##5) f(d##6) f(d##7)
#define ALL(f) EIGHT(f, 0) EIGHT(f, 1) EIGHT(f, 2) EIGHT(f, 3) \
    EIGHT(f, 4) EIGHT(f, 5) EIGHT(f, 6) EIGHT(f, 7)

ALL(TRAMPOLINES)

#define ADDRESSES(n) { new_##n, get_##n },
static const struct { sc_new_cb new_cb; sc_get_cb get_cb; } trampolines[SC_SLOTS] = {
    ALL(ADDRESSES)
};

static int slot_take(sc_context *c)
{
    int i;

    for (i = 0; i < SC_SLOTS; i++) {
        sc_context *none = NULL;

        if (atomic_compare_exchange_strong(&slots[i], &none, c)) {
            c->slot = i;
            return 1;
        }
    }
    return 0;
}

int sc_is_trampoline(uintptr_t f)
{
    int i;

    if (f == (uintptr_t)sc_on_new || f == (uintptr_t)sc_on_get || f == (uintptr_t)sc_on_remove)
        return 1;
    for (i = 0; i < SC_SLOTS; i++)
        if (f == (uintptr_t)trampolines[i].new_cb || f == (uintptr_t)trampolines[i].get_cb)
            return 1;
    return 0;
}

void sc_slot_free(sc_context *c)
{
    if (c->attached)
        atomic_store(&slots[c->slot], NULL);
}

int sc_attach(SSL_CTX *ctx, int bits, int mode, sc_context **out, int *which)
{
    sc_context *earlier = sc_context_of(ctx);
    sc_context *c;

    *out = NULL;
    *which = 0;
    if (earlier != NULL)
        return earlier->attached ? SC_ATTACH_TAKEN : SC_ATTACH_OURS;
    c = OPENSSL_zalloc(sizeof(*c));
    if (c == NULL)
        return SC_ATTACH_FAILED;
    c->prior_new = SSL_CTX_sess_get_new_cb(ctx);
    c->prior_get = SSL_CTX_sess_get_get_cb(ctx);
    c->prior_remove = SSL_CTX_sess_get_remove_cb(ctx);
    if (c->prior_new != NULL && (bits & SC_NEW))
        *which |= SC_NEW;
    if (c->prior_get != NULL && (bits & SC_GET))
        *which |= SC_GET;
    if (c->prior_remove != NULL && (bits & SC_REMOVE))
        *which |= SC_REMOVE;
    /* Copied from an attached context: to chain to them would call ourselves. */
    if (sc_is_trampoline((uintptr_t)c->prior_new) || sc_is_trampoline((uintptr_t)c->prior_get)
        || sc_is_trampoline((uintptr_t)c->prior_remove)) {
        OPENSSL_free(c);
        return SC_ATTACH_COPIED;
    }
    if (*which != 0 && mode == SC_REFUSE) {
        OPENSSL_free(c);
        return SC_ATTACH_TAKEN;
    }
    c->refs = 2;
    c->ctx = ctx;
    c->attached = 1;
    c->chain = mode == SC_CHAIN;
    c->callbacks = bits;
    if (!slot_take(c)) {
        OPENSSL_free(c);
        return SC_ATTACH_FULL;
    }
    ERR_set_mark();
    if (!sc_set_context_of(ctx, c)) {
        ERR_pop_to_mark();
        sc_slot_free(c);
        OPENSSL_free(c);
        return SC_ATTACH_FAILED;
    }
    SSL_CTX_up_ref(ctx);
    ERR_pop_to_mark();
    atomic_fetch_add(&sc_live_contexts, 1);
    *out = c;
    return 1;
}

void sc_attach_start(sc_context *c, uintptr_t handle)
{
    c->handle = handle;
    if (c->callbacks & SC_NEW)
        SSL_CTX_sess_set_new_cb(c->ctx, trampolines[c->slot].new_cb);
    if (c->callbacks & SC_GET)
        SSL_CTX_sess_set_get_cb(c->ctx, trampolines[c->slot].get_cb);
    if (c->callbacks & SC_REMOVE)
        SSL_CTX_sess_set_remove_cb(c->ctx, sc_on_remove);
}

unsigned sc_detach(sc_context *c, int restore)
{
    sc_record r = { .op = SC_OP_CONTEXT_FREE, .context = c };

    atomic_store(&c->detached, 1);
    if (restore) {
        if (c->callbacks & SC_NEW)
            SSL_CTX_sess_set_new_cb(c->ctx, c->prior_new);
        if (c->callbacks & SC_GET)
            SSL_CTX_sess_set_get_cb(c->ctx, c->prior_get);
        if (c->callbacks & SC_REMOVE)
            SSL_CTX_sess_set_remove_cb(c->ctx, c->prior_remove);
        sc_set_context_of(c->ctx, NULL);
        sc_slot_free(c);
        atomic_store(&c->dead, 1);
    }
    sc_record_enter(&r);
    SSL_CTX_free(c->ctx);
    sc_record_leave(&r);
    if (restore) {
        sc_context_unref(c);  /* the reference of the ex_data */
        r.events |= SC_EVENT_DEAD;
    }
    return r.events;
}

/* The callee's own rule: it keeps the reference that it is given, or returns 0. */
int sc_prior_new(sc_context *c, SSL *ssl, sc_session *b)
{
    if (c->prior_new == NULL)
        return 0;
    SSL_SESSION_up_ref(b->session);
    if (c->prior_new(ssl, b->session))
        return 1;
    SSL_SESSION_free(b->session);
    return 0;
}

sc_session *sc_prior_get(sc_context *c, SSL *ssl, const unsigned char *id, int len)
{
    SSL_SESSION *s;
    int copy = 1;

    if (c->prior_get == NULL)
        return NULL;
    s = c->prior_get(ssl, id, len, &copy);
    if (s == NULL)
        return NULL;
    if (copy)
        SSL_SESSION_up_ref(s);
    return sc_session_box(s);
}

void sc_prior_remove(sc_context *c, sc_session *b)
{
    if (c->prior_remove != NULL)
        c->prior_remove(c->ctx, b->session);
}
