package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/bench/internal/stats"
)

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "graph.json")
	const graph = `[
 {"Mode": "build", "Package": "github.com/sessioncb/openssl/cshim", "TimeStart": "2026-01-01T10:00:00Z", "TimeDone": "2026-01-01T10:00:04Z"},
 {"Mode": "build", "Package": "crypto/tls", "TimeStart": "2026-01-01T10:00:00Z", "TimeDone": "2026-01-01T10:00:02Z"},
 {"Mode": "build", "Package": "github.com/sessioncb/openssl/ssl", "TimeStart": "2026-01-01T10:00:00Z", "TimeDone": "2026-01-01T10:00:01Z"},
 {"Mode": "link", "Package": "github.com/sessioncb/openssl/cmd/sessioncb", "TimeStart": "2026-01-01T10:00:00Z", "TimeDone": "2026-01-01T10:01:00Z"}
]`
	if err := os.WriteFile(file, []byte(graph), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := parse(file); err != nil || got != [3]float64{4, 2, 1} {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(graph, "cshim", "other")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parse(file); err == nil {
		t.Error("a build without cgo is no error")
	}
}

func TestWrite(t *testing.T) {
	q := stats.Of([]float64{1, 2, 3})
	r := &report{
		firsts: []first{{peers[0], q, q}}, contexts: []cost{{peers[1], q, q}},
		build: &built{clean: stats.Of([]float64{60}), size: 20e6, stripped: 14e6},
	}
	file := filepath.Join(t.TempDir(), "results", "startup.md")
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| C | 2.0 [1.5, 2.5] | 2.0 [1.5, 2.5] |", "| ours | 2.0 [1.5, 2.5] | 2 [2, 2] |", "| binary | 20.0 MB |", "| build from an empty cache | 60.0 s |"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
}
