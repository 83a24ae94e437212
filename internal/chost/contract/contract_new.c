#include "harness.h"
const rule new_rules[] = { { NULL, NULL, 0 } };
const child_scenario new_children[] = { { NULL, NULL } };
