/* Results of rules: a growing list of checks with their place in the source. */
#include "harness.h"
#include "report.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct result {
    const char *file;
    int line;
    int ok;
    char *text;
} result;

struct report {
    pthread_mutex_t mutex;
    result *results;
    int count;
    int capacity;
    lock_probe *probes;
};

report *report_new(void)
{
    report *r = calloc(1, sizeof(*r));

    pthread_mutex_init(&r->mutex, NULL);
    return r;
}

void report_free(report *r)
{
    int i;

    if (r == NULL)
        return;
    for (i = 0; i < r->count; i++)
        free(r->results[i].text);
    free(r->results);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static void append(report *r, result x)
{
    pthread_mutex_lock(&r->mutex);
    if (r->count == r->capacity) {
        r->capacity = r->capacity == 0 ? 32 : 2 * r->capacity;
        r->results = realloc(r->results, r->capacity * sizeof(*r->results));
    }
    r->results[r->count++] = x;
    pthread_mutex_unlock(&r->mutex);
}

int check_at(report *r, const char *file, int line, int ok,
             const char *format, ...)
{
    result x = { file, line, ok, NULL };
    va_list args;

    va_start(args, format);
    if (vasprintf(&x.text, format, args) < 0)
        abort();
    va_end(args);
    append(r, x);
    return ok;
}

int report_count(const report *r)
{
    return r->count;
}

int report_ok(const report *r, int index)
{
    return r->results[index].ok;
}

int report_line(const report *r, int index)
{
    return r->results[index].line;
}

const char *report_file(const report *r, int index)
{
    return r->results[index].file;
}

const char *report_text(const report *r, int index)
{
    return r->results[index].text;
}

lock_probe **report_probes(report *r)
{
    return &r->probes;
}

const char *version_name(int version)
{
    return version == TLS1_3_VERSION ? "TLS 1.3" : "TLS 1.2";
}

void for_each_version(report *r, void (*scenario)(report *r, int version))
{
    scenario(r, TLS1_2_VERSION);
    scenario(r, TLS1_3_VERSION);
}
