/*
 * Ids of new sessions that Go chose. They are handed over before the step that
 * may need one, so that nothing of Go runs inside OpenSSL; without one, and for
 * an SSL that is none of ours, the id is random, as libssl would make it.
 */
#include <string.h>
#include <openssl/rand.h>
#include "shim.h"

enum { ID = SSL_MAX_SSL_SESSION_ID_LENGTH };

int sc_make_id(SSL *ssl, unsigned char *id, unsigned int *len)
{
    sc_conn *c = sc_conn_of(ssl);

    if (c == NULL || c->ids_len < ID || *len != ID)
        return RAND_bytes(id, (int)*len) == 1;
    c->ids_len -= ID;
    memcpy(id, c->ids + c->ids_len, ID);
    return 1;
}

int sc_conn_ids(sc_conn *c, const unsigned char *ids, size_t n)
{
    unsigned char *p = OPENSSL_realloc(c->ids, c->ids_len + n * ID);

    if (p == NULL)
        return 0;
    memcpy(p + c->ids_len, ids, n * ID);
    c->ids = p;
    c->ids_len += n * ID;
    return 1;
}
