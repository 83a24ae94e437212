// Package host reads what the operating system says of its processors and of
// a process, and starts a process on a processor. Linux only.
package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Times are a moment of all processors together, since boot.
type Times struct {
	At    time.Time
	CPUs  int
	Idle  time.Duration // waiting for a disk included
	Steal time.Duration // taken by the hypervisor
}

// ReadTimes reads /proc/stat.
func ReadTimes() (Times, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Times{}, fmt.Errorf("host: %w", err)
	}
	t, err := parseStat(b)
	t.At = time.Now()
	return t, err
}

// tick is the unit of /proc/stat, USER_HZ, which is 100 on every Linux.
const tick = 10 * time.Millisecond

// parseStat takes the sum of all processors from the first line, and counts
// the lines of single ones.
func parseStat(b []byte) (Times, error) {
	var t Times
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			break
		}
		if f[0] != "cpu" {
			t.CPUs++
			continue
		}
		// cpu user nice system idle iowait irq softirq steal ...
		if len(f) < 9 {
			return t, fmt.Errorf("host: /proc/stat: %d fields in its first line", len(f))
		}
		n := make([]int64, len(f))
		for i := 1; i < len(f); i++ {
			v, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return t, fmt.Errorf("host: /proc/stat: %w", err)
			}
			n[i] = v
		}
		t.Idle = time.Duration(n[4]+n[5]) * tick
		t.Steal = time.Duration(n[8]) * tick
	}
	if t.CPUs == 0 {
		return t, errors.New("host: /proc/stat names no processor")
	}
	return t, nil
}
