/* R32, R33: SSL_set_SSL_CTX in the servername and ClientHello callbacks. */
#include "harness.h"

#include <pthread.h>

#define NO_INTERNAL (SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)

typedef enum { BY_SERVERNAME, BY_CLIENT_HELLO } switch_place;

static const char *place_name(switch_place place)
{
    return place == BY_SERVERNAME ? "servername callback"
                                  : "ClientHello callback";
}

/* The first context is the scene's server; host B belongs to the second. */
typedef struct hosts {
    scene sc;
    SSL_CTX *second;
    recorder second_rec;
    int set_verify;                 /* SSL_set_verify with the switch */
} hosts;

static void switch_context(SSL *ssl, hosts *h)
{
    SSL_set_SSL_CTX(ssl, h->second);
    if (h->set_verify)
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(h->second),
                       accept_any_peer);
}

static int on_servername(SSL *ssl, int *alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    if (name != NULL && strcmp(name, "b.example") == 0)
        switch_context(ssl, arg);
    return SSL_TLSEXT_ERR_OK;
}

/* The extension: length of the list, type, length of the name, name. */
static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *extension;
    size_t len;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension,
                                  &len)
        && len == 5 + strlen("b.example")
        && memcmp(extension + 5, "b.example", len - 5) == 0)
        switch_context(ssl, arg);
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* Host B's context has its own callbacks and the default cache mode. */
static void hosts_open(hosts *h, report *r, int version, switch_place place,
                       const char *second_id_context)
{
    scene_open(&h->sc, r, version);
    SSL_CTX_set_session_cache_mode(h->sc.server, NO_INTERNAL);
    h->second = new_server(version, version);
    h->set_verify = 0;
    record(&h->second_rec, r, h->second, RECORD_ALL);
    SSL_CTX_set_session_id_context(h->second,
                                   (const unsigned char *)second_id_context,
                                   (unsigned int)strlen(second_id_context));
    if (place == BY_SERVERNAME) {
        SSL_CTX_set_tlsext_servername_callback(h->sc.server, on_servername);
        SSL_CTX_set_tlsext_servername_arg(h->sc.server, h);
    } else {
        SSL_CTX_set_client_hello_cb(h->sc.server, on_client_hello, h);
    }
}

static void hosts_close(hosts *h)
{
    SSL_CTX_free(h->second);
    scene_close(&h->sc);
}

static connection connect_host(hosts *h, const char *host, SSL_SESSION *offer)
{
    connection c = new_connection(h->sc.server, h->sc.client, offer);

    SSL_set_tlsext_host_name(c.client, host);
    return c;
}

/* ---- R32: the first context's callbacks --------------------------------------- */

static int has_id_context(SSL_SESSION *s, const char *want)
{
    unsigned int len;
    const unsigned char *got = SSL_SESSION_get0_id_context(s, &len);

    return len == strlen(want) && memcmp(got, want, len) == 0;
}

static void switched_connection(report *r, int version, switch_place place,
                                const char *second_id_context)
{
    const char *name = version_name(version), *where = place_name(place);
    const char *applies = place == BY_CLIENT_HELLO ? second_id_context
                                                   : ID_CONTEXT;
    hosts h;
    connection c;
    SSL_SESSION *s;

    hosts_open(&h, r, version, place, second_id_context);
    c = connect_host(&h, "b.example", NULL);
    check(r, handshake(&c) && exchange(&c)
             && SSL_get_SSL_CTX(c.server) == h.second,
          "%s, %s: switched", name, where);
    check(r, h.sc.rec.new_calls == 1 && h.second_rec.new_calls == 0,
          "%s, %s: new_cb of the first context ran", name, where);
    check(r, SSL_CTX_sess_number(h.sc.server) == 0
             && SSL_CTX_sess_number(h.second) == 0,
          "%s, %s: the first context's NO_INTERNAL applies", name, where);
    check(r, has_id_context(SSL_get0_session(c.server), applies),
          "%s, %s: the session has the id context \"%s\"", name, where,
          applies);
    s = SSL_get1_session(c.client);
    close_cleanly(&c);
    recorder_clear(&h.sc.rec);
    c = connect_host(&h, "b.example", s);
    check(r, handshake(&c) && SSL_session_reused(c.server)
             && h.sc.rec.get_calls == 1 && h.second_rec.get_calls == 0,
          "%s, %s: resumed by the first context's get_cb", name, where);
    exchange(&c);
    close_abruptly(&c);
    check(r, h.sc.rec.remove_calls == 1
             && h.sc.rec.removed_from == h.sc.server
             && h.second_rec.remove_calls == 0,
          "%s, %s: remove_cb of the first context, which it is given", name,
          where);
    SSL_SESSION_free(s);
    hosts_close(&h);
}

static void R32_switched(report *r, int version)
{
    switched_connection(r, version, BY_SERVERNAME, ID_CONTEXT);
    switched_connection(r, version, BY_SERVERNAME, "host b");
    switched_connection(r, version, BY_CLIENT_HELLO, ID_CONTEXT);
    switched_connection(r, version, BY_CLIENT_HELLO, "host b");
}

/* What SSL_get_SSL_CTX says in the new function of an SSL's ex_data. */
static __thread SSL_CTX *seen_in_new_func;

static void look_at_context(void *parent, void *ptr, CRYPTO_EX_DATA *ad,
                            int idx, long argl, void *argp)
{
    seen_in_new_func = SSL_get_SSL_CTX(parent);
}

static void make_looking_index(void)
{
    SSL_get_ex_new_index(0, NULL, look_at_context, NULL, NULL);
}

/* The birth context must be noted after SSL_new, not in that function. */
static void R32_new_func(report *r)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_3_VERSION);
    SSL_CTX *want = OpenSSL_version_num() >= 0x30500000L ? NULL : ctx;
    SSL *ssl;

    pthread_once(&once, make_looking_index);
    ssl = SSL_new(ctx);
    check(r, seen_in_new_func == want && SSL_get_SSL_CTX(ssl) == ctx,
          "in the new function of its ex_data an SSL has %s context",
          seen_in_new_func == NULL ? "no" : "its");
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void contract_R32(report *r)
{
    R32_new_func(r);
    for_each_version(r, R32_switched);
}

/* ---- R33: host A's session at host B ------------------------------------------- */

static void cross_hosts(report *r, int version, switch_place place)
{
    const char *name = version_name(version), *where = place_name(place);
    int resumes = place == BY_SERVERNAME;
    SSL_CTX *inside;
    hosts h;
    connection c;
    SSL_SESSION *s;

    hosts_open(&h, r, version, place, "host b");
    c = connect_host(&h, "a.example", NULL);
    handshake(&c);
    exchange(&c);
    s = SSL_get1_session(c.client);
    close_cleanly(&c);
    c = connect_host(&h, "b.example", s);
    check(r, handshake(&c) && SSL_session_reused(c.server) == resumes,
          "%s, %s: a.example's session offered to b.example, which has an id"
          " context of its own: resumed %d", name, where,
          SSL_session_reused(c.server));
    inside = SSL_get_SSL_CTX(c.server);
    if (resumes)
        check(r, (inside == h.second) == (version == TLS1_3_VERSION),
              "%s, %s: resumed inside %s", name, where,
              inside == h.second ? "b's context" : "a's context");
    close_cleanly(&c);
    SSL_SESSION_free(s);
    hosts_close(&h);
}

static void R33_cross(report *r, int version)
{
    cross_hosts(r, version, BY_SERVERNAME);
    cross_hosts(r, version, BY_CLIENT_HELLO);
}

/* Host B asks for TLS 1.3 and a client certificate. Nobody enforces it. */
static void switch_to_strict(report *r, switch_place place, int set_verify)
{
    const char *where = place_name(place);
    hosts h;
    connection c;
    int completed;

    hosts_open(&h, r, TLS1_2_VERSION, place, "host b");
    SSL_CTX_set_min_proto_version(h.second, TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(h.second, TLS1_3_VERSION);
    SSL_CTX_set_verify(h.second, SSL_VERIFY_PEER
                       | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any_peer);
    h.set_verify = set_verify;
    c = connect_host(&h, "b.example", NULL);
    completed = handshake(&c);
    check(r, completed == !set_verify,
          "%s%s: an anonymous TLS 1.2 client of a context that demands TLS 1.3"
          " and a certificate: completed %d", where,
          set_verify ? ", with SSL_set_verify" : "", completed);
    if (completed)
        check(r, SSL_get_SSL_CTX(c.server) == h.second
                 && SSL_version(c.server) == TLS1_2_VERSION
                 && SSL_get0_peer_certificate(c.server) == NULL,
              "%s: in %s, without a certificate", where,
              SSL_get_version(c.server));
    close_abruptly(&c);
    hosts_close(&h);
}

/* Certificate and ciphers yes, ticket count and options no. */
static void R33_what_switches(report *r, int version)
{
    const char *name = version_name(version);
    EVP_PKEY *key = new_key();
    X509 *certificate = new_certificate(key, "b.example"), *shown;
    hosts h;
    connection c;

    hosts_open(&h, r, version, BY_CLIENT_HELLO, "host b");
    SSL_CTX_use_certificate(h.second, certificate);
    SSL_CTX_use_PrivateKey(h.second, key);
    SSL_CTX_set_num_tickets(h.second, 5);
    SSL_CTX_set_cipher_list(h.second, "ECDHE-ECDSA-CHACHA20-POLY1305");
    SSL_CTX_set_ciphersuites(h.second, "TLS_CHACHA20_POLY1305_SHA256");
    c = connect_host(&h, "b.example", NULL);
    check(r, handshake(&c) && exchange(&c), "%s: switched", name);
    shown = SSL_get0_peer_certificate(c.client);
    check(r, shown != NULL && X509_cmp(shown, certificate) == 0,
          "%s: the client sees host B's certificate", name);
    check(r, strstr(SSL_get_cipher_name(c.server), "CHACHA20") != NULL,
          "%s: %s: the ciphers are the new context's", name,
          SSL_get_cipher_name(c.server));
    check(r, (SSL_get_options(c.server) & SSL_OP_NO_TICKET) != 0
             && (SSL_CTX_get_options(h.second) & SSL_OP_NO_TICKET) == 0,
          "%s: the options are the first context's", name);
    check(r, h.sc.rec.new_calls == 1,
          "%s: %d session, as the first context has it", name,
          h.sc.rec.new_calls);
    close_cleanly(&c);
    hosts_close(&h);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void contract_R33(report *r)
{
    for_each_version(r, R33_cross);
    switch_to_strict(r, BY_SERVERNAME, 0);
    switch_to_strict(r, BY_CLIENT_HELLO, 0);
    switch_to_strict(r, BY_CLIENT_HELLO, 1);
    for_each_version(r, R33_what_switches);
}

const rule sni_rules[] = {
    { "R32", contract_R32, 0 },
    { "R33", contract_R33, 0 },
    { NULL, NULL, 0 },
};
