//go:build race || asan

package fleettest

const (
	slowdown     = 3
	spareThreads = 24 // they are in C for longer
)
