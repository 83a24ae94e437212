package main

/*
#include <stdlib.h> // defines __GLIBC__, where it is so
#ifdef __GLIBC__
#include <malloc.h>
static void trim(void) { malloc_trim(0); }
#else
static void trim(void) { }
#endif
*/
import "C"

// trim gives back what OpenSSL freed. The C library keeps it for its next
// allocations, as Go's runtime keeps its own.
func trim() { C.trim() }
