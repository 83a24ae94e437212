// Package contract shows what OpenSSL's session callbacks really do, rule by
// rule, with C code that uses libssl's public API alone and no Go callback.
// docs/contract.md is the text of the rules. A new minor version of OpenSSL is
// judged by running this package's tests against it.
package contract

/*
#cgo pkg-config: libssl libcrypto
#cgo CFLAGS: -std=gnu11 -O1 -g -Wall -Wextra -Wno-unused-parameter -Werror=implicit
#cgo CFLAGS: -DOPENSSL_API_COMPAT=30000 -DOPENSSL_NO_DEPRECATED
#cgo LDFLAGS: -lpthread
#include "harness.h"
*/
import "C"

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

func init() {
	C.harness_start()
}

// A Rule is one statement of the contract.
type Rule struct {
	Name    string // as in docs/contract.md: "R12"
	Balance bool   // the rule owns references and gives them back
}

// Rules returns all rules of this package in the order of their numbers.
func Rules() []Rule {
	var rules []Rule
	for i := C.int(0); ; i++ {
		r := C.rule_at(i)
		if r == nil {
			break
		}
		rules = append(rules, Rule{C.GoString(r.name), r.balance != 0})
	}
	slices.SortFunc(rules, func(a, b Rule) int { return a.number() - b.number() })
	return rules
}

func (r Rule) number() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(r.Name, "R"))
	return n
}

// A Check is one observation that a rule made.
type Check struct {
	File string // the C file's base name
	Line int
	OK   bool
	Text string
}

func (c Check) String() string {
	return fmt.Sprintf("%s:%d: %s", c.File, c.Line, c.Text)
}

// Run runs one rule on the calling goroutine, inside one C call. Rules may run
// at the same time.
func Run(name string) ([]Check, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	r := C.rule_run(cname)
	if r == nil {
		return nil, fmt.Errorf("contract: no rule %q", name)
	}
	defer C.report_free(r)
	checks := make([]Check, C.report_count(r))
	for i := range checks {
		n := C.int(i)
		checks[i] = Check{
			File: filepath.Base(C.GoString(C.report_file(r, n))),
			Line: int(C.report_line(r, n)),
			OK:   C.report_ok(r, n) != 0,
			Text: C.GoString(C.report_text(r, n)),
		}
	}
	return checks, nil
}

// Objects counts the OpenSSL objects of the whole process that are alive.
type Objects struct {
	Contexts, Conns, Sessions int
}

// Alive returns what is alive now. Between two runs everything is zero.
func Alive() Objects {
	return Objects{
		Contexts: int(C.objects_alive(nil, C.OBJECT_CTX)),
		Conns:    int(C.objects_alive(nil, C.OBJECT_SSL)),
		Sessions: int(C.objects_alive(nil, C.OBJECT_SESSION)),
	}
}

// Stop frees the key and certificate that the rules share. No rule may run
// afterwards.
func Stop() {
	C.harness_stop()
}

// OpenSSLVersion returns the version of the libssl that is loaded.
func OpenSSLVersion() string {
	return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION))
}
