#include "harness.h"
const rule reason_rules[] = { { NULL, NULL, 0 } };
const child_scenario reason_children[] = { { NULL, NULL } };
