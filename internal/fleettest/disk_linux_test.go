package fleettest

import (
	"fmt"
	"os"
	"syscall"
)

// mount mounts a tmpfs of 1 MiB on dir, unless dir is empty. This process must
// be in a mount namespace of its own, with which the tmpfs ends.
func (d *disk) mount(dir string) error {
	if dir == "" {
		return nil
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	d.dir = dir
	return nil
}

// ownMounts has a process start with a mount namespace of its own; who is not
// root gets a user namespace too, if the system lets him.
func ownMounts() *syscall.SysProcAttr {
	if os.Getuid() == 0 {
		return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}
