/*
 * Records one TLS 1.2 and one TLS 1.3 session as DER, seen from the server and
 * from the client.  README.md in this directory says how the files are used.
 *
 *   cc -Wall -Wextra -o record record.c -lssl -lcrypto && ./record DIR
 *
 * The TLS 1.2 session is resumed by its session id, the TLS 1.3 session by a
 * stateful ticket: both are what a server keeps outside its process.  The
 * client has a certificate, so that the longest field is in the bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define PIPE_SIZE (1 << 16)
#define TEN_YEARS (10L * 365 * 86400)
#define MAX_ROUNDS 20

static const unsigned char ID_CONTEXT[] = "recorded";
static const char HOST_NAME[] = "sessions.example";

/* The session that the server made last; new_session owns the reference. */
static SSL_SESSION *server_session;

static void fail(const char *what)
{
    fprintf(stderr, "record: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static X509 *self_signed(EVP_PKEY *key, const char *name)
{
    X509 *cert = X509_new();
    X509_NAME *subject = X509_NAME_new();

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), TEN_YEARS);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_subject_name(cert, subject);
    X509_set_issuer_name(cert, subject);
    X509_set_pubkey(cert, key);
    if (X509_sign(cert, key, EVP_sha256()) == 0)
        fail("X509_sign");
    X509_NAME_free(subject);
    return cert;
}

static SSL_CTX *new_context(const SSL_METHOD *method, int version,
                            const char *name)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = self_signed(key, name);

    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_timeout(ctx, TEN_YEARS);
    if (SSL_CTX_use_certificate(ctx, cert) != 1
        || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        fail("SSL_CTX_use_certificate");
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

static int accept_any_certificate(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static int new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(server_session);
    server_session = session;
    return 1;
}

static SSL_CTX *new_server(int version)
{
    SSL_CTX *ctx = new_context(TLS_server_method(), version, "recorded server");

    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_session_id_context(ctx, ID_CONTEXT, sizeof(ID_CONTEXT) - 1);
    SSL_CTX_set_session_cache_mode(
        ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       accept_any_certificate);
    SSL_CTX_sess_set_new_cb(ctx, new_session);
    return ctx;
}

/* One byte from the server makes the client read its TLS 1.3 ticket. */
static void read_ticket(SSL *server, SSL *client)
{
    char byte;

    if (SSL_write(server, "x", 1) != 1 || SSL_read(client, &byte, 1) != 1)
        fail("exchange of a byte");
}

static void handshake(SSL *server, SSL *client)
{
    int server_done = 0, client_done = 0, round;

    for (round = 0; round < MAX_ROUNDS && !(server_done && client_done);
         round++) {
        ERR_clear_error();
        client_done = SSL_do_handshake(client) == 1;
        server_done = SSL_do_handshake(server) == 1;
    }
    if (!server_done || !client_done)
        fail("handshake");
}

static void write_session(SSL_SESSION *session, const char *dir,
                          const char *tls, const char *side)
{
    char path[512];
    unsigned char *der = NULL;
    int size = i2d_SSL_SESSION(session, &der);
    FILE *file;

    snprintf(path, sizeof(path), "%s/openssl-%s-%s-%s.der", dir,
             OpenSSL_version(OPENSSL_VERSION_STRING), tls, side);
    file = fopen(path, "wb");
    if (size <= 0 || file == NULL || fwrite(der, 1, size, file) != (size_t)size
        || fclose(file) != 0)
        fail(path);
    OPENSSL_free(der);
    printf("%s: %d bytes\n", path, size);
}

static void record(int version, const char *tls, const char *dir)
{
    SSL_CTX *server_ctx = new_server(version);
    SSL_CTX *client_ctx =
        new_context(TLS_client_method(), version, "recorded client");
    SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
    SSL_SESSION *client_session;
    BIO *server_bio, *client_bio;

    if (BIO_new_bio_pair(&server_bio, PIPE_SIZE, &client_bio, PIPE_SIZE) != 1)
        fail("BIO_new_bio_pair");
    SSL_set_bio(server, server_bio, server_bio);
    SSL_set_bio(client, client_bio, client_bio);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    SSL_set_tlsext_host_name(client, HOST_NAME);
    handshake(server, client);
    read_ticket(server, client);

    client_session = SSL_get1_session(client);
    if (server_session == NULL || client_session == NULL)
        fail("no session was made");
    write_session(server_session, dir, tls, "server");
    write_session(client_session, dir, tls, "client");

    SSL_SESSION_free(client_session);
    SSL_SESSION_free(server_session);
    server_session = NULL;
    SSL_set_shutdown(server, SSL_SENT_SHUTDOWN);
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN);
    SSL_free(server);
    SSL_free(client);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: record DIR\n");
        return 2;
    }
    record(TLS1_2_VERSION, "tls1.2", argv[1]);
    record(TLS1_3_VERSION, "tls1.3", argv[1]);
    return 0;
}
