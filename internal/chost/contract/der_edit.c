/* An encoded session is one SEQUENCE: finds and replaces its fields. */
#include "der_edit.h"

#include <openssl/asn1.h>

/* Where a field stands in the bytes; start == end: where it would stand. */
typedef struct place {
    long start;
    long content;
    long end;
} place;

static der new_der(size_t len)
{
    der d = { malloc(len == 0 ? 1 : len), (int)len };

    return d;
}

/* The place of the element at an offset. Only valid DER comes here. */
static place element_at(der d, long at)
{
    const unsigned char *p = d.bytes + at;
    long len;
    int tag, class;
    place e = { at, at, at };

    if (ASN1_get_object(&p, &len, &tag, &class, d.len - at) & 0x80)
        abort();
    e.content = p - d.bytes;
    e.end = e.content + len;
    return e;
}

static int is_optional(session_field field)
{
    return field > FIELD_MASTER_KEY;
}

static place find_field(der d, session_field field)
{
    place sequence = element_at(d, 0);
    place e = { sequence.content, sequence.content, sequence.content };
    unsigned int index;
    long at = sequence.content;

    for (index = 0; at < sequence.end; index++, at = e.end) {
        e = element_at(d, at);
        if (is_optional(field) ? d.bytes[at] == field : index == field)
            return e;
        if (is_optional(field) && d.bytes[at] > field)
            break;
    }
    e.start = e.content = e.end = at;
    return e;
}

int has_field(der d, session_field field)
{
    place e = find_field(d, field);

    return e.end > e.start;
}

static unsigned char *append(unsigned char *to, const void *from, size_t len)
{
    if (len > 0)
        memcpy(to, from, len);
    return to + len;
}

der with_field(der d, session_field field, const void *content, size_t len)
{
    place sequence = element_at(d, 0);
    place e = find_field(d, field);
    int first = is_optional(field) ? (int)field : d.bytes[e.start];
    int tag = first & V_ASN1_PRIMITIVE_TAG;
    int constructed = (first & V_ASN1_CONSTRUCTED) != 0;
    long before = e.start - sequence.content;
    long after = sequence.end - e.end;
    int element = ASN1_object_size(constructed, (int)len, tag);
    int inner = (int)(before + element + after);
    der out = new_der((size_t)ASN1_object_size(1, inner, V_ASN1_SEQUENCE));
    unsigned char *p = out.bytes;

    ASN1_put_object(&p, 1, inner, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    p = append(p, d.bytes + sequence.content, (size_t)before);
    ASN1_put_object(&p, constructed, (int)len, tag, first & V_ASN1_PRIVATE);
    p = append(p, content, len);
    append(p, d.bytes + e.end, (size_t)after);
    return out;
}

der with_integer(der d, session_field field, int64_t value)
{
    ASN1_INTEGER *integer = ASN1_INTEGER_new();
    unsigned char *element = NULL;
    place e;
    der whole, out;

    ASN1_INTEGER_set_int64(integer, value);
    whole.len = i2d_ASN1_INTEGER(integer, &element);
    whole.bytes = element;
    e = element_at(whole, 0);
    if (is_optional(field))
        out = with_field(d, field, element, (size_t)whole.len);
    else
        out = with_field(d, field, element + e.content,
                         (size_t)(e.end - e.content));
    OPENSSL_free(element);
    ASN1_INTEGER_free(integer);
    return out;
}

der with_octets(der d, session_field field, const void *bytes, size_t len)
{
    ASN1_OCTET_STRING *octets;
    unsigned char *element = NULL;
    int size;
    der out;

    if (!is_optional(field))
        return with_field(d, field, bytes, len);
    octets = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(octets, bytes, (int)len);
    size = i2d_ASN1_OCTET_STRING(octets, &element);
    out = with_field(d, field, element, (size_t)size);
    OPENSSL_free(element);
    ASN1_OCTET_STRING_free(octets);
    return out;
}

der with_trailing_bytes(der d, const void *bytes, size_t len)
{
    der out = new_der((size_t)d.len + len);

    append(append(out.bytes, d.bytes, (size_t)d.len), bytes, len);
    return out;
}

der with_indefinite_length(der d)
{
    static const unsigned char start[] = { 0x30, 0x80 };
    static const unsigned char end[] = { 0, 0 };
    place sequence = element_at(d, 0);
    size_t inner = (size_t)(sequence.end - sequence.content);
    der out = new_der(sizeof(start) + inner + sizeof(end));
    unsigned char *p = append(out.bytes, start, sizeof(start));

    p = append(p, d.bytes + sequence.content, inner);
    append(p, end, sizeof(end));
    return out;
}

der first_bytes(der d, size_t len)
{
    der out = new_der(len);

    append(out.bytes, d.bytes, len);
    return out;
}
