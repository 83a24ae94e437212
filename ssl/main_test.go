package ssl

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// testProcesses are the other processes of some tests, by their name in
// SESSIONCB_TEST_PROCESS.
var testProcesses = map[string]func(){"park": runParkServer, "crowd": runCrowdServer}

// TestMain ends with the leak gate: nothing of OpenSSL and no handle of ours
// may be alive after the tests, and nothing may have been left to the garbage
// collector.
func TestMain(m *testing.M) {
	// The test binary is also the other process of some tests.
	if name := os.Getenv("SESSIONCB_TEST_PROCESS"); name != "" {
		testProcesses[name]()
	}
	if err := cshim.CountAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := m.Run()
	if g := settled(); g != (cshim.Gauges{}) {
		fmt.Fprintf(os.Stderr, "leak gate: alive after the tests: %+v\n", g)
		code = 1
	}
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if n := forgotten.Load() - forgottenOnPurpose.Load(); n != 0 {
		fmt.Fprintf(os.Stderr, "leak gate: %d objects were left to the garbage collector\n", n)
		code = 1
	}
	os.Exit(code)
}

// settled waits for what ends on other goroutines, and returns what is alive.
func settled() (g cshim.Gauges) {
	for range 300 {
		if g = cshim.ReadGauges(); g == (cshim.Gauges{}) {
			return g
		}
		time.Sleep(10 * time.Millisecond)
	}
	return g
}
