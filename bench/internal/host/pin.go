package host

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Start starts cmd on one processor, from its first instruction on: a child
// has the processors of the thread that forks it. So Go's GOMAXPROCS is 1
// there, and Node sees one processor. It is a process group of its own, so that
// a terminal's interrupt ends the driver, and the driver ends it.
func Start(cmd *exec.Cmd, cpu int) error {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("host: sched_getaffinity: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("host: processor %d: %w", cpu, err)
	}
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &before); back != nil {
		// Locked still, so that no other goroutine comes to this thread.
		return fmt.Errorf("host: back from processor %d: %w", cpu, back)
	}
	runtime.UnlockOSThread()
	return err
}

// CheckCPUs is an error unless this process may run on each of cpus, which
// are different.
func CheckCPUs(cpus ...int) error {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fmt.Errorf("host: sched_getaffinity: %w", err)
	}
	seen := map[int]bool{}
	for _, cpu := range cpus {
		if !may.IsSet(cpu) {
			return fmt.Errorf("host: processor %d is not there, or not ours; the server and the load need one each", cpu)
		}
		if seen[cpu] {
			return fmt.Errorf("host: processor %d is asked for twice; the server and the load need one each", cpu)
		}
		seen[cpu] = true
	}
	return nil
}

// FirstCPU is a processor that this process may run on.
func FirstCPU() int {
	var may unix.CPUSet
	if unix.SchedGetaffinity(0, &may) == nil {
		for cpu := range 1024 {
			if may.IsSet(cpu) {
				return cpu
			}
		}
	}
	return 0
}

// RaiseFiles lets this process and its children open as many files as they
// may.
func RaiseFiles() error {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return fmt.Errorf("host: getrlimit: %w", err)
	}
	r.Cur = r.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return fmt.Errorf("host: setrlimit: %w", err)
	}
	return nil
}
