/* What the harness's own files share about a report. */
#ifndef CONTRACT_REPORT_H
#define CONTRACT_REPORT_H

#include "harness.h"

/* One helper thread of lock_is_held; a list hangs on the report. */
typedef struct lock_probe lock_probe;
struct lock_probe {
    SSL_CTX *ctx;
    rule_thread *thread;
    lock_probe *next;
};

lock_probe **report_probes(report *r);

#endif
