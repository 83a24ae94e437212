// Package sealed closes the interfaces of package sessioncb: only types of
// this module can embed a Mark, so a method can be added to such an interface
// without breaking anybody.
package sealed

// Seal is the part of a closed interface that nobody outside can implement.
type Seal interface{ seal() }

// Mark implements Seal for the type that embeds it.
type Mark struct{}

func (Mark) seal() {}
