package host

import (
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	const text = `cpu  100 1 50 1000 20 3 4 7 0 0
cpu0 50 1 25 500 10 3 4 7 0 0
cpu1 50 0 25 500 10 0 0 0 0 0
intr 1 2 3
ctxt 99
`
	got, err := parseStat([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Times{CPUs: 2, Idle: 1020 * tick, Steal: 7 * tick}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for why, bad := range map[string]string{
		"a line that is too short": "cpu 1 2 3\n",
		"no number":                "cpu 1 2 3 x 5 6 7 8\ncpu0 1\n",
		"no processor":             "cpu 1 2 3 4 5 6 7 8\n",
		"nothing":                  "",
	} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%s: no error", why)
		}
	}
}

func TestCalm(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct {
		why            string
		w              Window
		others, stolen float64
		calm           bool
	}{
		{"server and load have a core each", Window{s, 2, 0, 0, s, s}, 0, 0, true},
		{"the load has time to spare", Window{s, 2, 600 * ms, 0, s, 400 * ms}, 0, 0, true},
		{"others take what is allowed", Window{s, 2, 0, 0, s, 900 * ms}, 0.10, 0, true},
		{"others take more, from the load", Window{s, 2, 0, 0, s, 880 * ms}, 0.12, 0, false},
		{"others take more, from the server", Window{s, 2, 100 * ms, 0, 700 * ms, s}, 0.20, 0, false},
		{"the hypervisor takes a little", Window{s, 2, 0, 20 * ms, 980 * ms, s}, 0, 0.02, true},
		{"the hypervisor takes more", Window{s, 2, 0, 30 * ms, 970 * ms, s}, 0, 0.03, false},
		{"units of 10 ms: a little below 0", Window{s, 2, 10 * ms, 0, s, s}, -0.01, 0, true},
		{"the wall is longer than a second", Window{2 * s, 4, 4 * s, 0, 2 * s, 1500 * ms}, 0.25, 0, false},
		{"no time at all", Window{}, 0, 0, true},
	} {
		others, stolen := c.w.Others(), c.w.Stolen()
		if math.Abs(others-c.others) > 1e-9 || math.Abs(stolen-c.stolen) > 1e-9 {
			t.Errorf("%s: others %v, stolen %v; want %v and %v", c.why, others, stolen, c.others, c.stolen)
		}
		if calm := DefaultLimits.Calm(c.others, c.stolen); calm != c.calm {
			t.Errorf("%s: calm is %v", c.why, calm)
		}
	}
}

func TestCountList(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-1": 2, "0-3,5": 5, "": 0, "x": 0, "7-x": 0} {
		if got := countList(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
}

// A child that was started on a processor has that one alone, and the parent
// still has what it had.
func TestStart(t *testing.T) {
	self, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	if err := Start(cmd, FirstCPU()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	child, err := ReadProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if child.CPUs != 1 || child.Threads != 1 || child.RSS == 0 {
		t.Errorf("the child: %+v", child)
	}
	if _, err := CPUTime(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if m, err := Memory(cmd.Process.Pid); err != nil || m == 0 {
		t.Errorf("memory %d, %v", m, err)
	}
	after, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.CPUs != self.CPUs {
		t.Errorf("the parent had %d processors, and now %d", self.CPUs, after.CPUs)
	}
}

func TestCPUTime(t *testing.T) {
	before, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for x, end := 0, time.Now().Add(20*time.Millisecond); time.Now().Before(end); x++ {
	}
	after, err := CPUTime(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("from %v to %v, %v", before, after, err)
	}
	if _, err := CPUTime(1 << 22); err == nil {
		t.Error("a process that is not there has a clock")
	}
}

func TestCheckCPUs(t *testing.T) {
	cpu := FirstCPU()
	if err := CheckCPUs(cpu); err != nil {
		t.Error(err)
	}
	if CheckCPUs(cpu, cpu) == nil || CheckCPUs(1023) == nil {
		t.Error("no error for one twice, or for one that is not there")
	}
}
