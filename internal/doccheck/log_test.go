package doccheck

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// The log lines that docs/operations.md explains are those of the source: each
// line in code there stands in it, and each state that the Cache warns of is
// explained.
func TestLogLines(t *testing.T) {
	text, err := fs.ReadFile(root, operations)
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, pattern := range []string{"sessioncb/*.go", "ssl/*.go"} {
		files, err := fs.Glob(root, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := fs.ReadFile(root, name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(b)
		}
	}
	explained := map[string]bool{}
	for _, m := range codePattern.FindAllStringSubmatch(newPage(operations, string(text)).prose, -1) {
		if line, ok := strings.CutPrefix(m[1], "sessioncb: "); ok {
			explained[line] = true
			// The health of a thing is logged with the prefix put before it.
			if !strings.Contains(source.String(), `"`+line+`"`) && !strings.Contains(source.String(), `"sessioncb: `+line+`"`) {
				t.Errorf("%s explains the log line %q, which nothing logs", operations, line)
			}
		}
	}
	warned := regexp.MustCompile(`(?:\bbad: "|Warn\("sessioncb: )([^"+]+)"[,)]`).FindAllStringSubmatch(source.String(), -1)
	if len(warned) < 5 || len(explained) < 5 {
		t.Fatalf("%d warnings, %d explained: this shows nothing", len(warned), len(explained))
	}
	for _, m := range warned {
		if !explained[m[1]] {
			t.Errorf("%s does not explain the warning %q", operations, m[1])
		}
	}
}
