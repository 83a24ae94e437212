//go:build race || asan

package fleettest

const slowdown = 3
