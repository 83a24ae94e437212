//go:build asan

package ssl

// underASan says that AddressSanitizer watches, for which the compiler has more
// objects on the heap.
const underASan = true
