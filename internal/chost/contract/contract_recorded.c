/* R55: sessions that other versions of OpenSSL wrote are resumed here. */
#include "harness.h"

#include <glob.h>
#include <stdio.h>

/* From the directory of this package, where its tests run. */
#define RECORDED "../../../testdata/sessions/"
#define SERVER_SUFFIX "server.der"
#define CLIENT_SUFFIX "client.der"
#define MAX_FILE 4096

static der read_file(const char *path)
{
    der d = { NULL, 0 };
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        return d;
    d.bytes = malloc(MAX_FILE);
    d.len = (int)fread(d.bytes, 1, MAX_FILE, f);
    fclose(f);
    return d;
}

/* The session of a file, as if it had just been made. */
static SSL_SESSION *load(const char *path)
{
    der d = read_file(path);
    SSL_SESSION *s = decode(d);

    if (s != NULL)
        set_session_time(s, (long)time(NULL));
    free_der(&d);
    return s;
}

static SSL_SESSION *load_client(const char *server_path)
{
    size_t stem = strlen(server_path) - (sizeof(SERVER_SUFFIX) - 1);
    char path[512];

    snprintf(path, sizeof(path), "%.*s" CLIENT_SUFFIX, (int)stem, server_path);
    return load(path);
}

static SSL_SESSION *serve_file(recorder *rec, SSL *ssl, session_id id)
{
    return load(rec->arg);
}

/* A server that would have made this session. */
static SSL_CTX *server_for(const SSL_SESSION *s)
{
    SSL_CTX *ctx = new_stateful_server(SSL_SESSION_get_protocol_version(s));
    unsigned int len;
    const unsigned char *id_context = SSL_SESSION_get0_id_context(s, &len);

    SSL_CTX_set_session_id_context(ctx, id_context, len);
    SSL_CTX_set_session_cache_mode(
        ctx, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_any_peer);
    return ctx;
}

static void resume_pair(report *r, char *path, SSL_SESSION *kept,
                        SSL_SESSION *offered)
{
    const char *name = path + sizeof(RECORDED) - 1;
    int version = SSL_SESSION_get_protocol_version(kept);
    SSL_CTX *server = server_for(kept);
    SSL_CTX *client = new_client(version, version);
    connection c;
    recorder rec;

    record(&rec, r, server, RECORD_GET);
    rec.on_get = serve_file;
    rec.arg = path;
    c = new_connection(server, client, offered);
    SSL_set_tlsext_host_name(c.client, SSL_SESSION_get0_hostname(offered));
    check(r, handshake(&c), "%s: the handshake completes", name);
    check(r, rec.get_calls == 1 && same_id(rec.get_id, id_of(kept)),
          "%s: get_cb is asked for the recorded id", name);
    check(r, SSL_session_reused(c.server) && SSL_session_reused(c.client),
          "%s: %s resumes it in %s", name, OpenSSL_version(OPENSSL_VERSION),
          version_name(version));
    check(r, SSL_get0_peer_certificate(c.server) != NULL,
          "%s: with the client's certificate", name);
    check(r, exchange(&c), "%s: data flows both ways", name);
    close_cleanly(&c);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

/* Returns the protocol version of the session, 0 when it cannot be read. */
static int try_file(report *r, char *path)
{
    SSL_SESSION *kept = load(path);
    SSL_SESSION *offered = load_client(path);
    int version = 0;

    if (check(r, kept != NULL && offered != NULL, "%s: both ends decode",
              path)) {
        version = SSL_SESSION_get_protocol_version(kept);
        resume_pair(r, path, kept, offered);
    }
    SSL_SESSION_free(kept);
    SSL_SESSION_free(offered);
    return version;
}

static void contract_R55(report *r)
{
    int tls12 = 0, tls13 = 0;
    glob_t found = { 0 };
    size_t i;

    glob(RECORDED "*-" SERVER_SUFFIX, 0, NULL, &found);
    for (i = 0; i < found.gl_pathc; i++) {
        int version = try_file(r, found.gl_pathv[i]);

        tls12 += version == TLS1_2_VERSION;
        tls13 += version == TLS1_3_VERSION;
    }
    globfree(&found);
    check(r, tls12 >= 2 && tls13 >= 2,
          "sessions of two versions of OpenSSL lie there: %d of TLS 1.2, %d of"
          " TLS 1.3",
          tls12, tls13);
}

const rule recorded_rules[] = { { "R55", contract_R55, 0 }, { NULL, NULL, 0 } };
