/*
 * Virtual hosts. The ClientHello names a host; Go chooses the context for it
 * while the handshake is suspended, and the SSL adopts it here.
 *
 * SSL_set_SSL_CTX changes the certificate, the id context, and what libssl reads
 * from the SSL_CTX when it needs it: the trust store, the names of the CAs,
 * ciphers, ALPN. All else the SSL copied when it was made, and would go on as
 * the first context had it: a host that asks for certificates would ask for
 * none. So it is set again, in one place; a test looks at every field of a
 * Config from both sides. Groups are set when the choice is made, not before.
 */
#include <string.h>
#include "shim.h"

enum { SERVER_NAME = 0, GROUPS = 10, POINTS = 11, SIGALGS = 13, ALPN = 16, VERSIONS = 43 };

/* ---- what the ClientHello says, for the choice ---- */

static unsigned char *put(unsigned char *p, unsigned int type, const unsigned char *data, size_t n)
{
    *p++ = (unsigned char)(type >> 8);
    *p++ = (unsigned char)type;
    *p++ = (unsigned char)(n >> 8);
    *p++ = (unsigned char)n;
    if (n > 0)
        memcpy(p, data, n);
    return p + n;
}

/*
 * The bodies of the extensions that the choice may look at, each behind two
 * bytes of type and two of length; the cipher suites first, as type 0xffff.
 */
void sc_hello_describe(sc_conn *c)
{
    static const unsigned int types[] = { SERVER_NAME, GROUPS, POINTS, SIGALGS, ALPN, VERSIONS };
    const unsigned char *data, *suites;
    size_t n, i, total, suites_len;
    unsigned char *p;

    suites_len = SSL_client_hello_get0_ciphers(c->ssl, &suites);
    total = 4 + suites_len;
    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (SSL_client_hello_get0_ext(c->ssl, types[i], &data, &n))
            total += 4 + n;
    OPENSSL_free(c->hello_text);
    c->hello_text_len = 0;
    c->hello_text = p = OPENSSL_malloc(total);
    if (p == NULL)
        return;
    p = put(p, 0xffff, suites, suites_len);
    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (SSL_client_hello_get0_ext(c->ssl, types[i], &data, &n))
            p = put(p, types[i], data, n);
    c->hello_text_len = total;
}

/* ---- the switch ---- */

int sc_conn_adopt(sc_conn *c, sc_context *host, sc_errors *e)
{
    uint64_t options = SSL_CTX_get_options(host->ctx);
    SSL *ssl = c->ssl;
    int ok;

    sc_errors_clear();
    ok = SSL_set_SSL_CTX(ssl, host->ctx) != NULL
        && SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(host->ctx)) == 1
        && SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(host->ctx)) == 1
        && SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(host->ctx)) == 1
        && SSL_set_max_early_data(ssl, SSL_CTX_get_max_early_data(host->ctx)) == 1;
    if (!ok) {
        sc_errors_take(e);
        return 0;
    }
    SSL_clear_options(ssl, SSL_get_options(ssl) & ~options);
    SSL_set_options(ssl, options);
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(host->ctx), NULL);
    SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(host->ctx));
    c->host = host;
    return 1;
}
