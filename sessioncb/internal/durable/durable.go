// Package durable makes new files survive a power cut.
package durable

import (
	"os"
	"path/filepath"
	"runtime"
)

// SyncDirOf writes the directory that holds path to disk, and so the entry of
// a file just made in it. On Windows, where a directory cannot be synced, it
// does nothing.
func SyncDirOf(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
