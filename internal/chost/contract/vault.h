/*
 * A vault is a server whose sessions live in bytes alone, and these bytes are
 * the test's to choose: `made` is what new_session_cb saw in the last full
 * handshake, `served` is what get_session_cb decodes, whatever the id.
 */
#ifndef CONTRACT_VAULT_H
#define CONTRACT_VAULT_H

#include "harness.h"

typedef struct vault {
    recorder rec;
    report *report;
    int version;
    SSL_CTX *server;
    SSL_CTX *client;
    SSL_SESSION *client_session; /* of the full handshake */
    der made;
    der served;  /* borrowed */
    int refused; /* served bytes that did not decode */
    X509 *leaf;  /* the client's certificate, if it has one */
} vault;

void vault_start(vault *v, report *r, int version);
void vault_stop(vault *v);

/*
 * From now on the client has a certificate and the server asks for it and
 * accepts it, whoever signed it. The root and the intermediate are the
 * server's and the client's: a client with a chain sends two certificates.
 */
void vault_ask_for_certificate(vault *v, int chain);

/* A full handshake that sets made and client_session. 1 for success. */
int vault_fill(vault *v);

/* A connection that offers the client's session; bytes are borrowed. */
connection vault_connection(vault *v, der bytes);

/* The whole of such a connection. */
attempt vault_resume(vault *v, der bytes);

#endif
