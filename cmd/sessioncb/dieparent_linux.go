package main

import "syscall"

// dieWithParent has the kernel kill the child when we are gone, and keeps it
// out of the terminal's process group, so that ^C is ours to handle.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
