#include "harness.h"
const rule get_rules[] = { { NULL, NULL, 0 } };
const child_scenario get_children[] = { { NULL, NULL } };
