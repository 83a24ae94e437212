package host

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Start starts cmd on one processor, from its first instruction on: a child
// has the processors of the thread that forks it. So Go's GOMAXPROCS is 1
// there, and Node sees one processor. More processors may be named. It is a
// session of its own, so that a terminal's interrupt ends the driver, and the
// driver ends it; and so that it can be given preference.
func Start(cmd *exec.Cmd, cpus ...int) error {
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("host: sched_getaffinity: %w", err)
	}
	for _, cpu := range cpus {
		one.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("host: processors %v: %w", cpus, err)
	}
	err := cmd.Start()
	if err == nil {
		prefer(cmd.Process.Pid)
	}
	if back := unix.SchedSetaffinity(0, &before); back != nil {
		// Locked still, so that no other goroutine comes to this thread.
		return fmt.Errorf("host: back from processors %v: %w", cpus, back)
	}
	runtime.UnlockOSThread()
	return err
}

// prefer puts the session that pid leads before all others that want its
// processor: where the kernel groups sessions (autogroups), the group has a nice
// value of its own. So what else runs on this machine takes less from a window.
// That needs a right that not everybody has, and a kernel that does so; without
// either nothing changes, and calm is waited for as ever.
func prefer(pid int) {
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/autogroup", []byte("-20"), 0)
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

// MostFiles is how many files a process may open.
func MostFiles() (int, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("host: getrlimit: %w", err)
	}
	return int(min(r.Max, 1<<30)), nil
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
