package record

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raw")
	if r, err := Read(dir, "echo-1"); r != nil || err != nil {
		t.Fatalf("of none: %v, %v", r, err)
	}
	for _, rounds := range [][]Round{
		nil,
		{{Runs: []Run{{Peer: "c", Load: Load{Ops: 7, P99: 1.5}}}, Attempts: 1}},
		{{Runs: []Run{{Peer: "c"}, {Peer: "ours", Threads: 4}}}, {Disturbed: true, Waited: 60}},
	} {
		want := &Row{Name: "echo-1", Commit: "abc", Started: time.Unix(1e9, 0).UTC(), Rounds: rounds, Failures: []string{"one"}}
		if err := want.Save(dir); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir, "echo-1")
		if err != nil {
			t.Fatal(err)
		}
		if len(rounds) == 0 {
			want.Rounds = []Round{}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if n := len(got.Calm()); n != min(len(rounds), 1) {
			t.Errorf("%d calm rounds of %d", n, len(rounds))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "echo-1.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, "echo-1"); err == nil {
		t.Error("half a file is no error")
	}
}

// What is measured has a name that changes with every file that counts, and
// with no other.
func TestCommit(t *testing.T) {
	root := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.test"}, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	commit := func() string {
		t.Helper()
		c, err := Commit(root)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	run("init", "-q")
	write("a.go", "package a")
	run("add", "-A")
	run("commit", "-qm", "one")
	first := commit()
	if len(first) != 40 {
		t.Fatalf("commit %q", first)
	}
	write("bench/results/results.md", "new")
	write("docs/decisions/1.md", "new")
	write("bench/README.md", "new")
	if got := commit(); got != first {
		t.Errorf("texts and results: %s, want %s", got, first)
	}
	run("add", "-A")
	run("commit", "-qm", "texts")
	if got := commit(); got != first {
		t.Errorf("committed texts and results: %s, want %s", got, first)
	}
	write("b.go", "package a")
	untracked := commit()
	write("b.go", "package b")
	other := commit()
	if !strings.HasPrefix(untracked, first+"+") || !strings.HasPrefix(other, first+"+") || untracked == other {
		t.Errorf("a new file: %s, with other text: %s", untracked, other)
	}
	run("add", "-A")
	if got := commit(); !strings.HasPrefix(got, first+"+") {
		t.Errorf("a staged file: %s", got)
	}
	run("commit", "-qm", "two")
	if got := commit(); len(got) != 40 || got == first {
		t.Errorf("after a commit: %s", got)
	}
}
