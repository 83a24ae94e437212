#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <openssl/crypto.h>

#include "alloc.h"

enum {
    SPAN_BITS = 19,
    SPAN = 1 << SPAN_BITS,     /* memory of one class, cut into blocks */
    SPANS = 1 << 14,           /* 8 GiB of addresses, not of memory */
    FINE = 16,                 /* classes up to FINE_MAX are so far apart */
    FINE_MAX = 1024,
    FINE_CLASSES = FINE_MAX / FINE,
    STEPS_BITS = 3,
    STEPS = 1 << STEPS_BITS,   /* then that many for each doubling */
    LARGE = 128 << 10,         /* what is larger goes to malloc */
    CLASSES = FINE_CLASSES + 7 * STEPS
};

typedef struct block {
    struct block *next;
} block;

static struct {
    unsigned char *base;
    size_t spans;              /* used so far */
    uint8_t class_of[SPANS];
    block *free[CLASSES];
    unsigned char *at[CLASSES], *end[CLASSES];  /* the span that is being cut */
    uint32_t size_of[CLASSES];
} arena;

static unsigned class_for(size_t n)
{
    unsigned doubling, step;

    if (n <= FINE_MAX)
        return n == 0 ? 0 : (unsigned)((n - 1) / FINE);
    doubling = 63U - (unsigned)__builtin_clzl(n - 1);          /* 10 for 1025 to 2048 */
    step = (unsigned)((n - 1) >> (doubling - STEPS_BITS)) & (STEPS - 1);
    return FINE_CLASSES + (doubling - 10) * STEPS + step;
}

static size_t size_for(unsigned class)
{
    unsigned doubling, step;

    if (class < FINE_CLASSES)
        return (class + 1) * (size_t)FINE;
    doubling = 10 + (class - FINE_CLASSES) / STEPS;
    step = (class - FINE_CLASSES) % STEPS;
    return ((size_t)1 << doubling) + ((size_t)(step + 1) << (doubling - STEPS_BITS));
}

static bool ours(const void *p)
{
    return (size_t)((const unsigned char *)p - arena.base) < (size_t)SPANS * SPAN;
}

static void *take(size_t n, const char *file, int line)
{
    unsigned class;
    block *b;

    (void)file;
    (void)line;
    if (n > LARGE)
        return malloc(n);
    class = class_for(n);
    b = arena.free[class];
    if (b != NULL) {
        arena.free[class] = b->next;
        return b;
    }
    if ((size_t)(arena.end[class] - arena.at[class]) < arena.size_of[class]) {
        if (arena.spans == SPANS)
            return malloc(n);
        arena.class_of[arena.spans] = (uint8_t)class;
        arena.at[class] = arena.base + (arena.spans++ << SPAN_BITS);
        arena.end[class] = arena.at[class] + SPAN;
    }
    b = (block *)(void *)arena.at[class];
    arena.at[class] += arena.size_of[class];
    return b;
}

static void give(void *p, const char *file, int line)
{
    block *b = p;
    unsigned class;

    (void)file;
    (void)line;
    if (!ours(p)) {
        free(p);
        return;
    }
    class = arena.class_of[(size_t)((unsigned char *)p - arena.base) >> SPAN_BITS];
    b->next = arena.free[class];
    arena.free[class] = b;
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    size_t old;
    void *q;

    if (p == NULL)
        return take(n, file, line);
    if (n == 0) {
        give(p, file, line);
        return NULL;
    }
    if (!ours(p))
        return realloc(p, n);
    old = arena.size_of[arena.class_of[(size_t)((unsigned char *)p - arena.base) >> SPAN_BITS]];
    if (n <= old)
        return p;
    q = take(n, file, line);
    if (q == NULL)
        return NULL;
    memcpy(q, p, old);
    give(p, file, line);
    return q;
}

bool alloc_setup(void)
{
#ifdef CWIRE_MALLOC
    (void)take;
    (void)give;
    (void)resize;
    (void)size_for;
    return true;
#else
    void *base = mmap(NULL, (size_t)SPANS * SPAN, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return false;
    arena.base = base;
    for (unsigned c = 0; c < CLASSES; c++)
        arena.size_of[c] = (uint32_t)size_for(c);
    return CRYPTO_set_mem_functions(take, resize, give) == 1;
#endif
}
