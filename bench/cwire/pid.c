/*
 * libcrypto asks for the process's id before each random number, twice to four
 * times a handshake, to see a fork. The program exports this function
 * (-rdynamic), which remembers the answer, as glibc's own did until 2.25. It is
 * right as long as the program does not fork, and neither program does.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "wire.h"

static bool forget;

void wire_remember_pid(bool on)
{
    forget = !on;
}

pid_t getpid(void)
{
    static pid_t pid;

    if (pid == 0 || forget)
        pid = (pid_t)syscall(SYS_getpid);
    return pid;
}
