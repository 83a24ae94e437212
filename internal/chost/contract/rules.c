/*
 * The table of rules, and the run of one of them. A section file ends with its
 * rules and its children, each ended by a NULL name; they are named here.
 */
#include "harness.h"
#include "parts.h"

#include <pthread.h>
#include <stdio.h>

extern const rule new_rules[];
extern const rule when_rules[];
extern const rule get_rules[];
extern const rule answer_rules[];
extern const rule share_rules[];
extern const rule flood_rules[];
extern const rule remove_rules[];
extern const rule inside_rules[];
extern const rule capacity_rules[];
extern const rule reason_rules[];
extern const rule ctx_rules[];
extern const rule sni_rules[];
extern const rule suspend_rules[];
extern const rule hello_rules[];
extern const rule serialize_rules[];
extern const rule decode_rules[];
extern const rule times_rules[];
extern const rule recorded_rules[];
extern const rule errors_rules[];
extern const rule threads_rules[];
extern const child_scenario get_children[];
extern const child_scenario answer_children[];
extern const child_scenario share_children[];
extern const child_scenario inside_children[];

static const rule *const rule_sections[] = {
    new_rules,
    when_rules,
    get_rules,
    answer_rules,
    share_rules,
    flood_rules,
    remove_rules,
    inside_rules,
    capacity_rules,
    reason_rules,
    ctx_rules,
    sni_rules,
    suspend_rules,
    hello_rules,
    serialize_rules,
    decode_rules,
    times_rules,
    recorded_rules,
    errors_rules,
    threads_rules,
    NULL,
};

static int run_as_process(report *unused);

static const child_scenario rule_children[] = {
    { "rule", run_as_process, NULL },
    { NULL, NULL, NULL },
};

static const child_scenario *const child_sections[] = {
    rule_children,
    get_children,
    answer_children,
    share_children,
    inside_children,
    NULL,
};

const rule *rule_at(int index)
{
    const rule *const *section;
    const rule *x;

    for (section = rule_sections; *section != NULL; section++)
        for (x = *section; x->name != NULL; x++)
            if (index-- == 0)
                return x;
    return NULL;
}

const child_scenario *find_child_scenario(const char *name)
{
    const child_scenario *const *section;
    const child_scenario *x;

    for (section = child_sections; *section != NULL; section++)
        for (x = *section; x->name != NULL; x++)
            if (strcmp(x->name, name) == 0)
                return x;
    return NULL;
}

static const rule *find_rule(const char *name)
{
    const rule *x;
    int i;

    for (i = 0; (x = rule_at(i)) != NULL; i++)
        if (strcmp(x->name, name) == 0)
            return x;
    return NULL;
}

/* What every rule owes: nothing of it is alive. */
static void check_balance(report *r)
{
    check(r, objects_alive(r, OBJECT_SESSION) == 0,
          "balance: %d SSL_SESSION alive after the rule",
          objects_alive(r, OBJECT_SESSION));
    check(r, objects_alive(r, OBJECT_SSL) == 0,
          "balance: %d SSL alive after the rule",
          objects_alive(r, OBJECT_SSL));
    check(r, objects_alive(r, OBJECT_CTX) == 0,
          "balance: %d SSL_CTX alive after the rule",
          objects_alive(r, OBJECT_CTX));
}

report *rule_run(const char *name)
{
    const rule *x = find_rule(name);
    report *r;

    if (x == NULL)
        return NULL;
    r = report_new();
    objects_bind(r);
    ERR_clear_error();
    x->run(r);
    join_lock_probes(r);
    check_balance(r);
    objects_bind(NULL);
    ERR_clear_error();
    return r;
}

/* 1 when every check of the rule holds; the others are printed. */
static int run_and_print(const char *name)
{
    report *r = rule_run(name);
    int i, passed = 1;

    for (i = 0; i < report_count(r); i++) {
        if (report_ok(r, i))
            continue;
        passed = 0;
        printf("%s: %s:%d: %s\n", name, report_file(r, i), report_line(r, i),
               report_text(r, i));
    }
    printf("%s %s, %d checks\n", passed ? "ok  " : "FAIL", name,
           report_count(r));
    fflush(stdout);
    report_free(r);
    return passed;
}

/* The argument is a rule's name or "all". Exit status 0: every check holds. */
static int run_as_process(report *unused)
{
    const char *wanted = child_argument();
    const rule *x;
    int i, found = 0, failed = 0;

    for (i = 0; wanted != NULL && (x = rule_at(i)) != NULL; i++) {
        if (strcmp(wanted, "all") != 0 && strcmp(wanted, x->name) != 0)
            continue;
        found = 1;
        failed |= !run_and_print(x->name);
    }
    report_free(unused);
    harness_stop();
    return found && !failed ? 0 : 1;
}

static void start_once(void)
{
    objects_start();
    recorder_start();
    certificates_start();
}

void harness_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, start_once);
}

void harness_stop(void)
{
    certificates_stop();
}
