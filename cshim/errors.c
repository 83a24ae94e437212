/* The error queue, read in the crossing that failed: it belongs to a thread. */
#include <string.h>
#include "shim.h"

/* Clearing an empty queue costs seven times as much as looking at it. */
void sc_errors_clear(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* Empties the queue into e; entries beyond its room are dropped. */
void sc_errors_take(sc_errors *e)
{
    const char *file, *func, *data;
    unsigned long code;
    int line, flags;

    e->count = 0;
    e->sys = 0;
    while ((code = ERR_get_error_all(&file, &line, &func, &data, &flags)) != 0) {
        sc_error *x;

        if (e->count == SC_MAX_ERRORS)
            continue;
        x = &e->e[e->count++];
        x->code = code;
        x->line = line;
        x->file = file;
        x->library = ERR_lib_error_string(code);
        x->reason = ERR_reason_error_string(code);
        x->data[0] = '\0';
        if (ERR_SYSTEM_ERROR(code))
            e->sys = ERR_GET_REASON(code);
        if (data != NULL && (flags & ERR_TXT_STRING) != 0) {
            strncpy(x->data, data, sizeof(x->data) - 1);
            x->data[sizeof(x->data) - 1] = '\0';
        }
    }
}
