// Package fleettest has tests of a whole fleet, and nothing else: servers of
// package ssl in processes of their own, their clients, a shared store, and
// what goes wrong between them. docs/faults.md says what its tests show.
package fleettest
