package ssl

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Each test that counts references is run in a process of its own with a leak,
// and with a double free, that the C program makes once. A leak is seen by the
// gauges, of the test and of the leak gate at the end. A double free is seen by
// the ledger of the C program: libssl destroys a session that somebody still
// owns. (Where nobody holds it any more, glibc and the address sanitizer stop
// the process: the second free of one block.)
func TestFaultsAreNoticed(t *testing.T) {
	if os.Getenv("SESSIONCB_TEST_FAULT") != "" {
		t.Skip("the fault is put in already")
	}
	var runs []*faultyRun
	const connection, store = "connection", "store"
	for _, x := range []struct{ test, where string }{
		{"TestAttachGet/1.2/session_kept_by_the_handler/external", connection},
		{"TestAttachGet/1.3/encoded/external", connection},
		{"TestAttachGet/1.3/late/external", connection},
		{"TestAttachChain/1.2/references,_copy_0", store},
		{"TestAttachChain/1.3/references,_copy_1", connection},
		{"TestAttachChainAfterRefusal/1.3", store},
		{"TestAttachPrior/1.3/references,_copy_0", store},
		{"TestAttachPrior/1.3/DER,_copy_0", connection},
		{"TestAttachPriorOfNothing", connection},
		{"TestAttachConnView/1.3", connection},
		{"TestAttachCloseUnderHandshakes/1.3/replaced", connection},
		{"TestAttachBirthContext/SSL_dup/1.3", connection},
		{"TestAttachMaxHandlers/1.2", connection},
		{"TestAttachCryptoTLSClient", connection},
	} {
		for _, fault := range []string{"leaks", "double frees"} {
			runs = append(runs, start(x.test, x.where, fault))
		}
	}
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			<-r.done
			if _, failed := r.err.(*exec.ExitError); !failed {
				t.Fatalf("the test did not notice: %v\n%s", r.err, r.out)
			}
			for _, sign := range r.signs {
				if !strings.Contains(string(r.out), sign) {
					t.Errorf("the test failed, but not by %q:\n%s", sign, r.out)
				}
			}
		})
	}
}

// faultyRun is one test in a process of its own, with a fault.
type faultyRun struct {
	name  string
	signs []string // of the tool that notices
	done  chan struct{}
	out   []byte
	err   error
}

// atOnce bounds the processes: a gauge that waits for a leak to go is idle.
var atOnce = make(chan struct{}, 6)

func start(test, where, fault string) *faultyRun {
	r := &faultyRun{name: test + "/" + where + " " + fault, done: make(chan struct{})}
	if fault == "leaks" {
		r.signs = []string{"gauge: alive before", "leak gate: alive after the tests"}
	} else {
		r.signs = []string{"destroyed under their owner"}
	}
	go func() {
		defer close(r.done)
		atOnce <- struct{}{}
		defer func() { <-atOnce }()
		cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(test, "/", "$/^")+"$", "-test.count=1")
		cmd.Env = append(os.Environ(), "SESSIONCB_TEST_FAULT="+where+" "+fault)
		r.out, r.err = cmd.CombinedOutput()
	}()
	return r
}
