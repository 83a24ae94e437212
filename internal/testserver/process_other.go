//go:build unix && !linux

package testserver

import "syscall"

// dieWithParent: these systems have no such signal. A test that is killed
// leaves its servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }

const (
	stopSignal     = syscall.SIGSTOP
	continueSignal = syscall.SIGCONT
)
