/*
 * What a test needs to see from outside: the SSL_CTX that other code of the
 * process made, and the calling thread's error queue.
 */
#include "chost.h"

static _Thread_local SSL_CTX *last;

static void on_new(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)ptr; (void)ad; (void)idx; (void)argl; (void)argp;
    last = parent;
}

int ch_watch_start(void)
{
    return SSL_CTX_get_ex_new_index(0, NULL, on_new, NULL, NULL) >= 0;
}

SSL_CTX *ch_last_ctx(void)
{
    return last;
}

/* An entry that nothing else would push. */
#define MY_ERROR_DATA "left by the C program"

void ch_push_error(void)
{
    ERR_clear_error();
    ERR_raise_data(ERR_LIB_USER, 99, MY_ERROR_DATA);
}

/* Whether the queue is as ch_push_error left it: its entry and no other. */
int ch_error_is_mine(void)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long first = ERR_peek_error_data(&data, &flags);

    return ERR_GET_LIB(first) == ERR_LIB_USER && ERR_GET_REASON(first) == 99
        && ERR_peek_last_error() == first
        && (flags & ERR_TXT_STRING) != 0 && strcmp(data, MY_ERROR_DATA) == 0;
}

void ch_clear_errors(void)
{
    ERR_clear_error();
}
