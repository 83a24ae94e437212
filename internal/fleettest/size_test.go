//go:build !race && !asan

package fleettest

// slowdown is how much slower this build is: it scales time limits, never what
// is asserted.
const slowdown = 1
