/* Changes one field of an encoded session, as anyone could who can write it. */
#ifndef CONTRACT_DER_EDIT_H
#define CONTRACT_DER_EDIT_H

#include "harness.h"

#include <stdint.h>

/*
 * The fields of an encoded session. The first five always stand, in this
 * order; the others are optional and known by their tag.
 */
typedef enum {
    FIELD_STRUCTURE_VERSION,
    FIELD_PROTOCOL,
    FIELD_CIPHER,
    FIELD_ID,
    FIELD_MASTER_KEY,
    FIELD_TIME = 0xa1,
    FIELD_TIMEOUT = 0xa2,
    FIELD_PEER = 0xa3,
    FIELD_ID_CONTEXT = 0xa4,
    FIELD_VERIFY_RESULT = 0xa5,
    FIELD_AGE_ADD = 0xae
} session_field;

/* 1 when the field is there. */
int has_field(der d, session_field field);

/*
 * A copy whose field holds these bytes, inserted when it was not there. The
 * bytes of an optional field are a whole DER element. Free with free_der.
 */
der with_field(der d, session_field field, const void *content, size_t len);

/* The same for a field that is an integer or an octet string. */
der with_integer(der d, session_field field, int64_t value);
der with_octets(der d, session_field field, const void *bytes, size_t len);

/* A copy with bytes behind its end. */
der with_trailing_bytes(der d, const void *bytes, size_t len);

/* The same session in BER: a length that is not definite. */
der with_indefinite_length(der d);

/* A copy of the first len bytes. */
der first_bytes(der d, size_t len);

#endif
