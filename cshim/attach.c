/*
 * An SSL_CTX that C code made and drives. Its callback pointers are set once,
 * and stay until it dies: changing them under load is a race inside libssl. To
 * detach, the trampolines pass straight to what was there before.
 */
#include "shim.h"

int sc_attach(SSL_CTX *ctx, uintptr_t handle, int bits, int mode, sc_context **out, int *which)
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
    if (*which != 0 && mode == SC_REFUSE) {
        OPENSSL_free(c);
        return SC_ATTACH_TAKEN;
    }
    c->refs = 2;
    c->handle = handle;
    c->ctx = ctx;
    c->attached = 1;
    c->chain = mode == SC_CHAIN;
    ERR_set_mark();
    if (!sc_set_context_of(ctx, c)) {
        ERR_pop_to_mark();
        OPENSSL_free(c);
        return SC_ATTACH_FAILED;
    }
    SSL_CTX_up_ref(ctx);
    ERR_pop_to_mark();
    atomic_fetch_add(&sc_live_contexts, 1);
    sc_context_callbacks(c, bits);
    *out = c;
    return 1;
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
