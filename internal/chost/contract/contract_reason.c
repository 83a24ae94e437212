#include "harness.h"
const rule reason_rules[] = { { NULL, NULL, 0 } };
