/* R54: times and timeouts that no server has written. */
#include "der_edit.h"
#include "vault.h"

/* Since OpenSSL 3.2 session times are unsigned nanoseconds of 64 bits. */
static int has_nanosecond_times(void)
{
    return OpenSSL_version_num() >= 0x30200000UL;
}

#define YEAR (365 * 86400L)

typedef enum {
    EXPIRED,         /* a full handshake */
    LIVES,           /* resumes, and ends within a century */
    LIVES_A_CENTURY, /* resumes, and does not */
} lifetime;

typedef struct time_case {
    const char *what;
    session_field field;
    int64_t value;
    int from_now; /* 1: value is an offset from the current time */
    lifetime in_seconds;
    lifetime in_nanoseconds;
} time_case;

/* The timeout of all but the first three is the default of two hours. */
static const time_case time_cases[] = {
    { "timeout -1", FIELD_TIMEOUT, -1, 0, EXPIRED, LIVES_A_CENTURY },
    { "least timeout", FIELD_TIMEOUT, INT64_MIN, 0, EXPIRED, EXPIRED },
    { "greatest timeout", FIELD_TIMEOUT, INT64_MAX, 0, LIVES_A_CENTURY,
      LIVES_A_CENTURY },
    { "time 0", FIELD_TIME, 0, 0, LIVES, LIVES },
    { "time 1", FIELD_TIME, 1, 0, EXPIRED, EXPIRED },
    { "time -1", FIELD_TIME, -1, 0, LIVES_A_CENTURY, LIVES_A_CENTURY },
    { "least time", FIELD_TIME, INT64_MIN, 0, LIVES_A_CENTURY, EXPIRED },
    { "greatest time", FIELD_TIME, INT64_MAX, 0, LIVES_A_CENTURY,
      LIVES_A_CENTURY },
    { "time in ten years", FIELD_TIME, 10 * YEAR, 1, LIVES, LIVES },
};

/* Whether the session would be in a cache still when a century has passed. */
static int outlives_century(der d)
{
    SSL_CTX *ctx = new_server(TLS1_2_VERSION, TLS1_2_VERSION);
    SSL_SESSION *s = decode(d);
    long left;

    SSL_CTX_add_session(ctx, s);
    flush_sessions(ctx, (long)time(NULL) + 100 * YEAR);
    left = SSL_CTX_sess_number(ctx);
    SSL_SESSION_free(s);
    SSL_CTX_free(ctx);
    return left == 1;
}

static void check_time_case(vault *v, const time_case *t)
{
    static const char *const names[] = { "expired", "lives on",
                                         "lives for more than a century" };
    lifetime expected =
        has_nanosecond_times() ? t->in_nanoseconds : t->in_seconds;
    int64_t now = t->from_now ? time(NULL) : 0;
    der d = with_integer(v->made, t->field, now + t->value);
    attempt a = vault_resume(v, d);

    check(v->report, v->refused == 0, "%s, %s: decodes",
          version_name(v->version), t->what);
    check(v->report, a.completed && a.resumed == (expected != EXPIRED),
          "%s, %s: %s", version_name(v->version), t->what, names[expected]);
    if (expected != EXPIRED)
        check(v->report, outlives_century(d) == (expected == LIVES_A_CENTURY),
              "%s, %s: %s", version_name(v->version), t->what, names[expected]);
    free_der(&d);
}

static SSL_SESSION *decode_with_timeout(der d, int64_t timeout)
{
    der changed = with_integer(d, FIELD_TIMEOUT, timeout);
    SSL_SESSION *s = decode(changed);

    free_der(&changed);
    return s;
}

static void check_decoded_timeouts(vault *v)
{
    SSL_SESSION *zero = decode_with_timeout(v->made, 0);
    SSL_SESSION *negative = decode_with_timeout(v->made, -1);
    long timeout = SSL_SESSION_get_timeout(negative);

    check(v->report, SSL_SESSION_get_timeout(zero) == 3,
          "%s: timeout 0 decodes as 3", version_name(v->version));
    if (has_nanosecond_times())
        check(v->report, timeout / YEAR > 580 && timeout / YEAR < 590,
              "%s: timeout -1 decodes as %ld years", version_name(v->version),
              timeout / YEAR);
    else
        check(v->report, timeout == -1, "%s: timeout -1 decodes as itself",
              version_name(v->version));
    SSL_SESSION_free(zero);
    SSL_SESSION_free(negative);
}

static void judge_times(report *r, int version)
{
    size_t i;
    vault v;

    vault_start(&v, r, version);
    vault_fill(&v);
    for (i = 0; i < sizeof(time_cases) / sizeof(*time_cases); i++)
        check_time_case(&v, &time_cases[i]);
    check_decoded_timeouts(&v);
    vault_stop(&v);
}

static void contract_R54(report *r)
{
    for_each_version(r, judge_times);
}

const rule times_rules[] = {
    { "R54", contract_R54, 0 },
    { NULL, NULL, 0 }
};
