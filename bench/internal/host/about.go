package host

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Machine is what the numbers of a run belong to.
type Machine struct {
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Kernel  string `json:"kernel"`
	OpenSSL string `json:"openssl"`
	Go      string `json:"go"`
	Node    string `json:"node,omitempty"`
}

// About describes this machine. What cannot be found out is "unknown".
func About() Machine {
	m := Machine{CPU: "unknown", CPUs: runtime.NumCPU(), Kernel: "unknown", OpenSSL: "unknown", Go: runtime.Version()}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(b) {
			if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	// Of the library that is linked, not of the command.
	if v := output("pkg-config", "--modversion", "libssl"); v != "" {
		m.OpenSSL = v
	}
	m.Node = output("node", "--version")
	return m
}

func output(name string, args ...string) string {
	b, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
