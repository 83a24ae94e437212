//go:build !unix || solaris || aix

package boltstore

import "os"

// abandon closes the file of a bolt.DB that cannot be closed any more. On
// these systems its lock may last as long as the process.
func abandon(f *os.File) {
	if f != nil {
		f.Close()
	}
}
