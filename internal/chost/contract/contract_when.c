/* R3, R4: when new_session_cb is called, and how often. */
#include "harness.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdio.h>

/* ---- R3: when it is called, and how often --------------------------------- */

typedef struct call_place {
    long thread;
    int init_finished;
    int called_inside;              /* of the server's SSL_do_handshake */
    size_t flight;                  /* bytes that the client can read already */
} call_place;

static __thread int inside_library;

static int drive_marked(SSL *ssl)
{
    int ret;

    inside_library = SSL_is_server(ssl);
    ret = SSL_do_handshake(ssl);
    inside_library = 0;
    return ret;
}

static void note_place(recorder *rec, SSL *ssl, SSL_SESSION *s)
{
    call_place *place = rec->arg;

    place->thread = thread_id();
    place->init_finished = SSL_is_init_finished(ssl);
    place->called_inside = inside_library;
    place->flight = BIO_ctrl_wpending(SSL_get_wbio(ssl));
}

static void R3_place(report *r, int version)
{
    scene sc;
    call_place place = { 0 };
    connection c;

    scene_open(&sc, r, version);
    sc.rec.on_new = note_place;
    sc.rec.arg = &place;
    c = new_connection(sc.server, sc.client, NULL);
    c.drive = drive_marked;
    check(r, handshake(&c) && sc.rec.new_calls == 1, "%s: one call",
          version_name(version));
    check(r, place.called_inside, "%s: inside the server's SSL_do_handshake",
          version_name(version));
    check(r, place.thread == thread_id(), "%s: on the thread that drives",
          version_name(version));
    check(r, place.init_finished == 0, "%s: SSL_is_init_finished is 0 inside",
          version_name(version));
    if (version == TLS1_2_VERSION)
        check(r, place.flight > 0,
              "TLS 1.2: the final flight (%zu bytes) was written before",
              place.flight);
    close_cleanly(&c);
    scene_close(&sc);
}

/* How many calls one kind of server makes. */
typedef struct call_count {
    const char *what;
    int version;
    uint64_t options;
    int tickets;
    int full;                       /* calls in a full handshake */
    int resumed;                    /* and in a resumption */
} call_count;

static const call_count call_counts[] = {
    { "TLS 1.2 session id", TLS1_2_VERSION, SSL_OP_NO_TICKET, 2, 1, 0 },
    { "TLS 1.2 ticket", TLS1_2_VERSION, 0, 2, 0, 0 },
    { "TLS 1.3 stateless", TLS1_3_VERSION, 0, 2, 2, 1 },
    { "TLS 1.3 stateless, no tickets", TLS1_3_VERSION, 0, 0, 0, 0 },
    { "TLS 1.3 stateful", TLS1_3_VERSION, SSL_OP_NO_TICKET, 2, 2, 1 },
    { "TLS 1.3 stateful, 5 tickets", TLS1_3_VERSION, SSL_OP_NO_TICKET, 5, 5,
      1 },
};

static void check_wire_id(report *r, const call_count *want, recorder *rec,
                          SSL_SESSION *s)
{
    session_id id = rec->new_ids[rec->new_calls - 1];
    int on_the_wire = same_id(id, offered_id(s));
    int stateless = want->version == TLS1_3_VERSION && want->options == 0;

    check(r, id.len == 32, "%s: id of %u bytes", want->what, id.len);
    check(r, on_the_wire == !stateless, "%s: the client offers this id: %d",
          want->what, on_the_wire);
    if (rec->new_calls > 1)
        check(r, !same_id(rec->new_ids[0], rec->new_ids[1]),
              "%s: each ticket has an id of its own", want->what);
}

static void count_calls(report *r, const call_count *want)
{
    SSL_CTX *server = new_server(want->version, want->version);
    SSL_CTX *client = new_client(want->version, want->version);
    recorder rec;
    connection c;
    SSL_SESSION *s;
    attempt a;
    int in_handshake;

    SSL_CTX_set_options(server, want->options);
    SSL_CTX_set_num_tickets(server, (size_t)want->tickets);
    record(&rec, r, server, RECORD_NEW);
    c = new_connection(server, client, NULL);
    handshake(&c);
    in_handshake = rec.new_calls;
    exchange(&c);
    s = SSL_get1_session(c.client);
    close_cleanly(&c);
    check(r, in_handshake == want->full && rec.new_calls == want->full,
          "%s: %d calls, all within the handshake (%d)", want->what,
          rec.new_calls, in_handshake);
    if (want->full > 0)
        check_wire_id(r, want, &rec, s);
    recorder_clear(&rec);
    a = try_resume(server, client, s);
    check(r, a.completed && a.resumed == (want->tickets > 0)
             && rec.new_calls == want->resumed,
          "%s: %d calls when resuming (resumed: %d)", want->what,
          rec.new_calls, a.resumed);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

typedef struct mode_count {
    const char *what;
    int server;                     /* 0: the mode is the client's */
    long mode;
    int calls12;
    int calls13;
} mode_count;

static const mode_count mode_counts[] = {
    { "server OFF", 1, SSL_SESS_CACHE_OFF, 0, 0 },
    { "server CLIENT", 1, SSL_SESS_CACHE_CLIENT, 0, 0 },
    { "server NO_INTERNAL alone", 1, SSL_SESS_CACHE_NO_INTERNAL, 0, 0 },
    { "server SERVER", 1, SSL_SESS_CACHE_SERVER, 1, 2 },
    { "server SERVER and NO_INTERNAL", 1,
      SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL, 1, 2 },
    { "server SERVER and NO_INTERNAL_STORE", 1,
      SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL_STORE, 1, 2 },
    { "client SERVER", 0, SSL_SESS_CACHE_SERVER, 0, 0 },
    { "client CLIENT", 0, SSL_SESS_CACHE_CLIENT, 1, 2 },
    { "client CLIENT and NO_INTERNAL_STORE", 0,
      SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE, 1, 2 },
};

static void count_in_mode(report *r, const mode_count *want, int version)
{
    SSL_CTX *server = new_server(version, version);
    SSL_CTX *client = new_client(version, version);
    SSL_CTX *subject = want->server ? server : client;
    int calls = version == TLS1_2_VERSION ? want->calls12 : want->calls13;
    recorder rec;
    connection c;

    if (want->server)
        SSL_CTX_set_options(server, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(subject, want->mode);
    record(&rec, r, subject, RECORD_NEW);
    c = new_connection(server, client, NULL);
    check(r, handshake(&c) && exchange(&c) && rec.new_calls == calls,
          "%s, mode of the %s: %d calls", version_name(version), want->what,
          rec.new_calls);
    close_cleanly(&c);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* VERIFY_PEER without a session id context: nothing can be resumed. */
static void R3_no_id_context(report *r, int version)
{
    scene sc;
    connection c;

    scene_open(&sc, r, version);
    SSL_CTX_set_session_id_context(sc.server, NULL, 0);
    SSL_CTX_set_verify(sc.server, SSL_VERIFY_PEER, accept_any_peer);
    c = new_connection(sc.server, sc.client, NULL);
    check(r, handshake(&c) && exchange(&c) && sc.rec.new_calls == 0,
          "%s, VERIFY_PEER and no session id context: %d calls",
          version_name(version), sc.rec.new_calls);
    if (version == TLS1_3_VERSION)
        check(r, SSL_SESSION_has_ticket(SSL_get0_session(c.client)),
              "TLS 1.3: a ticket is sent all the same");
    close_cleanly(&c);
    scene_close(&sc);
}

static void R3_queued_ticket(report *r)
{
    scene sc;
    connection c;

    scene_open(&sc, r, TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(sc.server, 0);
    c = new_connection(sc.server, sc.client, NULL);
    handshake(&c);
    check(r, SSL_new_session_ticket(c.server) == 1 && sc.rec.new_calls == 0,
          "SSL_new_session_ticket only queues");
    check(r, SSL_write(c.server, "x", 1) == 1 && sc.rec.new_calls == 1,
          "the next SSL_write calls new_cb");
    close_cleanly(&c);
    scene_close(&sc);
}

static void R3_post_handshake(report *r)
{
    scene sc;
    connection c;

    scene_open_authentication(&sc, r);
    c = new_connection(sc.server, sc.client, NULL);
    check(r, handshake(&c) && exchange(&c) && sc.rec.new_calls == 2,
          "two tickets in the handshake");
    authenticate_later(&c);
    check(r, sc.rec.new_calls == 4,
          "%d calls after post-handshake authentication, inside SSL_read",
          sc.rec.new_calls);
    close_cleanly(&c);
    scene_close(&sc);
}

static void R3_client_13(report *r)
{
    SSL_CTX *server = new_server(TLS1_3_VERSION, TLS1_3_VERSION);
    SSL_CTX *client = new_client(TLS1_3_VERSION, TLS1_3_VERSION);
    recorder rec;
    connection c;
    SSL_SESSION *s;
    char byte;

    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
    record(&rec, r, client, RECORD_NEW);
    c = new_connection(server, client, NULL);
    check(r, handshake(&c) && rec.new_calls == 0,
          "TLS 1.3 client: no call within the handshake");
    SSL_read(c.client, &byte, 1);
    check(r, rec.new_calls == 2, "TLS 1.3 client: %d calls inside SSL_read",
          rec.new_calls);
    s = SSL_get1_session(c.client);
    close_cleanly(&c);
    recorder_clear(&rec);
    check(r, try_resume(server, client, s).resumed && rec.new_calls == 1,
          "TLS 1.3 client: %d call when resuming", rec.new_calls);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* A TLS 1.2 client that resumes by id or by the same ticket hears nothing. */
static void R3_client_12(report *r, uint64_t options, const char *what)
{
    SSL_CTX *server = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_CTX *client = new_client(TLS1_2_VERSION, TLS1_2_VERSION);
    recorder rec;
    SSL_SESSION *s;

    SSL_CTX_set_options(server, options);
    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
    record(&rec, r, client, RECORD_NEW);
    s = full_handshake(server, client);
    check(r, rec.new_calls == 1, "TLS 1.2 client, %s: one call", what);
    recorder_clear(&rec);
    check(r, try_resume(server, client, s).resumed && rec.new_calls == 0,
          "TLS 1.2 client, %s: %d calls when resuming", what, rec.new_calls);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* The client's id is made from the ticket, and no id of the server's. */
static void R3_client_id(report *r, int version)
{
    SSL_CTX *server = new_server(version, version);
    SSL_CTX *client = new_client(version, version);
    SSL_SESSION *s = full_handshake(server, client);
    session_id id = id_of(s);
    const unsigned char *ticket;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned int hash_len;
    size_t len;

    SSL_SESSION_get0_ticket(s, &ticket, &len);
    EVP_Digest(ticket, len, hash, &hash_len, EVP_sha256(), NULL);
    check(r, len > 0 && same_id(id, id_from(hash, hash_len)),
          "%s client: the id is the SHA-256 of the ticket",
          version_name(version));
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* Ticket keys under which every resumption asks for a new ticket. */
static int renewing_ticket_key(SSL *ssl, unsigned char name[16],
                               unsigned char *iv, EVP_CIPHER_CTX *cipher,
                               EVP_MAC_CTX *mac, int encrypt)
{
    static unsigned char key[32] = { 1 };
    static char digest[] = "SHA256";
    OSSL_PARAM params[3];

    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key,
                                                  sizeof(key));
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest,
                                                 0);
    params[2] = OSSL_PARAM_construct_end();
    EVP_MAC_CTX_set_params(mac, params);
    if (!encrypt) {
        EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, iv);
        return 2;
    }
    memset(name, 7, 16);
    RAND_bytes(iv, 16);
    EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, iv);
    return 1;
}

static void R3_renewed_ticket(report *r)
{
    SSL_CTX *server = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_CTX *client = new_client(TLS1_2_VERSION, TLS1_2_VERSION);
    recorder rec;
    connection c;
    SSL_SESSION *s;

    SSL_CTX_set_tlsext_ticket_key_evp_cb(server, renewing_ticket_key);
    SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
    record(&rec, r, client, RECORD_NEW | RECORD_REMOVE);
    s = full_handshake(server, client);
    check(r, rec.new_calls == 1, "TLS 1.2 client, ticket: one call");
    recorder_clear(&rec);
    c = new_connection(server, client, s);
    check(r, handshake(&c) && SSL_session_reused(c.client)
             && SSL_get0_session(c.client) != s,
          "TLS 1.2 client: resumed, with a renewed ticket in a new object");
    check(r, rec.new_calls == 0 && rec.remove_calls == 1,
          "TLS 1.2 client: the renewed session is never announced (%d calls),"
          " remove_cb for the old one: %d", rec.new_calls, rec.remove_calls);
    close_cleanly(&c);
    SSL_SESSION_free(s);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void contract_R3(report *r)
{
    size_t i;

    for_each_version(r, R3_place);
    for (i = 0; i < sizeof(call_counts) / sizeof(call_counts[0]); i++)
        count_calls(r, &call_counts[i]);
    for (i = 0; i < sizeof(mode_counts) / sizeof(mode_counts[0]); i++) {
        count_in_mode(r, &mode_counts[i], TLS1_2_VERSION);
        count_in_mode(r, &mode_counts[i], TLS1_3_VERSION);
    }
    for_each_version(r, R3_no_id_context);
    R3_queued_ticket(r);
    R3_post_handshake(r);
    R3_client_13(r);
    R3_client_12(r, SSL_OP_NO_TICKET, "session id");
    R3_client_12(r, 0, "ticket");
    for_each_version(r, R3_client_id);
    R3_renewed_ticket(r);
}

/* ---- R4: it precedes the write -------------------------------------------- */

/* A BIO whose writes all fail. */
static BIO *full_device(void)
{
    BIO *bio = BIO_new_file("/dev/full", "w");
    FILE *f = NULL;

    BIO_get_fp(bio, &f);
    if (f != NULL)
        setvbuf(f, NULL, _IONBF, 0);
    return bio;
}

/*
 * TLS 1.3: the client's Finished is there, but the server cannot write: the
 * session is announced, its ticket never leaves.
 */
static void R4_failed_write(report *r)
{
    scene sc;
    connection c;
    int ret;

    scene_open(&sc, r, TLS1_3_VERSION);
    c = new_connection(sc.server, sc.client, NULL);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    SSL_do_handshake(c.client);
    SSL_set0_wbio(c.server, full_device());
    ret = SSL_do_handshake(c.server);
    check(r, ret <= 0, "TLS 1.3: the write of the ticket failed (%d)", ret);
    check(r, sc.rec.new_calls == 1 && store_count(sc.store) == 1,
          "TLS 1.3: the session was announced all the same");
    close_abruptly(&c);
    scene_close(&sc);
}

/*
 * TLS 1.2 announces after the final flight was handed to the transport. That
 * the client reads it is another matter: here it never does.
 */
static void R4_never_read(report *r)
{
    scene sc;
    connection c;

    scene_open(&sc, r, TLS1_2_VERSION);
    c = new_connection(sc.server, sc.client, NULL);
    SSL_do_handshake(c.client);
    SSL_do_handshake(c.server);
    SSL_do_handshake(c.client);
    check(r, SSL_do_handshake(c.server) == 1 && sc.rec.new_calls == 1,
          "TLS 1.2: announced while the client has not read the Finished");
    check(r, SSL_in_init(c.client),
          "TLS 1.2: the client has no session to offer yet");
    close_abruptly(&c);
    scene_close(&sc);
}

static void contract_R4(report *r)
{
    R4_failed_write(r);
    R4_never_read(r);
}

const rule when_rules[] = {
    { "R3", contract_R3, 0 },
    { "R4", contract_R4, 0 },
    { NULL, NULL, 0 },
};
