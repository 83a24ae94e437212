package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is what /proc says of one at a moment.
type Process struct {
	Threads  int
	RSS      int64 // bytes
	Switches int64 // context switches of the threads that live, of both kinds
	CPUs     int   // processors that it may run on; Go's GOMAXPROCS, unless set
}

// ReadProcess reads /proc/PID/status, and that of each thread.
func ReadProcess(pid int) (Process, error) {
	var p Process
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, fmt.Errorf("host: %w", err)
	}
	s := parseStatus(b)
	p.Threads = int(s.number("Threads"))
	p.RSS = s.number("VmRSS") << 10
	p.CPUs = countList(s["Cpus_allowed_list"])
	tasks, err := filepath.Glob(filepath.Join(dir, "task/*/status"))
	if err != nil {
		return p, fmt.Errorf("host: %w", err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // this thread has ended
		}
		s := parseStatus(b)
		p.Switches += s.number("voluntary_ctxt_switches") + s.number("nonvoluntary_ctxt_switches")
	}
	return p, nil
}

// Memory is what a process holds, in bytes: its own pages, and its part of
// those that it shares. It is counted page by page, while VmRSS is kept in
// steps.
func Memory(pid int) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		p, err := ReadProcess(pid)
		return p.RSS, err
	}
	return parseStatus(b).number("Pss") << 10, nil
}

// CPUTime is the processor time of all threads of a process, dead ones too.
func CPUTime(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3), which is arithmetic: CPUCLOCK_SCHED of a process.
	clock := int32(^pid<<3 | 2)
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("host: the clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

type status map[string]string

// parseStatus reads lines of "Name: value".
func parseStatus(b []byte) status {
	s := status{}
	for line := range bytes.Lines(b) {
		if name, value, ok := strings.Cut(string(line), ":"); ok {
			s[name] = strings.TrimSpace(value)
		}
	}
	return s
}

// number is the first word of a value ("123 kB"), 0 if there is none.
func (s status) number(name string) int64 {
	word, _, _ := strings.Cut(s[name], " ")
	n, _ := strconv.ParseInt(word, 10, 64)
	return n
}

// countList counts a list of processors such as "0-3,5".
func countList(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		n += b - a + 1
	}
	return n
}
