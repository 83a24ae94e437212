//go:build !linux

package fleettest

import (
	"errors"
	"syscall"
)

func (d *disk) mount(dir string) error {
	if dir == "" {
		return nil
	}
	return errors.New("no tmpfs here")
}

func ownMounts() *syscall.SysProcAttr { return nil }
