/* The record of the running call, one stack a thread. */
#include "shim.h"

static _Thread_local sc_record *current;

void sc_record_enter(sc_record *r)
{
    r->events = 0;
    r->outer = current;
    current = r;
}

void sc_record_leave(sc_record *r)
{
    current = r->outer;
}

sc_record *sc_record_current(void)
{
    return current;
}
