#include "harness.h"
const rule remove_rules[] = { { NULL, NULL, 0 } };
const child_scenario remove_children[] = { { NULL, NULL, NULL } };
