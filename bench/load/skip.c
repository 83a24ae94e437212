/*
 * What a load generator need not do. These functions carry the names of
 * libcrypto's, and the program exports them (-rdynamic), so libssl's calls come
 * here. The server sees the same handshakes and does the same work.
 */
#include <dlfcn.h>
#include <string.h>

#include <openssl/evp.h>

#include "load.h"

unsigned long skipped_verify, skipped_keygen;

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
        void *f = dlsym(RTLD_NEXT, "EVP_PKEY_keygen");

        if (f == NULL)
            return 0;
        memcpy(&real, &f, sizeof real);
        if (real(ctx, &share) <= 0)
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
