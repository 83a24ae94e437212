package ssl

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
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

// startTestProcess runs the process of that name until the test ends. Its first line
// is its address; ask has it say a line more, and reads the values in it.
func startTestProcess(t testing.TB, name string, env ...string) (addr string, ask func(values ...any)) {
	t.Helper()
	return startTestProcessUnder(t, nil, name, env...)
}

// startTestProcessUnder is startTestProcess under a program that looks on.
func startTestProcessUnder(t testing.TB, under []string, name string, env ...string) (addr string, ask func(values ...any)) {
	t.Helper()
	args := append(slices.Clip(under), os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), "SESSIONCB_TEST_PROCESS="+name), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the server process did not start")
	}
	return lines.Text(), func(values ...any) {
		t.Helper()
		fmt.Fprintln(in)
		if !lines.Scan() {
			t.Fatal("the server process is gone")
		}
		if _, err := fmt.Sscan(lines.Text(), values...); err != nil {
			t.Fatal(err)
		}
	}
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
