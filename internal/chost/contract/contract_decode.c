/* R50 to R52: bytes that no server has written. */
#include "der_edit.h"
#include "vault.h"

/* ---- R50 ---- */

static void refuse_truncations(report *r, int version)
{
    int len, accepted = 0, silent = 0;
    SSL_SESSION *s;
    vault v;

    vault_start(&v, r, version);
    vault_fill(&v);
    for (len = 0; len < v.made.len; len++) {
        der start = first_bytes(v.made, (size_t)len);

        ERR_clear_error();
        s = decode(start);
        accepted += s != NULL;
        silent += s == NULL && ERR_peek_error() == 0;
        SSL_SESSION_free(s);
        free_der(&start);
    }
    ERR_clear_error();
    check(r, accepted == 0, "%s: %d of %d truncations are accepted",
          version_name(version), accepted, v.made.len);
    check(r, silent == 0, "%s: %d are refused without an error",
          version_name(version), silent);
    vault_stop(&v);
}

/* xorshift: the same mutations in every run. */
typedef struct generator {
    uint64_t state;
} generator;

static size_t below(generator *g, size_t limit)
{
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return (size_t)(g->state % limit);
}

static void move_bytes(generator *g, unsigned char *bytes, size_t len)
{
    size_t from = below(g, len), to = below(g, len), n = below(g, 8);

    if (from + n < len && to + n < len)
        memmove(bytes + to, bytes + from, n);
}

static void mutate_once(generator *g, der *d)
{
    static const unsigned char odd_lengths[] = {
        0, 0x7f, 0x80, 0x81, 0x84, 0xff
    };
    size_t len = (size_t)d->len;

    switch (below(g, 6)) {
    case 0:
        d->bytes[below(g, len)] ^= (unsigned char)(1 << below(g, 8));
        break;
    case 1:
        d->bytes[below(g, len)] = (unsigned char)below(g, 256);
        break;
    case 2:
        d->len -= (int)below(g, len / 4 + 1);
        break;
    case 3:
        move_bytes(g, d->bytes, len);
        break;
    case 4:
        d->bytes[below(g, len)] = odd_lengths[below(g, sizeof(odd_lengths))];
        break;
    case 5: /* the outer length, the version, the cipher */
        d->bytes[below(g, len < 24 ? len : 24)] = (unsigned char)below(g, 256);
        break;
    }
}

/* In a block of its exact size, so that a tool sees a read past it. */
static der mutation_of(generator *g, der d)
{
    der copy = first_bytes(d, (size_t)d.len);
    der exact;
    size_t n;

    for (n = 1 + below(g, 3); n > 0; n--)
        mutate_once(g, &copy);
    exact = first_bytes(copy, (size_t)copy.len);
    free_der(&copy);
    return exact;
}

/* Calls what reads a session's fields. */
static void read_session(SSL_SESSION *s)
{
    BIO *nowhere = BIO_new(BIO_s_null());
    der again = encode(s);

    SSL_SESSION_print(nowhere, s);
    SSL_SESSION_free(SSL_SESSION_dup(s));
    free_der(&again);
    BIO_free(nowhere);
}

#define MUTATIONS 1000
#define SERVED_MUTATIONS 80

typedef struct outcomes {
    int accepted, refused;
    int served, resumed, full, failed;
} outcomes;

static void serve_mutation(vault *v, der bytes, outcomes *o)
{
    attempt a = vault_resume(v, bytes);

    o->served++;
    if (!a.completed)
        o->failed++;
    else if (a.resumed)
        o->resumed++;
    else
        o->full++;
}

static void try_mutation(vault *v, der bytes, outcomes *o)
{
    SSL_SESSION *s = decode(bytes);

    if (s == NULL) {
        o->refused++;
        return;
    }
    o->accepted++;
    read_session(s);
    SSL_SESSION_free(s);
    if (o->served < SERVED_MUTATIONS)
        serve_mutation(v, bytes, o);
}

/*
 * There is nothing to compare here but that the process lives and the outcomes
 * add up; the tools that watch memory see the rest.
 */
static void survive_mutations(report *r, int version)
{
    const char *name = version_name(version);
    generator g = { 88172645463325252u };
    outcomes o = { 0, 0, 0, 0, 0, 0 };
    int i;
    vault v;

    vault_start(&v, r, version);
    vault_ask_for_certificate(&v, 0);
    vault_fill(&v);
    for (i = 0; i < MUTATIONS; i++) {
        der bytes = mutation_of(&g, v.made);

        try_mutation(&v, bytes, &o);
        free_der(&bytes);
    }
    ERR_clear_error();
    check(r,
          o.accepted > 0 && o.refused > 0
              && o.accepted + o.refused == MUTATIONS,
          "%s: of %d mutations %d decode, %d are refused", name, MUTATIONS,
          o.accepted, o.refused);
    check(r, o.served == SERVED_MUTATIONS && o.resumed > 0,
          "%s: of %d served in handshakes %d resume and %d give a full one",
          name, o.served, o.resumed, o.full);
    check(r, o.failed > 0, "%s: %d fail the handshake instead of missing", name,
          o.failed);
    vault_stop(&v);
}

static void contract_R50(report *r)
{
    for_each_version(r, refuse_truncations);
    for_each_version(r, survive_mutations);
}

/* ---- R51, R52 ---- */

#define FILLER NULL /* content that does not matter: zeros */
#define MAX_FILLER 513

typedef enum { DECODES, REFUSED_SILENTLY, REFUSED_WITH_ERROR } verdict;

typedef struct changed_field {
    const char *what;
    session_field field;
    const char *content;
    size_t len;
    verdict verdict;
} changed_field;

static const changed_field silent_fields[] = {
    { "id of 33 bytes", FIELD_ID, FILLER, 33, REFUSED_SILENTLY },
    { "id context of 33 bytes", FIELD_ID_CONTEXT, FILLER, 33,
      REFUSED_SILENTLY },
    { "master key of 513 bytes", FIELD_MASTER_KEY, FILLER, 513,
      REFUSED_SILENTLY },
    { "unknown cipher", FIELD_CIPHER, "\x7f\x7f", 2, REFUSED_SILENTLY },
};

static const changed_field other_fields[] = {
    { "id of no bytes", FIELD_ID, FILLER, 0, DECODES },
    { "master key of no bytes", FIELD_MASTER_KEY, FILLER, 0, DECODES },
    { "master key of 512 bytes", FIELD_MASTER_KEY, FILLER, 512, DECODES },
    { "protocol 0x0309", FIELD_PROTOCOL, "\x03\x09", 2, DECODES },
    { "protocol DTLS 1.2", FIELD_PROTOCOL, "\x00\xfe\xfd", 3, DECODES },
    { "protocol 0x0200", FIELD_PROTOCOL, "\x02\x00", 2, REFUSED_WITH_ERROR },
    { "structure version 2", FIELD_STRUCTURE_VERSION, "\x02", 1,
      REFUSED_WITH_ERROR },
    { "cipher of 3 bytes", FIELD_CIPHER, FILLER, 3, REFUSED_WITH_ERROR },
};

static der change(der d, const changed_field *f)
{
    static const unsigned char zeros[MAX_FILLER];
    const void *content =
        f->content == FILLER ? (const void *)zeros : f->content;

    return with_octets(d, f->field, content, f->len);
}

static verdict judge(der d)
{
    SSL_SESSION *s;
    verdict result;

    ERR_clear_error();
    s = decode(d);
    if (s != NULL)
        result = DECODES;
    else
        result = ERR_peek_error() == 0 ? REFUSED_SILENTLY : REFUSED_WITH_ERROR;
    SSL_SESSION_free(s);
    ERR_clear_error();
    return result;
}

static void check_fields(vault *v, const changed_field *fields, size_t count)
{
    static const char *const verdicts[] = { "decodes",
                                            "refused with an empty error queue",
                                            "refused with an error" };
    size_t i;

    for (i = 0; i < count; i++) {
        der d = change(v->made, &fields[i]);

        check(v->report, judge(d) == fields[i].verdict, "%s, %s: %s",
              version_name(v->version), fields[i].what,
              verdicts[fields[i].verdict]);
        free_der(&d);
    }
}

/* In a get_cb, bytes that do not decode are a miss and no more. */
static void check_refused_is_a_miss(vault *v, const changed_field *f)
{
    der d = change(v->made, f);
    attempt a = vault_resume(v, d);

    check(v->report, v->refused == 1 && a.completed && !a.resumed,
          "%s, %s: in get_cb it gives a full handshake",
          version_name(v->version), f->what);
    free_der(&d);
}

static void refuse_silently(report *r, int version)
{
    size_t i, count = sizeof(silent_fields) / sizeof(*silent_fields);
    vault v;

    vault_start(&v, r, version);
    vault_fill(&v);
    check_fields(&v, silent_fields, count);
    for (i = 0; i < count; i++)
        check_refused_is_a_miss(&v, &silent_fields[i]);
    vault_stop(&v);
}

static void contract_R51(report *r)
{
    for_each_version(r, refuse_silently);
}

static void check_decodes_and_resumes(vault *v, const char *what, der d)
{
    attempt a;

    check(v->report, judge(d) == DECODES, "%s, %s: decodes",
          version_name(v->version), what);
    a = vault_resume(v, d);
    check(v->report, a.completed && a.resumed, "%s, %s: resumes",
          version_name(v->version), what);
}

static void accept_trailing_bytes(vault *v)
{
    der d = with_trailing_bytes(v->made, "\xff\xff\xff", 3);
    const unsigned char *p = d.bytes;
    SSL_SESSION *s = d2i_SSL_SESSION(NULL, &p, d.len);

    check(v->report, s != NULL && p == d.bytes + v->made.len,
          "%s: d2i stops where the session ends", version_name(v->version));
    SSL_SESSION_free(s);
    check_decodes_and_resumes(v, "trailing bytes", d);
    free_der(&d);
}

static void accept_ber(vault *v)
{
    der d = with_indefinite_length(v->made);

    check_decodes_and_resumes(v, "indefinite length", d);
    free_der(&d);
}

static void accept_and_refuse(report *r, int version)
{
    vault v;

    vault_start(&v, r, version);
    vault_fill(&v);
    check_fields(&v, other_fields,
                 sizeof(other_fields) / sizeof(*other_fields));
    accept_trailing_bytes(&v);
    accept_ber(&v);
    vault_stop(&v);
}

static void encode_without_cipher(report *r)
{
    SSL_SESSION *s = SSL_SESSION_new();

    check(r, i2d_SSL_SESSION(s, NULL) == 0,
          "a session without a cipher encodes to nothing");
    SSL_SESSION_free(s);
}

static void contract_R52(report *r)
{
    for_each_version(r, accept_and_refuse);
    encode_without_cipher(r);
}

const rule decode_rules[] = { { "R50", contract_R50, 0 },
                              { "R51", contract_R51, 0 },
                              { "R52", contract_R52, 0 },
                                                        { NULL, NULL, 0 } };
