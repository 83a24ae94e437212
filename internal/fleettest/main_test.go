package fleettest

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// processVariable names, in the environment, which other process this is.
const processVariable = "SESSIONCB_TEST_PROCESS"

// processes are the other processes of the tests, by name: the test binary is
// all of them. A file adds its own in an init function. One that returns ends
// with the leak gate, as the tests do.
var processes = map[string]func(){}

// TestMain ends with the leak gate: nothing of OpenSSL, no handle of ours and
// no goroutine may be left of the tests.
func TestMain(m *testing.M) {
	if err := cshim.CountAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	before := runtime.NumGoroutine()
	code := 0
	if name := os.Getenv(processVariable); name == "" {
		code = m.Run()
	} else if run := processes[name]; run != nil {
		run()
	} else {
		fmt.Fprintf(os.Stderr, "no such process: %q\n", name)
		code = 2
	}
	if left := leaks(before); left != "" {
		fmt.Fprintln(os.Stderr, "leak gate: "+left)
		code = 1
	}
	if n := len(crowded.processes); n > mostCrowded {
		fmt.Fprintf(os.Stderr, "%d server processes had more than GOMAXPROCS + %d threads at the end: %q\n", n, spareThreads, crowded.processes)
		code = 1
	}
	os.Exit(code)
}

// leaks waits for what ends on other goroutines, and says what does not.
//
// The gauges are read before anything that would run the garbage collector,
// which frees what was forgotten.
func leaks(before int) string {
	var g cshim.Gauges
	goroutines := 0
	for range 500 {
		g, goroutines = cshim.ReadGauges(), runtime.NumGoroutine()
		if g == (cshim.Gauges{}) && goroutines <= before {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	if g != (cshim.Gauges{}) {
		return fmt.Sprintf("alive at the end: %+v", g)
	}
	stacks := make([]byte, 1<<20)
	return fmt.Sprintf("%d goroutines at the end, %d before:\n%s", goroutines, before, stacks[:runtime.Stack(stacks, true)])
}
