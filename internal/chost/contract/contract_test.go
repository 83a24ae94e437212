package contract

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if alive := Alive(); alive != (Objects{}) {
		fmt.Fprintf(os.Stderr, "contract: not all objects were destroyed: %+v\n", alive)
		code = max(code, 1)
	}
	Stop()
	os.Exit(code)
}

func TestContract(t *testing.T) {
	t.Logf("%s", OpenSSLVersion())
	for _, rule := range Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			t.Parallel()
			checks, err := Run(rule.Name)
			if err != nil {
				t.Fatal(err)
			}
			// Three checks of every run are the balance.
			if len(checks) <= 3 {
				t.Errorf("the rule checked nothing")
			}
			for _, c := range checks {
				if c.OK {
					t.Logf("%v", c)
				} else {
					t.Errorf("%v", c)
				}
			}
		})
	}
}

// TestGate shows that the counting works: each rule that owns references runs
// in a process where the first of them is leaked, or freed twice, and that
// process must fail for this reason.
func TestGate(t *testing.T) {
	if os.Getenv("OPENSSL_CONTRACT_FAULT") != "" {
		t.Skip("this process is one with a fault")
	}
	for _, rule := range Rules() {
		if !rule.Balance {
			continue
		}
		t.Run(rule.Name+"/clean", func(t *testing.T) {
			t.Parallel()
			if out, err := runWithFault(rule.Name, "none"); err != nil {
				t.Errorf("fails without a fault: %v\n%s", err, out)
			}
		})
		t.Run(rule.Name+"/leak", func(t *testing.T) {
			t.Parallel()
			out, err := runWithFault(rule.Name, "leak")
			if err == nil || !leakSign.MatchString(out) {
				t.Errorf("a leak passed: %v\n%s", err, out)
			}
			if !strings.Contains(out, "contract: not all objects were destroyed") {
				t.Errorf("the check at the end of the process did not see the leak:\n%s", out)
			}
		})
		t.Run(rule.Name+"/double-free", func(t *testing.T) {
			t.Parallel()
			out, err := runWithFault(rule.Name, "double-free")
			if err == nil {
				t.Fatalf("a double free passed:\n%s", out)
			}
			if how := doubleFreeSigns.FindString(out); how == "" {
				t.Errorf("failed, but not by the double free: %v\n%s", err, out)
			} else {
				t.Logf("caught by: %s", how)
			}
		})
	}
}

func runWithFault(rule, fault string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestContract$/^"+rule+"$", "-test.count=1", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "OPENSSL_CONTRACT_FAULT="+fault)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// doubleFreeSigns are what a dead process says of a double free: the count,
// the C library's own checks, the address sanitizer, or the crash.
var doubleFreeSigns = regexp.MustCompile(`contract: SSL_SESSION destroyed twice|` +
	`AddressSanitizer: (heap-use-after-free|attempting double-free)|` +
	`double free or corruption|(free|malloc|malloc_consolidate)\(\): |corrupted |` +
	`SIGABRT|SIGSEGV|SIGBUS`)

var leakSign = regexp.MustCompile(`balance: [1-9]\d* SSL_SESSION alive after the rule`)
