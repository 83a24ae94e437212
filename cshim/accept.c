/*
 * What a get callback may hand to libssl, whatever the store answered. A wrong
 * session is not always a miss there: some end the handshake, some crash.
 */
#include <string.h>
#include <openssl/asn1.h>
#include "shim.h"

/* A clock this far ahead of ours is tolerated, as is a lifetime up to a year. */
enum { CLOCK_SKEW = 300, LONGEST_LIFE = 366 * 24 * 3600 };

/*
 * A fresh object each time, and no byte left over. A NULL with an empty queue
 * is possible (a field too long), so NULL alone is the sign of failure.
 */
SSL_SESSION *sc_decode(const unsigned char *der, size_t len)
{
    const unsigned char *p = der;
    SSL_SESSION *s;

    if (len == 0 || len > LONG_MAX)
        return NULL;
    s = d2i_SSL_SESSION(NULL, &p, (long)len);
    if (s == NULL)
        return NULL;
    if (p != der + len || SSL_SESSION_get0_cipher(s) == NULL) {
        SSL_SESSION_free(s);
        return NULL;
    }
    return s;
}

static int expired(const SSL_SESSION *s)
{
    int64_t now = sc_clock();
    int64_t made = sc_session_time(s);
    int64_t life = SSL_SESSION_get_timeout(s);

    /* Negative and huge values mean "never" to some versions of libssl. */
    if (made <= 0 || made > now + CLOCK_SKEW || life <= 0 || life > LONGEST_LIFE)
        return 1;
    return made + life < now + sc_counts_fractions();
}

static int suits_version(int want, const SSL_SESSION *s)
{
    int version = SSL_SESSION_get_protocol_version(s);
    int suite13 = strcmp(SSL_CIPHER_get_version(SSL_SESSION_get0_cipher(s)), "TLSv1.3") == 0;

    return version == want && suite13 == (version == TLS1_3_VERSION);
}

/*
 * A TLS 1.2 client that did not offer the session's cipher: libssl would fail.
 * In the get callback SSL_client_hello_get0_ciphers is empty, and the raw list is
 * not; in that of the ClientHello it is the other way round.
 */
static int cipher_offered(SSL *ssl, const SSL_SESSION *s)
{
    uint16_t want = SSL_CIPHER_get_protocol_id(SSL_SESSION_get0_cipher(s));
    const unsigned char *p;
    unsigned char *raw;
    long n, i;

    n = (long)SSL_client_hello_get0_ciphers(ssl, &p);
    if (n == 0) {
        n = SSL_get0_raw_cipherlist(ssl, &raw);
        p = raw;
    }
    for (i = 0; i + 1 < n; i += 2)
        if ((p[i] << 8 | p[i + 1]) == want)
            return 1;
    return 0;
}

/*
 * Whether the session used the extended master secret. There is no accessor;
 * the encoding has it as bit 0 of the integer under the context tag 13.
 */
static int has_ems(const SSL_SESSION *s)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    long len;
    int n, tag, class, ems = 0;

    ERR_set_mark();
    n = i2d_SSL_SESSION(s, NULL);
    if (n > 0)
        der = OPENSSL_malloc((size_t)n);
    if (der != NULL) {
        unsigned char *q = der;
        const unsigned char *end;

        i2d_SSL_SESSION(s, &q);
        p = der;
        end = der + n;
        if ((ASN1_get_object(&p, &len, &tag, &class, n) & 0x80) == 0) {
            while (p < end) {
                if ((ASN1_get_object(&p, &len, &tag, &class, end - p) & 0x80) != 0)
                    break;
                if (class == V_ASN1_CONTEXT_SPECIFIC && tag == 13 && len > 0)
                    ems = p[len - 1] & 1;
                p += len;
            }
        }
        OPENSSL_clear_free(der, (size_t)n);
    }
    ERR_pop_to_mark();
    return ems;
}

static int ems_offered(SSL *ssl)
{
    const unsigned char *p;
    size_t n;

    return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_extended_master_secret, &p, &n);
}

/* Nobody is asked for a certificate on a resumption. */
int sc_lacks_peer(const SSL *ssl, const SSL_SESSION *s)
{
    return (SSL_get_verify_mode(ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) != 0
        && SSL_SESSION_get0_peer((SSL_SESSION *)s) == NULL;
}

/*
 * 0, or why the session may not be returned for this id in a handshake of this
 * version. sid_ctx_len is -1 where the context of the SSL is not known (libssl
 * compares it then).
 */
int sc_refuse(SSL *ssl, int version, const SSL_SESSION *s, const unsigned char *id, int len,
              const unsigned char *sid_ctx, int sid_ctx_len)
{
    const unsigned char *p;
    unsigned int n;

    if (SSL_SESSION_get0_cipher(s) == NULL)
        return SC_NO_CIPHER;
    p = SSL_SESSION_get_id(s, &n);
    if (n != (unsigned int)len || memcmp(p, id, n) != 0)
        return SC_WRONG_ID;
    p = SSL_SESSION_get0_id_context(s, &n);
    if (sid_ctx_len >= 0
        && (n != (unsigned int)sid_ctx_len || memcmp(p, sid_ctx, n) != 0))
        return SC_WRONG_CONTEXT;
    /* libssl ends the handshake over this one. */
    if (n == 0 && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) != 0)
        return SC_WRONG_CONTEXT;
    if (!suits_version(version, s))
        return SC_WRONG_VERSION;
    if (expired(s))
        return SC_PAST;
    if (!SSL_SESSION_is_resumable(s))
        return SC_NOT_RESUMABLE;
    if (SSL_SESSION_get_master_key(s, NULL, 0) == 0)
        return SC_MALFORMED;
    if (sc_lacks_peer(ssl, s))
        return SC_NO_PEER;
    if (version < TLS1_3_VERSION) {
        if (!cipher_offered(ssl, s))
            return SC_CIPHER_NOT_OFFERED;
        if (!ems_offered(ssl) && has_ems(s))
            return SC_EMS_MISSING;
    }
    return 0;
}
