//go:build !race && !asan

package fleettest

const (
	// slowdown is how much slower this build is: it scales time limits.
	slowdown = 1
	// spareThreads are the threads that a server process may have at the end
	// beside GOMAXPROCS: see crowded.
	spareThreads = 16
)
