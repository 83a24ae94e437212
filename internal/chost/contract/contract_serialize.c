/* R47 to R49 and R53: what an encoded session holds, and what it decides. */
#include "der_edit.h"
#include "vault.h"

/* ---- R47 ---- */

typedef enum { NO_CERTIFICATE, LEAF_ALONE, WITH_CHAIN } client_kind;

/* What one size is made of besides the leaf, and how far versions differ. */
#define SIZE_WITHOUT_LEAF 160
#define SIZE_AROUND_LEAF 24

static int size_of_session(report *r, int version, client_kind kind,
                           int *leaf_size)
{
    int size;
    vault v;

    vault_start(&v, r, version);
    if (kind != NO_CERTIFICATE)
        vault_ask_for_certificate(&v, kind == WITH_CHAIN);
    vault_fill(&v);
    size = v.made.len;
    *leaf_size = v.leaf == NULL ? 0 : i2d_X509(v.leaf, NULL);
    vault_stop(&v);
    return size;
}

static void check_sizes(report *r, int version)
{
    const char *name = version_name(version);
    int leaf, bare, alone, chain;

    bare = size_of_session(r, version, NO_CERTIFICATE, &leaf);
    check(r, bare > 100 && bare < SIZE_WITHOUT_LEAF,
          "%s: %d bytes without a client certificate", name, bare);
    alone = size_of_session(r, version, LEAF_ALONE, &leaf);
    check(r, alone > bare + leaf && alone < bare + leaf + SIZE_AROUND_LEAF,
          "%s: %d bytes with a certificate of %d", name, alone, leaf);
    chain = size_of_session(r, version, WITH_CHAIN, &leaf);
    check(r, chain > bare + leaf && chain < bare + leaf + SIZE_AROUND_LEAF,
          "%s: %d bytes when the client sends its issuer too", name, chain);
}

static int certificates_in(const STACK_OF(X509) * chain)
{
    return chain == NULL ? 0 : sk_X509_num(chain);
}

static void lose_chain(report *r, int version)
{
    const char *name = version_name(version);
    connection c;
    vault v;

    vault_start(&v, r, version);
    vault_ask_for_certificate(&v, 1);
    c = new_connection(v.server, v.client, NULL);
    check(r, handshake(&c) && exchange(&c), "%s: a full handshake", name);
    check(r, certificates_in(SSL_get_peer_cert_chain(c.server)) == 1,
          "%s: the server has what the client sent above its leaf", name);
    check(r, certificates_in(SSL_get0_verified_chain(c.server)) == 3,
          "%s: and the chain up to the root", name);
    v.client_session = SSL_get1_session(c.client);
    close_cleanly(&c);

    c = vault_connection(&v, v.made);
    check(r, handshake(&c) && SSL_session_reused(c.server),
          "%s: resumed from the bytes", name);
    check(r, X509_cmp(SSL_get0_peer_certificate(c.server), v.leaf) == 0,
          "%s: the leaf is there", name);
    check(r,
          certificates_in(SSL_get_peer_cert_chain(c.server)) == 0
              && SSL_get0_verified_chain(c.server) == NULL,
          "%s: both chains are gone", name);
    close_cleanly(&c);
    vault_stop(&v);
}

static void contract_R47(report *r)
{
    for_each_version(r, check_sizes);
    for_each_version(r, lose_chain);
}

/* ---- R48 ---- */

#define HOST_NAME "kept.example"
#define PROTOCOL_NAME "http/1.1"
#define APPDATA "appdata"
#define EARLY_DATA 4096

static CRYPTO_ONCE mark_once = CRYPTO_ONCE_STATIC_INIT;
static int mark_index;
static char mark;

static void register_mark(void)
{
    mark_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static void mark_session(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    SSL_SESSION_set1_ticket_appdata(s, APPDATA, sizeof(APPDATA) - 1);
    SSL_SESSION_set_ex_data(s, mark_index, &mark);
}

static int accept_host_name(SSL *ssl, int *alert, void *arg)
{
    return SSL_TLSEXT_ERR_OK;
}

static int choose_protocol(SSL *ssl, const unsigned char **out,
                           unsigned char *out_len, const unsigned char *in,
                           unsigned int in_len, void *arg)
{
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

/* A server session with every field that a session can have. */
static SSL_SESSION *full_session(vault *v)
{
    static const unsigned char protocols[] = "\x08" PROTOCOL_NAME;
    connection c;

    CRYPTO_THREAD_run_once(&mark_once, register_mark);
    vault_ask_for_certificate(v, 0);
    SSL_CTX_set_tlsext_servername_callback(v->server, accept_host_name);
    SSL_CTX_set_alpn_select_cb(v->server, choose_protocol, NULL);
    SSL_CTX_set_max_early_data(v->server, EARLY_DATA);
    SSL_CTX_set_timeout(v->server, 1234);
    v->rec.on_new = mark_session;
    v->rec.keep = 1;
    c = new_connection(v->server, v->client, NULL);
    SSL_set_tlsext_host_name(c.client, HOST_NAME);
    SSL_set_alpn_protos(c.client, protocols, sizeof(protocols) - 1);
    check(v->report, handshake(&c) && exchange(&c), "%s: a full handshake",
          version_name(v->version));
    close_cleanly(&c);
    return v->rec.kept[0];
}

static int same_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

static int same_id_context(const SSL_SESSION *a, const SSL_SESSION *b)
{
    unsigned int a_len, b_len;
    const unsigned char *x = SSL_SESSION_get0_id_context(a, &a_len);
    const unsigned char *y = SSL_SESSION_get0_id_context(b, &b_len);

    return a_len == sizeof(ID_CONTEXT) - 1 && same_bytes(x, a_len, y, b_len);
}

static int same_master_key(const SSL_SESSION *a, const SSL_SESSION *b)
{
    unsigned char x[SSL_MAX_MASTER_KEY_LENGTH], y[SSL_MAX_MASTER_KEY_LENGTH];
    size_t x_len = SSL_SESSION_get_master_key(a, x, sizeof(x));
    size_t y_len = SSL_SESSION_get_master_key(b, y, sizeof(y));

    return x_len == sizeof(x) && same_bytes(x, x_len, y, y_len);
}

static int has_protocol_name(const SSL_SESSION *s)
{
    const unsigned char *name;
    size_t len;

    SSL_SESSION_get0_alpn_selected(s, &name, &len);
    return same_bytes(name, len, PROTOCOL_NAME, sizeof(PROTOCOL_NAME) - 1);
}

static int has_appdata(SSL_SESSION *s)
{
    void *data;
    size_t len;

    return SSL_SESSION_get0_ticket_appdata(s, &data, &len)
        && same_bytes(data, len, APPDATA, sizeof(APPDATA) - 1);
}

static int has_host_name(const SSL_SESSION *s)
{
    const char *name = SSL_SESSION_get0_hostname(s);

    return name != NULL && strcmp(name, HOST_NAME) == 0;
}

static void check_kept(report *r, int version, SSL_SESSION *s,
                       SSL_SESSION *copy)
{
    const char *name = version_name(version);

    check(r, same_id(id_of(s), id_of(copy)) && id_of(s).len > 0, "%s: id",
          name);
    check(r, same_id_context(s, copy), "%s: session id context", name);
    check(r, same_master_key(s, copy), "%s: master key", name);
    check(r, SSL_SESSION_get0_cipher(copy) == SSL_SESSION_get0_cipher(s),
          "%s: cipher", name);
    check(r, SSL_SESSION_get_protocol_version(copy) == version,
          "%s: protocol version", name);
    check(r, session_time(copy) == session_time(s), "%s: time", name);
    check(r, SSL_SESSION_get_timeout(copy) == 1234, "%s: timeout", name);
    check(r,
          X509_cmp(SSL_SESSION_get0_peer(s), SSL_SESSION_get0_peer(copy)) == 0,
          "%s: the peer's certificate", name);
    check(r, has_host_name(s) && has_host_name(copy), "%s: host name", name);
    check(r, has_protocol_name(s) && has_protocol_name(copy), "%s: ALPN", name);
    check(r, has_appdata(s) && has_appdata(copy), "%s: ticket appdata", name);
    check(r,
          SSL_SESSION_get_max_early_data(copy)
              == (version == TLS1_3_VERSION ? EARLY_DATA : 0),
          "%s: the limit of early data", name);
}

/* Fields without a function to read them: the bytes come back the same. */
static void check_bytes_kept(report *r, int version, der bytes,
                             SSL_SESSION *copy)
{
    der again = encode(copy);

    check(r, same_der(bytes, again), "%s: encoded again, the same bytes",
          version_name(version));
    check(r, has_field(bytes, FIELD_VERIFY_RESULT),
          "%s: the verify result is among them", version_name(version));
    check(r, has_field(bytes, FIELD_AGE_ADD) == (version == TLS1_3_VERSION),
          "%s: so is what hides a ticket's age, in TLS 1.3 alone",
          version_name(version));
    free_der(&again);
}

static void check_lost(report *r, int version, SSL_CTX *server, SSL_SESSION *s,
                       SSL_SESSION *copy)
{
    const char *name = version_name(version);
    SSL_SESSION *revived;
    der bytes;

    check(r,
          SSL_SESSION_get_ex_data(s, mark_index) == &mark
              && SSL_SESSION_get_ex_data(copy, mark_index) == NULL,
          "%s: ex_data is lost", name);
    SSL_CTX_remove_session(server, s);
    bytes = encode(s);
    revived = decode(bytes);
    check(r, !SSL_SESSION_is_resumable(s) && SSL_SESSION_is_resumable(revived),
          "%s: a removed session is resumable again in its copy", name);
    SSL_SESSION_free(revived);
    free_der(&bytes);
}

static void keep_and_lose(report *r, int version)
{
    SSL_SESSION *s, *copy;
    der bytes;
    vault v;

    vault_start(&v, r, version);
    s = full_session(&v);
    if (!check(r, s != NULL, "%s: new_cb was called", version_name(version)))
        return;
    bytes = encode(s);
    copy = decode(bytes);
    check_kept(r, version, s, copy);
    check_bytes_kept(r, version, bytes, copy);
    check_lost(r, version, v.server, s, copy);
    SSL_SESSION_free(copy);
    free_der(&bytes);
    recorder_release(&v.rec);
    vault_stop(&v);
}

static void contract_R48(report *r)
{
    for_each_version(r, keep_and_lose);
}

/* ---- R49 ---- */

/* Whoever writes to the store gives a client a name it never proved. */
static void forge_peer(report *r, int version)
{
    const char *name = version_name(version);
    EVP_PKEY *key = new_key();
    X509 *admin = new_certificate(key, "admin");
    unsigned char *encoded = NULL;
    int len = i2d_X509(admin, &encoded);
    connection c;
    der forged;
    vault v;

    vault_start(&v, r, version);
    vault_fill(&v);
    check(r, !has_field(v.made, FIELD_PEER),
          "%s: the client has no certificate", name);
    forged = with_field(v.made, FIELD_PEER, encoded, (size_t)len);
    c = vault_connection(&v, forged);
    check(r, handshake(&c) && SSL_session_reused(c.server),
          "%s: resumed from the forged bytes", name);
    check(r, X509_cmp(SSL_get0_peer_certificate(c.server), admin) == 0,
          "%s: the certificate written into them is the peer", name);
    check(r, SSL_get_verify_result(c.server) == X509_V_OK,
          "%s: and its verify result is X509_V_OK", name);
    close_cleanly(&c);
    free_der(&forged);
    vault_stop(&v);
    OPENSSL_free(encoded);
    X509_free(admin);
    EVP_PKEY_free(key);
}

/* Nothing is verified again: a server that asks for certificates trusts it. */
static void forge_verify_result(report *r, int version)
{
    const char *name = version_name(version);
    connection c;
    long honest;
    der forged;
    vault v;

    vault_start(&v, r, version);
    vault_ask_for_certificate(&v, 0);
    vault_fill(&v);
    c = vault_connection(&v, v.made);
    check(r, handshake(&c) && SSL_session_reused(c.server), "%s: resumed",
          name);
    honest = SSL_get_verify_result(c.server);
    check(r, honest != X509_V_OK, "%s: the leaf was not verified, result %ld",
          name, honest);
    close_cleanly(&c);

    forged = with_integer(v.made, FIELD_VERIFY_RESULT, X509_V_OK);
    c = vault_connection(&v, forged);
    check(r, handshake(&c) && SSL_session_reused(c.server),
          "%s: resumed from the forged bytes", name);
    check(r, SSL_get_verify_result(c.server) == X509_V_OK,
          "%s: the result written into them is believed", name);
    close_cleanly(&c);
    free_der(&forged);
    vault_stop(&v);
}

static void contract_R49(report *r)
{
    for_each_version(r, forge_peer);
    for_each_version(r, forge_verify_result);
}

/* ---- R53 ---- */

/*
 * Decoding into an object that exists changes it in place, also when the bytes
 * are refused half-way, and leaves what bytes do not hold as it was.
 */
static void decode_into_session(report *r, int version)
{
    const char *name = version_name(version);
    static const unsigned char long_id[SSL_MAX_SSL_SESSION_ID_LENGTH + 1];
    const unsigned char *p;
    SSL_SESSION *mine, *target, *result;
    der refused;
    vault v;

    CRYPTO_THREAD_run_once(&mark_once, register_mark);
    vault_start(&v, r, version);
    vault_fill(&v);
    mine = decode(v.made);
    SSL_SESSION_set_ex_data(mine, mark_index, &mark);
    SSL_CTX_remove_session(v.server, mine);

    target = mine;
    p = v.made.bytes;
    result = d2i_SSL_SESSION(&target, &p, v.made.len);
    check(r, result == mine && target == mine, "%s: the object is used again",
          name);
    check(r,
          !SSL_SESSION_is_resumable(mine)
              && SSL_SESSION_get_ex_data(mine, mark_index) == &mark,
          "%s: and keeps its old mark of removal and its ex_data", name);

    SSL_SESSION_set_protocol_version(mine, DTLS1_2_VERSION);
    refused = with_field(v.made, FIELD_ID, long_id, sizeof(long_id));
    p = refused.bytes;
    result = d2i_SSL_SESSION(&target, &p, refused.len);
    check(r, result == NULL, "%s: bytes with an id of 33 bytes are refused",
          name);
    check(r,
          target == mine && SSL_SESSION_get_protocol_version(mine) == version,
          "%s: the object lives and has been changed all the same", name);

    result = decode(v.made);
    check(r,
          result != NULL && result != mine && SSL_SESSION_is_resumable(result),
          "%s: a NULL argument gives a fresh object", name);
    SSL_SESSION_free(result);
    SSL_SESSION_free(mine);
    free_der(&refused);
    vault_stop(&v);
}

static void contract_R53(report *r)
{
    for_each_version(r, decode_into_session);
}

const rule serialize_rules[] = { { "R47", contract_R47, 0 },
                                 { "R48", contract_R48, 0 },
                                 { "R49", contract_R49, 0 },
                                 { "R53", contract_R53, 0 },
                                 { NULL, NULL, 0 } };
