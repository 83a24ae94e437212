package fleettest

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// A disk that can be full: a small tmpfs, or, where none can be mounted, a
// limit on the size of a file.
type disk struct {
	dir    string // of the tmpfs, or empty
	limit  syscall.Rlimit
	filler string
}

// fill leaves no room for the store's file to grow.
func (d *disk) fill(o setup) error {
	if d.dir == "" {
		// The signal would end the process; without it, write fails with EFBIG.
		signal.Ignore(syscall.SIGXFSZ)
		info, err := os.Stat(o.Bolt)
		if err != nil {
			return err
		}
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &d.limit); err != nil {
			return err
		}
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()), Max: d.limit.Max})
	}
	d.filler = filepath.Join(d.dir, "filler")
	f, err := os.Create(d.filler)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// free makes room again.
func (d *disk) free() error {
	if d.dir == "" {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &d.limit)
	}
	return os.Remove(d.filler)
}
