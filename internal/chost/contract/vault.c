/* Servers that resume from bytes which the test chose. */
#include "vault.h"

static void keep_bytes(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    vault *v = rec->arg;

    if (v->made.len == 0)
        v->made = encode(s);
}

static SSL_SESSION *serve_bytes(recorder *rec, SSL *ssl, session_id id)
{
    vault *v = rec->arg;
    SSL_SESSION *s;

    ERR_set_mark();
    s = decode(v->served);
    ERR_pop_to_mark();
    if (s == NULL)
        v->refused++;
    return s;
}

void vault_start(vault *v, report *r, int version)
{
    memset(v, 0, sizeof(*v));
    v->report = r;
    v->version = version;
    v->server = new_stateful_server(version);
    v->client = new_client(version, version);
    SSL_CTX_set_session_cache_mode(
        v->server, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    record(&v->rec, r, v->server, RECORD_NEW | RECORD_GET);
    v->rec.on_new = keep_bytes;
    v->rec.on_get = serve_bytes;
    v->rec.arg = v;
}

void vault_stop(vault *v)
{
    SSL_SESSION_free(v->client_session);
    SSL_CTX_free(v->client);
    SSL_CTX_free(v->server);
    X509_free(v->leaf);
    free_der(&v->made);
}

/* A certificate signed by an issuer. */
static X509 *issue(EVP_PKEY *key, const char *name, EVP_PKEY *issuer_key,
                   X509 *issuer)
{
    X509 *x = new_certificate(key, name);

    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    X509_sign(x, issuer_key, EVP_sha256());
    return x;
}

void vault_ask_for_certificate(vault *v, int chain)
{
    EVP_PKEY *root_key = new_key();
    EVP_PKEY *intermediate_key = new_key();
    EVP_PKEY *leaf_key = new_key();
    X509 *root = new_certificate(root_key, "root");
    X509 *intermediate =
        issue(intermediate_key, "intermediate", root_key, root);

    v->leaf = issue(leaf_key, "leaf", intermediate_key, intermediate);
    SSL_CTX_set_verify(v->server, SSL_VERIFY_PEER, accept_any_peer);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(v->server), root);
    SSL_CTX_use_certificate(v->client, v->leaf);
    SSL_CTX_use_PrivateKey(v->client, leaf_key);
    if (chain)
        SSL_CTX_add1_chain_cert(v->client, intermediate);
    X509_free(root);
    X509_free(intermediate);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(intermediate_key);
    EVP_PKEY_free(leaf_key);
}

int vault_fill(vault *v)
{
    SSL_SESSION_free(v->client_session);
    free_der(&v->made);
    v->client_session = full_handshake(v->server, v->client);
    return check(v->report, v->client_session != NULL && v->made.len > 0,
                 "%s: a full handshake makes a session",
                 version_name(v->version));
}

connection vault_connection(vault *v, der bytes)
{
    SSL_SESSION *offer = SSL_SESSION_dup(v->client_session);
    connection c = new_connection(v->server, v->client, offer);

    SSL_SESSION_free(offer);
    v->served = bytes;
    v->refused = 0;
    recorder_clear(&v->rec);
    return c;
}

attempt vault_resume(vault *v, der bytes)
{
    v->served = bytes;
    v->refused = 0;
    recorder_clear(&v->rec);
    return try_resume(v->server, v->client, v->client_session);
}
