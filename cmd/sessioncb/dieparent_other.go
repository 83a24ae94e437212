//go:build !linux

package main

import "syscall"

// dieWithParent: only Linux has a signal for that.
func dieWithParent() *syscall.SysProcAttr { return nil }
