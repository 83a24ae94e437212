/*
 * The allocator of the two C programs for all that libcrypto and libssl
 * allocate: some 500 calls for a handshake. One thread, no lock, no header and
 * no coalescing: a free list for each size class, last freed first used.
 *
 * It also keeps an idle connection small: the 21 KiB in which a handshake
 * assembles messages, written whole each time, are of another class than the
 * record buffers, so these do not inherit its pages.
 */
#ifndef CWIRE_ALLOC_H
#define CWIRE_ALLOC_H

#include <stdbool.h>

/* Takes the place of malloc for libcrypto; before any other call to it. With
 * CWIRE_MALLOC defined (for a sanitizer, which wants to see malloc) it does
 * nothing. False: it could not. */
bool alloc_setup(void);

#endif
