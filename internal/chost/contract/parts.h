/* The pieces that harness_start and harness_stop put together. */
#ifndef CONTRACT_PARTS_H
#define CONTRACT_PARTS_H

void objects_start(void);
void recorder_start(void);
void certificates_start(void);
void certificates_stop(void);

#endif
