//go:build unix && !solaris && !aix

package boltstore

import (
	"os"
	"syscall"
)

// abandon closes the file of a bolt.DB that cannot be closed any more. bolt's
// memory map keeps the open file, and so its lock, alive: the lock is given
// up first.
func abandon(f *os.File) {
	if f != nil {
		syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}
}
