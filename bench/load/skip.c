/*
 * What a load generator need not do. These functions carry the names of
 * libcrypto's, and the program exports them (-rdynamic), so libssl's calls come
 * here. The server sees the same handshakes and does the same work.
 */
#include <dlfcn.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "load.h"

unsigned long skipped_verify, skipped_keygen, skipped_parse;

/* The next definition of a function of this name, which is libcrypto's. False:
 * there is none. */
static bool find_real(const char *name, void *function)
{
    void *f = dlsym(RTLD_NEXT, name);

    memcpy(function, &f, sizeof f);
    return f != NULL;
}

/* The server's signature is taken for good: who it is does not matter here. */
int EVP_DigestVerify(EVP_MD_CTX *ctx, const unsigned char *sig, size_t sig_len,
                     const unsigned char *tbs, size_t tbs_len)
{
    (void)ctx;
    (void)sig;
    (void)sig_len;
    (void)tbs;
    (void)tbs_len;
    skipped_verify++;
    return 1;
}

/* One X25519 key share for all connections: the client's secrets guard nothing.
 * The shared secret is computed anew each time, as the server's share is new. */
int EVP_PKEY_keygen(EVP_PKEY_CTX *ctx, EVP_PKEY **key)
{
    static int (*real)(EVP_PKEY_CTX *, EVP_PKEY **);
    static EVP_PKEY *share;

    if (share == NULL) {
        if ((real == NULL && !find_real("EVP_PKEY_keygen", &real)) || real(ctx, &share) <= 0)
            return 0;
        if (!EVP_PKEY_is_a(share, "X25519")) {
            *key = share;      /* not what this is for */
            share = NULL;
            return 1;
        }
    } else {
        skipped_keygen++;
    }
    if (!EVP_PKEY_up_ref(share))
        return 0;
    *key = share;
    return 1;
}

/* The server's certificate is parsed once: in OpenSSL 3.0 that is dear, as its
 * public key goes through all decoders. */
X509 *d2i_X509(X509 **x, const unsigned char **in, long len)
{
    static X509 *(*real)(X509 **, const unsigned char **, long);
    static struct {
        X509 *x;
        unsigned char *der;
        long len;
    } last;
    const unsigned char *der = *in;
    X509 *parsed;

    if (last.x != NULL && x != NULL && len == last.len && memcmp(der, last.der, (size_t)len) == 0) {
        if (!X509_up_ref(last.x))
            return NULL;
        X509_free(*x);
        *x = last.x;
        *in += len;
        skipped_parse++;
        return last.x;
    }
    if (real == NULL && !find_real("d2i_X509", &real))
        return NULL;
    parsed = real(x, in, len);
    if (parsed == NULL || len <= 0 || *in != der + len || !X509_up_ref(parsed))
        return parsed;
    X509_free(last.x);
    OPENSSL_free(last.der);
    last.x = parsed;
    last.len = len;
    last.der = OPENSSL_memdup(der, (size_t)len);
    if (last.der == NULL) {
        X509_free(last.x);
        last.x = NULL;
    }
    return parsed;
}
