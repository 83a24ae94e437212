#include "harness.h"
const rule ctx_rules[] = { { NULL, NULL, 0 } };
const child_scenario ctx_children[] = { { NULL, NULL, NULL } };
