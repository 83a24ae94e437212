package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// measured are the files of the tree that a measurement may depend on: all but
// texts, results and plots.
var measured = []string{".", ":(exclude)*.md", ":(exclude)docs", ":(exclude)bench/results"}

// Commit names the state of the tree that is measured: the last commit that
// changed anything that counts, so that committing results or a text makes no
// result stale; and if files were changed since, a "+" and a hash of how.
func Commit(root string) (string, error) {
	head, err := git(root, append([]string{"log", "-1", "--format=%H", "--"}, measured...)...)
	if err != nil {
		return "", err
	}
	diff, err := git(root, append([]string{"diff", "--binary", "HEAD", "--"}, measured...)...)
	if err != nil {
		return "", err
	}
	untracked, err := git(root, append([]string{"ls-files", "--others", "--exclude-standard", "-z", "--"}, measured...)...)
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(head)
	if diff == "" && untracked == "" {
		return commit, nil
	}
	h := sha256.New()
	h.Write([]byte(diff))
	for name := range strings.SplitSeq(strings.TrimSuffix(untracked, "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && name != "" {
			return "", fmt.Errorf("record: %w", err)
		}
		fmt.Fprintf(h, "%q %d\n", name, len(b))
		h.Write(b)
	}
	return commit + "+" + hex.EncodeToString(h.Sum(nil)[:6]), nil
}

func git(root string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("record: git %s: %w", args[0], err)
	}
	return string(out), nil
}
