/* Contexts, and connections whose two ends share one thread and a BIO pair. */
#include "harness.h"
#include "parts.h"

#include <openssl/x509v3.h>

static EVP_PKEY *server_key;
static X509 *server_certificate;

EVP_PKEY *new_key(void)
{
    return EVP_EC_gen("P-256");
}

X509 *new_certificate(EVP_PKEY *key, const char *common_name)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();

    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               (const unsigned char *)common_name, -1, -1, 0);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_subject_name(x, name);
    X509_set_issuer_name(x, name);
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    X509_NAME_free(name);
    return x;
}

void certificates_start(void)
{
    server_key = new_key();
    server_certificate = new_certificate(server_key, "server");
}

void certificates_stop(void)
{
    EVP_PKEY_free(server_key);
    X509_free(server_certificate);
    server_key = NULL;
    server_certificate = NULL;
}

SSL_CTX *new_server(int min, int max)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    SSL_CTX_set_min_proto_version(ctx, min);
    SSL_CTX_set_max_proto_version(ctx, max);
    SSL_CTX_use_certificate(ctx, server_certificate);
    SSL_CTX_use_PrivateKey(ctx, server_key);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)ID_CONTEXT,
                                   sizeof(ID_CONTEXT) - 1);
    return ctx;
}

SSL_CTX *new_stateful_server(int version)
{
    SSL_CTX *ctx = new_server(version, version);

    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 1);
    return ctx;
}

SSL_CTX *new_client(int min, int max)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_min_proto_version(ctx, min);
    SSL_CTX_set_max_proto_version(ctx, max);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    return ctx;
}

int accept_any_peer(int ok, X509_STORE_CTX *store)
{
    return 1;
}

connection new_connection(SSL_CTX *server, SSL_CTX *client, SSL_SESSION *offer)
{
    connection c;
    BIO *near_end, *far_end;

    memset(&c, 0, sizeof(c));
    c.drive = SSL_do_handshake;
    c.server = SSL_new(server);
    c.client = SSL_new(client);
    recorder_of(c.server);
    recorder_of(c.client);
    BIO_new_bio_pair(&near_end, 1 << 17, &far_end, 1 << 17);
    SSL_set_bio(c.server, near_end, near_end);
    SSL_set_bio(c.client, far_end, far_end);
    SSL_set_accept_state(c.server);
    SSL_set_connect_state(c.client);
    if (offer != NULL)
        SSL_set_session(c.client, offer);
    return c;
}

typedef enum { STEP_DONE, STEP_WAITS, STEP_SUSPENDED, STEP_FAILED } step_end;

/* One handshake step of one end, on a clean error queue. */
static step_end step(connection *c, SSL *ssl, int *reason)
{
    int ret;

    ERR_clear_error();
    ret = c->drive(ssl);
    if (ret == 1)
        return STEP_DONE;
    switch (SSL_get_error(ssl, ret)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return STEP_WAITS;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        return STEP_SUSPENDED;
    default:
        if (*reason == 0)
            *reason = ERR_GET_REASON(ERR_peek_error());
        return STEP_FAILED;
    }
}

static int handshake_loop(connection *c)
{
    int server_done = 0, client_done = 0, i;
    step_end end;

    for (i = 0; i < 200 && !(server_done && client_done); i++) {
        if (!client_done) {
            end = step(c, c->client, &c->client_reason);
            if (end == STEP_FAILED) {
                if (!server_done)
                    step(c, c->server, &c->server_reason);
                return 0;
            }
            client_done = end == STEP_DONE;
        }
        if (!server_done) {
            end = step(c, c->server, &c->server_reason);
            if (end == STEP_FAILED) {
                if (!client_done)
                    step(c, c->client, &c->client_reason);
                return 0;
            }
            if (end == STEP_SUSPENDED
                && (c->resume_hello == NULL
                    || !c->resume_hello(c->server, c->resume_arg)))
                return 0;
            server_done = end == STEP_DONE;
        }
    }
    return server_done && client_done;
}

int handshake(connection *c)
{
    int completed;

    c->server_reason = 0;
    c->client_reason = 0;
    completed = handshake_loop(c);
    ERR_clear_error();
    return completed;
}

static int send_byte(SSL *from, SSL *to)
{
    char byte;

    return SSL_write(from, "x", 1) == 1 && SSL_read(to, &byte, 1) == 1;
}

int exchange(connection *c)
{
    int there, back;

    there = send_byte(c->server, c->client);
    back = send_byte(c->client, c->server);
    ERR_clear_error();
    return there && back;
}

void authenticate_later(connection *c)
{
    char byte;
    int i;

    SSL_set_verify(c->server, SSL_VERIFY_PEER, accept_any_peer);
    SSL_verify_client_post_handshake(c->server);
    SSL_do_handshake(c->server);
    for (i = 0; i < 4; i++) {
        SSL_read(c->client, &byte, 1);
        SSL_read(c->server, &byte, 1);
        ERR_clear_error();
    }
}

const char *reason_text(int reason)
{
    const char *text;

    if (reason == 0)
        return "-";
    text = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason));
    return text != NULL ? text : "?";
}

void close_abruptly(connection *c)
{
    SSL_free(c->client);
    SSL_free(c->server);
    c->client = NULL;
    c->server = NULL;
    ERR_clear_error();
}

void close_cleanly(connection *c)
{
    SSL_shutdown(c->server);
    SSL_shutdown(c->client);
    SSL_shutdown(c->server);
    close_abruptly(c);
}

SSL_SESSION *full_handshake(SSL_CTX *server, SSL_CTX *client)
{
    connection c = new_connection(server, client, NULL);
    SSL_SESSION *s = NULL;

    if (handshake(&c) && exchange(&c))
        s = SSL_get1_session(c.client);
    close_cleanly(&c);
    return s;
}

attempt try_resume(SSL_CTX *server, SSL_CTX *client, SSL_SESSION *session)
{
    SSL_SESSION *offer = SSL_SESSION_dup(session);
    connection c = new_connection(server, client, offer);
    attempt a;

    a.completed = handshake(&c) && exchange(&c);
    a.resumed = a.completed && SSL_session_reused(c.server);
    a.server_reason = c.server_reason;
    a.client_reason = c.client_reason;
    close_cleanly(&c);
    SSL_SESSION_free(offer);
    return a;
}

static void write_raw(SSL *from, const char *bytes, int len)
{
    BIO_write(SSL_get_wbio(from), bytes, len);
}

void inject_bad_record(SSL *from)
{
    static const char record[] =
        "\x17\x03\x03\x00\x20" "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

    write_raw(from, record, sizeof(record) - 1);
}

void inject_fatal_alert(SSL *from)
{
    static const char alert[] = "\x15\x03\x03\x00\x02\x02\x28";

    write_raw(from, alert, sizeof(alert) - 1);
}
