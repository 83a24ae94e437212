/* The SSL_CTX of the C program, its callbacks, and the life of a server. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chost.h"

enum { BACKLOG = 1024, STACK = 1 << 20 };

static int server_index = -1;  /* the server of an SSL_CTX, in its ex_data */

static void server_unref(ch_server *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    ch_store_free(s->store);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void on_ctx_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent; (void)ad; (void)idx; (void)argl; (void)argp;
    if (ptr != NULL)
        server_unref(ptr);
}

int ch_start(void)
{
    /* As the binding asks for it: an exit handler would free libssl under our threads. */
    if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL))
        return 0;
    server_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
    return server_index >= 0 && ch_ledger_start() && ch_watch_start();
}

static void explain(char *out, size_t cap, const char *what)
{
    unsigned long code = ERR_get_error();
    char text[160] = "";

    if (code != 0)
        ERR_error_string_n(code, text, sizeof(text));
    snprintf(out, cap, "%s%s%s", what, code != 0 ? ": " : "", text);
    ERR_clear_error();
}

void ch_failed(ch_server *s, const char *what)
{
    pthread_mutex_lock(&s->lock);
    explain(s->last_error, sizeof(s->last_error), what);
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->failed, 1);
}

/* ---- callbacks ---- */

/* By the SSL_CTX that the SSL has now: a C program can tell no other. */
static ch_server *server_of(const SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), server_index);
}

static int new_cb(SSL *ssl, SSL_SESSION *session)
{
    ch_server *s = server_of(ssl);

    atomic_fetch_add(&s->new_calls, 1);
    return ch_store_new_session(s->store, session);
}

static SSL_SESSION *get_cb(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    ch_server *s = server_of(ssl);

    atomic_fetch_add(&s->get_calls, 1);
    return ch_store_get_session(s->store, id, len, copy);
}

static void remove_cb(SSL_CTX *ctx, SSL_SESSION *session)
{
    ch_server *s = SSL_CTX_get_ex_data(ctx, server_index);

    atomic_fetch_add(&s->remove_calls, 1);
    ch_store_remove_session(s->store, session);
}

static int servername_cb(SSL *ssl, int *alert, void *arg)
{
    ch_server *s = arg;

    (void)alert;
    return SSL_set_SSL_CTX(ssl, s->second) != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void set_callbacks(SSL_CTX *ctx, int bits)
{
    if (bits & CH_NEW)
        SSL_CTX_sess_set_new_cb(ctx, new_cb);
    if (bits & CH_GET)
        SSL_CTX_sess_set_get_cb(ctx, get_cb);
    if (bits & CH_REMOVE)
        SSL_CTX_sess_set_remove_cb(ctx, remove_cb);
}

int ch_ctx_set_callbacks(SSL_CTX *ctx, ch_server *s, int bits)
{
    if (!SSL_CTX_set_ex_data(ctx, server_index, s))
        return 0;
    atomic_fetch_add(&s->refs, 1);
    set_callbacks(ctx, bits);
    return 1;
}

void ch_ctx_pointers(SSL_CTX *ctx, ch_pointers *p)
{
    p->new_cb = (uintptr_t)SSL_CTX_sess_get_new_cb(ctx);
    p->get_cb = (uintptr_t)SSL_CTX_sess_get_get_cb(ctx);
    p->remove_cb = (uintptr_t)SSL_CTX_sess_get_remove_cb(ctx);
}

void ch_own_pointers(ch_pointers *p)
{
    p->new_cb = (uintptr_t)new_cb;
    p->get_cb = (uintptr_t)get_cb;
    p->remove_cb = (uintptr_t)remove_cb;
}

/* ---- making ---- */

static int configure(SSL_CTX *ctx, const ch_options *o)
{
    SSL_CTX_set_session_cache_mode(ctx, o->cache_mode);
    if (o->cache_size > 0)
        SSL_CTX_sess_set_cache_size(ctx, o->cache_size);
    if (o->timeout > 0)
        SSL_CTX_set_timeout(ctx, o->timeout);
    if (!o->stateless)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (o->ignore_eof)
        SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    return SSL_CTX_use_certificate_chain_file(ctx, o->chain_file) == 1
        && SSL_CTX_use_PrivateKey_file(ctx, o->key_file, SSL_FILETYPE_PEM) == 1
        && SSL_CTX_set_min_proto_version(ctx, o->version) == 1
        && SSL_CTX_set_max_proto_version(ctx, o->version) == 1
        && (o->num_tickets < 0 || SSL_CTX_set_num_tickets(ctx, (size_t)o->num_tickets) == 1)
        && SSL_CTX_set_session_id_context(ctx, o->sid_ctx, o->sid_ctx_len) == 1;
}

ch_server *ch_server_new(const ch_options *o, ch_server *second, char *why, size_t cap)
{
    int of_store = o->fault == CH_STORE_LEAKS || o->fault == CH_STORE_DOUBLE_FREES;
    ch_server *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        explain(why, cap, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->refs = 1;
    s->listener = -1;
    s->options = *o;
    s->options.chain_file = s->options.key_file = NULL;
    s->fault = of_store ? CH_NO_FAULT : o->fault;
    s->store = ch_store_new(o->keep, o->copy, of_store ? o->fault : CH_NO_FAULT);
    s->ctx = SSL_CTX_new(TLS_server_method());
    if (s->store == NULL || s->ctx == NULL || !configure(s->ctx, o)
        || !ch_ctx_set_callbacks(s->ctx, s, o->callbacks)) {
        explain(why, cap, "SSL_CTX");
        ch_server_free(s);
        return NULL;
    }
    if (second != NULL) {
        SSL_CTX_up_ref(second->ctx);
        s->second = second->ctx;
    }
    if (o->birth == CH_SWITCH_SNI) {
        SSL_CTX_set_tlsext_servername_callback(s->ctx, servername_cb);
        SSL_CTX_set_tlsext_servername_arg(s->ctx, s);
    }
    ERR_clear_error();
    return s;
}

void ch_server_free(ch_server *s)
{
    if (s == NULL)
        return;
    ch_server_stop(s);
    SSL_CTX_free(s->second);
    SSL_CTX_free(s->ctx);
    server_unref(s);
}

SSL_CTX *ch_server_ctx(const ch_server *s)
{
    return s->ctx;
}

/* ---- threads ---- */

/* The connection, listed, so that a stop finds it; NULL when it comes too late. */
static ch_connection *enter(ch_server *s, int fd, int loose)
{
    ch_connection *c = calloc(1, sizeof(*c));

    pthread_mutex_lock(&s->lock);
    if (c != NULL && s->stopping) {
        free(c);
        c = NULL;
    }
    if (c != NULL) {
        c->server = s;
        c->fd = fd;
        c->next = s->connections;
        s->connections = c;
        s->loose += loose;
    }
    pthread_mutex_unlock(&s->lock);
    if (c == NULL)
        close(fd);
    return c;
}

static void leave(ch_connection *c, int loose)
{
    ch_server *s = c->server;
    ch_connection **place;

    pthread_mutex_lock(&s->lock);
    for (place = &s->connections; *place != c; place = &(*place)->next)
        ;
    *place = c->next;
    /* Closed here, so that a stop never shuts down somebody else's descriptor. */
    close(c->fd);
    s->loose -= loose;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    free(c);
}

/* A write to a peer that is gone is an error here and no signal. */
static void block_sigpipe(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int next_connection(ch_server *s)
{
    int fd;

    do {
        fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    return fd;
}

static void *pool_main(void *arg)
{
    ch_server *s = arg;
    ch_connection *c;
    int fd;

    block_sigpipe();
    while ((fd = next_connection(s)) >= 0) {
        if ((c = enter(s, fd, 0)) == NULL)
            continue;
        ch_serve(s, fd);
        leave(c, 0);
    }
    return NULL;
}

static void *loose_main(void *arg)
{
    ch_connection *c = arg;

    block_sigpipe();
    ch_serve(c->server, c->fd);
    leave(c, 1);
    return NULL;
}

static int start_thread(pthread_t *t, int detached, void *(*f)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t ignored;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    if (detached)
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    r = pthread_create(t != NULL ? t : &ignored, &attr, f, arg);
    pthread_attr_destroy(&attr);
    return r == 0;
}

static void *acceptor_main(void *arg)
{
    ch_server *s = arg;
    ch_connection *c;
    int fd;

    while ((fd = next_connection(s)) >= 0) {
        if ((c = enter(s, fd, 1)) == NULL)
            continue;
        if (!start_thread(NULL, 1, loose_main, c)) {
            ch_failed(s, "no thread for a connection");
            leave(c, 1);
        }
    }
    return NULL;
}

static int listen_loopback(int *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, BACKLOG) != 0
        || getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(a.sin_port);
    return fd;
}

int ch_server_start(ch_server *s, char *why, size_t cap)
{
    int pooled = s->options.threads > 0;
    int want = pooled ? s->options.threads : 1;
    int port = 0;

    s->listener = listen_loopback(&port);
    if (s->listener < 0) {
        snprintf(why, cap, "listen: %s", strerror(errno));
        return 0;
    }
    s->pool = calloc((size_t)want, sizeof(*s->pool));
    while (s->pool != NULL && s->pool_len < want
           && start_thread(&s->pool[s->pool_len], 0, pooled ? pool_main : acceptor_main, s))
        s->pool_len++;
    if (s->pool_len < want) {
        snprintf(why, cap, "only %d of %d threads could be started", s->pool_len, want);
        ch_server_stop(s);
        return 0;
    }
    return port;
}

void ch_server_stop(ch_server *s)
{
    ch_connection *c;
    int i;

    if (s->listener < 0)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    shutdown(s->listener, SHUT_RDWR);
    for (c = s->connections; c != NULL; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (s->connections != NULL || s->loose > 0)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
    for (i = 0; i < s->pool_len; i++)
        pthread_join(s->pool[i], NULL);
    free(s->pool);
    s->pool = NULL;
    s->pool_len = 0;
    close(s->listener);
    s->listener = -1;
}

/* ---- what it did, and calls on its SSL_CTX ---- */

void ch_server_counts(ch_server *s, ch_counts *c)
{
    c->new_calls = atomic_load(&s->new_calls);
    c->get_calls = atomic_load(&s->get_calls);
    c->remove_calls = atomic_load(&s->remove_calls);
    c->accepted = atomic_load(&s->accepted);
    c->failed = atomic_load(&s->failed);
    c->resumed = atomic_load(&s->resumed);
    c->ended = atomic_load(&s->ended);
    c->dirty = atomic_load(&s->dirty);
    c->stored = ch_store_count(s->store);
}

void ch_server_last_error(ch_server *s, char *out, size_t cap)
{
    pthread_mutex_lock(&s->lock);
    snprintf(out, cap, "%s", s->last_error);
    pthread_mutex_unlock(&s->lock);
}

void ch_server_flush(ch_server *s, long when)
{
    SSL_CTX_flush_sessions(s->ctx, when);
}

long ch_server_cached(const ch_server *s)
{
    return SSL_CTX_sess_number(s->ctx);
}

/* They outlive every other session, so that those are evicted and not these. */
int ch_server_crowd(ch_server *s, int n)
{
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH] = "crowd";
    int i, added = 0;

    for (i = 0; i < n; i++) {
        SSL_SESSION *made = SSL_SESSION_new();

        if (made == NULL)
            break;
        memcpy(id + sizeof(id) - sizeof(i), &i, sizeof(i));
        if (SSL_SESSION_set1_id(made, id, sizeof(id)) == 1
            && SSL_SESSION_set_protocol_version(made, s->options.version) == 1) {
            SSL_SESSION_set_timeout(made, 1000000);
            added += SSL_CTX_add_session(s->ctx, made);
        }
        SSL_SESSION_free(made);
    }
    return added;
}
