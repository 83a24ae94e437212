/*
 * Writes sessions that no server has made, from one that a server made: seeds
 * for the fuzzing of what decodes sessions.
 *
 *   D=../../internal/chost/contract
 *   cc -Wall -Wextra -I$D -o malform malform.c $D/der_edit.c -lcrypto
 *   ./malform openssl-3.0.19-tls1.3-server.der malformed
 */
#include <stdio.h>

#include "der_edit.h"

#define MAX_FILE 4096

static const unsigned char zeros[513];

typedef struct octets_change {
    const char *name;
    session_field field;
    const void *bytes;
    size_t len;
} octets_change;

static const octets_change octets_changes[] = {
    { "id-empty", FIELD_ID, zeros, 0 },
    { "id-33-bytes", FIELD_ID, zeros, 33 },
    { "id-context-33-bytes", FIELD_ID_CONTEXT, zeros, 33 },
    { "master-key-empty", FIELD_MASTER_KEY, zeros, 0 },
    { "master-key-512-bytes", FIELD_MASTER_KEY, zeros, 512 },
    { "master-key-513-bytes", FIELD_MASTER_KEY, zeros, 513 },
    { "cipher-unknown", FIELD_CIPHER, "\x7f\x7f", 2 },
    { "cipher-3-bytes", FIELD_CIPHER, zeros, 3 },
    { "peer-no-certificate", FIELD_PEER, "\x30\x00", 2 },
};

typedef struct integer_change {
    const char *name;
    session_field field;
    int64_t value;
} integer_change;

static const integer_change integer_changes[] = {
    { "structure-version-2", FIELD_STRUCTURE_VERSION, 2 },
    { "protocol-0309", FIELD_PROTOCOL, 0x0309 },
    { "protocol-dtls", FIELD_PROTOCOL, 0xfefd },
    { "time-negative", FIELD_TIME, -1 },
    { "time-greatest", FIELD_TIME, INT64_MAX },
    { "timeout-zero", FIELD_TIMEOUT, 0 },
    { "timeout-negative", FIELD_TIMEOUT, -1 },
    { "timeout-greatest", FIELD_TIMEOUT, INT64_MAX },
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static der read_file(const char *path)
{
    der d = { malloc(MAX_FILE), 0 };
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        fail(path);
    d.len = (int)fread(d.bytes, 1, MAX_FILE, f);
    fclose(f);
    return d;
}

static void write_file(const char *dir, const char *name, der d)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.der", dir, name);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(d.bytes, 1, (size_t)d.len, f) != (size_t)d.len
        || fclose(f) != 0)
        fail(path);
    free(d.bytes);
}

int main(int argc, char **argv)
{
    const char *dir;
    size_t i;
    der d;

    if (argc != 3) {
        fprintf(stderr, "usage: malform SESSION.der DIR\n");
        return 2;
    }
    d = read_file(argv[1]);
    dir = argv[2];
    for (i = 0; i < sizeof(octets_changes) / sizeof(*octets_changes); i++) {
        const octets_change *c = &octets_changes[i];

        /* A certificate is not a string: its field holds it as it is. */
        write_file(dir, c->name,
                   c->field == FIELD_PEER
                       ? with_field(d, c->field, c->bytes, c->len)
                       : with_octets(d, c->field, c->bytes, c->len));
    }
    for (i = 0; i < sizeof(integer_changes) / sizeof(*integer_changes); i++) {
        const integer_change *c = &integer_changes[i];

        write_file(dir, c->name, with_integer(d, c->field, c->value));
    }
    write_file(dir, "trailing-bytes", with_trailing_bytes(d, "\xff\xff", 2));
    write_file(dir, "indefinite-length", with_indefinite_length(d));
    write_file(dir, "truncated", first_bytes(d, (size_t)d.len / 2));
    write_file(dir, "empty", first_bytes(d, 0));
    free(d.bytes);
    return 0;
}
