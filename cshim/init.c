/* Start of the library, the ex_data index, and the gauges of live objects. */
#include "shim.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

int sc_context_index = -1;

atomic_long sc_live_contexts, sc_live_conns, sc_live_bios, sc_live_sessions;
_Atomic uint64_t sc_removals_queued;
static atomic_long all_contexts, all_ssls, all_sessions;

void sc_context_ex_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp);

int sc_init(void)
{
    /* An exit handler would free the library under running goroutines. */
    if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_LOAD_SSL_STRINGS
                          | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL))
        return 0;
    sc_context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, sc_context_ex_free);
    return sc_context_index >= 0;
}

static void count_new(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent; (void)ptr; (void)argl;
    CRYPTO_set_ex_data(ad, idx, argp);  /* marks it as counted */
    atomic_fetch_add((atomic_long *)argp, 1);
}

/* The mark is there only if count_new saw the object made. */
static void count_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent; (void)ad; (void)idx; (void)argl;
    if (ptr != NULL)
        atomic_fetch_sub((atomic_long *)argp, 1);
}

int sc_gauges_count_all(void)
{
    return SSL_CTX_get_ex_new_index(0, &all_contexts, count_new, NULL, count_free) >= 0
        && SSL_get_ex_new_index(0, &all_ssls, count_new, NULL, count_free) >= 0
        && SSL_SESSION_get_ex_new_index(0, &all_sessions, count_new, NULL, count_free) >= 0;
}

int sc_trim(void)
{
#ifdef __GLIBC__
    return malloc_trim(0);
#else
    return 0;
#endif
}

void sc_gauges_read(sc_gauges *g)
{
    g->contexts = atomic_load(&sc_live_contexts);
    g->conns = atomic_load(&sc_live_conns);
    g->bios = atomic_load(&sc_live_bios);
    g->sessions = atomic_load(&sc_live_sessions);
    g->ssl_ctx = atomic_load(&all_contexts);
    g->ssl = atomic_load(&all_ssls);
    g->ssl_session = atomic_load(&all_sessions);
}
