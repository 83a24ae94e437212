package doccheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// A block of Go that is a whole program compiles.
func TestPrograms(t *testing.T) {
	programs := 0
	for _, p := range pages(t) {
		for _, m := range goBlock.FindAllStringSubmatch(p.text, -1) {
			if !strings.HasPrefix(m[1], "package main\n") {
				continue
			}
			programs++
			if out, err := compile(t, m[1]); err != nil {
				t.Errorf("%s: a program does not compile: %v\n%s", p.name, err, out)
			}
		}
	}
	if programs == 0 {
		t.Error("no program was compiled: this shows nothing")
	}
	if _, err := compile(t, "package main\n\nfunc main() { undefined() }\n"); err == nil {
		t.Error("a program that does not compile was not refused")
	}
}

// compile builds a program with this module, outside its tree.
func compile(t *testing.T, program string) ([]byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, file)
	cmd.Dir = filepath.Join("..", "..")
	return cmd.CombinedOutput()
}
