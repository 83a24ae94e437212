/* R18: lookups cost the peer nothing. A ClientHello made by hand. */
#include "harness.h"

#include <openssl/rand.h>

typedef struct writer {
    unsigned char *start;
    unsigned char *at;
} writer;

static void put8(writer *w, unsigned int v)
{
    *w->at++ = (unsigned char)v;
}

static void put16(writer *w, unsigned int v)
{
    put8(w, v >> 8);
    put8(w, v);
}

static void put_fill(writer *w, int byte, size_t n)
{
    memset(w->at, byte, n);
    w->at += n;
}

/* Fills in a length field of n bytes that precedes what w has written since. */
static void close_length(writer *w, unsigned char *field, int n)
{
    size_t len = (size_t)(w->at - field) - (size_t)n;

    while (n-- > 0) {
        field[n] = (unsigned char)len;
        len >>= 8;
    }
}

static unsigned char *open_length(writer *w, int n)
{
    unsigned char *field = w->at;

    put_fill(w, 0, (size_t)n);
    return field;
}

/* The extensions that a TLS 1.3 server asks for, with made-up key share. */
static void put_extensions(writer *w)
{
    put16(w, TLSEXT_TYPE_supported_versions);
    put16(w, 3);
    put8(w, 2);
    put16(w, TLS1_3_VERSION);
    put16(w, TLSEXT_TYPE_supported_groups);
    put16(w, 4);
    put16(w, 2);
    put16(w, 29);                   /* x25519 */
    put16(w, TLSEXT_TYPE_signature_algorithms);
    put16(w, 4);
    put16(w, 2);
    put16(w, 0x0403);               /* ecdsa_secp256r1_sha256 */
    put16(w, TLSEXT_TYPE_key_share);
    put16(w, 38);
    put16(w, 36);
    put16(w, 29);
    put16(w, 32);
    put_fill(w, 9, 32);
    put16(w, TLSEXT_TYPE_psk_kex_modes);
    put16(w, 2);
    put8(w, 1);
    put8(w, 1);                     /* psk_dhe_ke */
}

/* Random 32-byte identities, each with a ticket age of 0, and no binder. */
static void put_identities(writer *w, int count)
{
    unsigned char *extension, *list;

    put16(w, TLSEXT_TYPE_psk);
    extension = open_length(w, 2);
    list = open_length(w, 2);
    while (count-- > 0) {
        put16(w, 32);
        RAND_bytes(w->at, 32);
        w->at += 32;
        put_fill(w, 0, 4);
    }
    close_length(w, list, 2);
    close_length(w, extension, 2);
}

static void put_client_hello(writer *w, int identities)
{
    unsigned char *message, *extensions;

    put8(w, SSL3_MT_CLIENT_HELLO);
    message = open_length(w, 3);
    put16(w, TLS1_2_VERSION);
    put_fill(w, 1, SSL3_RANDOM_SIZE);
    put8(w, 0);                     /* no session id */
    put16(w, 2);
    put16(w, 0x1302);               /* TLS_AES_256_GCM_SHA384 */
    put8(w, 1);
    put8(w, 0);                     /* no compression */
    extensions = open_length(w, 2);
    put_extensions(w);
    put_identities(w, identities);
    close_length(w, extensions, 2);
    close_length(w, message, 3);
}

/* Cuts a handshake message into plain-text records. */
static void write_records(BIO *to, const unsigned char *message, size_t len)
{
    while (len > 0) {
        size_t n = len < 16000 ? len : 16000;
        unsigned char header[] = {
            SSL3_RT_HANDSHAKE, 3, 1, (unsigned char)(n >> 8), (unsigned char)n
        };

        BIO_write(to, header, sizeof(header));
        BIO_write(to, message, (int)n);
        message += n;
        len -= n;
    }
}

static void offer_many(report *r, int identities)
{
    SSL_CTX *server = new_stateful_server(TLS1_3_VERSION);
    unsigned char *bytes = malloc(1 << 17);
    writer w = { bytes, bytes };
    BIO *in = BIO_new(BIO_s_mem());
    recorder rec;
    SSL *ssl;
    int ret;

    SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_SERVER
                                   | SSL_SESS_CACHE_NO_INTERNAL);
    record(&rec, r, server, RECORD_GET);
    put_client_hello(&w, identities);
    write_records(in, w.start, (size_t)(w.at - w.start));
    ssl = SSL_new(server);
    SSL_set_bio(ssl, in, BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl);
    ret = SSL_do_handshake(ssl);
    check(r, ret <= 0 && rec.get_calls == identities,
          "one ClientHello of %zu bytes with %d identities and no binder:"
          " %d calls", (size_t)(w.at - w.start), identities, rec.get_calls);
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(server);
    free(bytes);
}

/* TLS 1.2 offers one id, and that costs no proof either. */
static void offer_one_unproved(report *r)
{
    scene sc;
    SSL_SESSION *s;
    connection c;

    scene_open(&sc, r, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(sc.server, SSL_SESS_CACHE_SERVER
                                   | SSL_SESS_CACHE_NO_INTERNAL);
    s = full_handshake(sc.server, sc.client);
    c = new_connection(sc.server, sc.client, s);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    check(r, sc.rec.get_calls == 1,
          "TLS 1.2: one ClientHello that proves nothing: %d call",
          sc.rec.get_calls);
    close_abruptly(&c);
    SSL_SESSION_free(s);
    scene_close(&sc);
}

static void contract_R18(report *r)
{
    offer_one_unproved(r);
    offer_many(r, 3);
    offer_many(r, 1700);
}

const rule flood_rules[] = {
    { "R18", contract_R18, 0 },
    { NULL, NULL, 0 },
};
