/*
 * Scenarios that end in a crash, in a hang, or that must own the allocator run
 * in a process of their own: the test binary itself, started again with
 * OPENSSL_CONTRACT_CHILD=SECONDS:SCENARIO[:ARGUMENT].
 *
 * The new process never becomes a Go program. A constructor of this file runs
 * before Go's entry point, plays the scenario in plain C on the only thread
 * and leaves with _exit. So a SIGSEGV is the kernel's verdict and not a Go
 * traceback, no fork of a threaded runtime is needed, and tools for C see an
 * ordinary C process. For them there is the scenario "rule" (rules.c): all rules
 * under memcheck, with no Go frame in sight, is
 *
 *     go test -c -o contract.test . &&
 *     OPENSSL_CONTRACT_CHILD=600:rule:all valgrind ./contract.test
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_VARIABLE "OPENSSL_CONTRACT_CHILD"
#define CHILD_UNKNOWN 120           /* exit status: no scenario of that name */

extern char **environ;

static char *argument;

const char *child_argument(void)
{
    return argument;
}

__attribute__((constructor)) static void become_child(void)
{
    char *value = getenv(CHILD_VARIABLE);
    char *name;
    const child_scenario *scenario;
    report *r;

    if (value == NULL)
        return;
    strtok(value, ":");
    name = strtok(NULL, ":");
    argument = strtok(NULL, ":");
    scenario = name == NULL ? NULL : find_child_scenario(name);
    if (scenario == NULL)
        _exit(CHILD_UNKNOWN);
    signal(SIGPIPE, SIG_IGN);       /* as the Go runtime has it for sockets */
    alarm((unsigned int)atoi(value));
    if (scenario->prepare != NULL)
        scenario->prepare();
    harness_start();
    r = report_new();
    objects_bind(r);
    _exit(scenario->run(r));
}

/* Copies the environment with the variables that the child needs in front. */
static char **child_environment(char *child, char *sanitizer)
{
    size_t n = 0, used = 0;
    char **env, **from;

    while (environ[n] != NULL)
        n++;
    env = calloc(n + 3, sizeof(*env));
    env[used++] = child;
    env[used++] = sanitizer;
    for (from = environ; *from != NULL; from++)
        if (strncmp(*from, "ASAN_OPTIONS=", 13) != 0)
            env[used++] = *from;
    return env;
}

/* No signal blocked or ignored, and nothing on the terminal. */
static int spawn_quietly(pid_t *pid, char *program, char **env)
{
    char *argv[] = { program, NULL };
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    error = posix_spawn(pid, program, &actions, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error == 0;
}

static child_result wait_for(pid_t pid)
{
    child_result result = { CHILD_LOST, 0 };
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return result;
    if (WIFSIGNALED(status)) {
        result.end = WTERMSIG(status) == SIGALRM ? CHILD_HUNG : CHILD_CRASHED;
    } else if (WEXITSTATUS(status) != CHILD_UNKNOWN) {
        result.end = CHILD_EXITED;
        result.status = WEXITSTATUS(status);
    }
    return result;
}

child_result run_child(const char *name, unsigned int seconds)
{
    static char sanitizer[] =
        "ASAN_OPTIONS=handle_segv=0:handle_abort=0:detect_leaks=0:"
        "abort_on_error=1";
    child_result result = { CHILD_LOST, 0 };
    char program[PATH_MAX];
    char variable[256];
    char **env;
    pid_t pid;
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

    if (n < 0)
        return result;
    program[n] = '\0';
    snprintf(variable, sizeof(variable), CHILD_VARIABLE "=%u:%s", seconds,
             name);
    env = child_environment(variable, sanitizer);
    if (spawn_quietly(&pid, program, env))
        result = wait_for(pid);
    free(env);
    return result;
}

const char *child_end_name(child_end end)
{
    switch (end) {
    case CHILD_EXITED:
        return "exited";
    case CHILD_CRASHED:
        return "crashed";
    case CHILD_HUNG:
        return "hung";
    case CHILD_LOST:
        break;
    }
    return "could not be run";
}
