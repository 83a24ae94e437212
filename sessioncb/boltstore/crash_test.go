package boltstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sessioncb/openssl/sessioncb"
)

// childPath makes the test binary a child of these tests: a process that puts
// and says so until it is killed. With childNoSync it leaves out what makes a
// Put durable.
const (
	childPath   = "BOLTSTORE_TEST_CHILD"
	childNoSync = "BOLTSTORE_TEST_CHILD_NOSYNC"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		child(path)
		return
	}
	os.Exit(m.Run())
}

// child puts from several goroutines and prints the number of each value that
// was acknowledged, one write for each line.
func child(path string) {
	var h hooks
	if os.Getenv(childNoSync) != "" {
		h.tune = func(o *bolt.Options) { o.NoSync = true }
	}
	s, err := open(path, Options{}, h)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for g := range 16 {
		go func() {
			for i := g; ; i += 16 {
				k, v := crashPair(i)
				err := s.Put(context.Background(), k, v, time.Hour)
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				os.Stdout.WriteString(strconv.Itoa(i) + "\n")
				mu.Unlock()
			}
		}()
	}
	select {}
}

// crashPair is the i-th key and value: of different lengths, so that pages
// split.
func crashPair(i int) (sessioncb.Key, []byte) {
	id := make([]byte, 32)
	binary.BigEndian.PutUint64(id, uint64(i)*0x9e3779b97f4a7c15) // scattered
	return sessioncb.Key{ID: id}, []byte(crashMark(i) + strings.Repeat(strconv.Itoa(i)+" ", 1+i%500))
}

// crashMark is found in the i-th value and in no other.
func crashMark(i int) string { return fmt.Sprintf("<%06d>", i) }

// TestKill kills a process while it writes, several times on one file: all
// that was acknowledged is there, and the file is sound.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.bolt")
	for _, acknowledgements := range []int{1, 200, 500} {
		checkKept(t, path, runChild(t, path, acknowledgements))
	}
}

// checkKept opens the file of a child that was killed.
func checkKept(t *testing.T, path string, acknowledged []int) {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range acknowledged {
		k, want := crashPair(i)
		if got, err := s.Get(t.Context(), k); err != nil || string(got) != string(want) {
			t.Fatalf("killed after %d acknowledgements, put %d is lost: %d bytes, %v", len(acknowledged), i, len(got), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkFile(t, path)
}

// runChild runs the child, behind a command that becomes it if one is given,
// and returns what it acknowledged until it was killed: n, and what it said
// while the signal was on its way.
func runChild(t *testing.T, path string, n int, under ...string) (acknowledged []int) {
	t.Helper()
	argv := append(under[:len(under):len(under)], os.Args[0])
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		i, err := strconv.Atoi(lines.Text())
		if err != nil {
			cmd.Process.Kill()
			t.Fatalf("the child says: %s", lines.Text())
		}
		if acknowledged = append(acknowledged, i); len(acknowledged) == n {
			if err := cmd.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	cmd.Wait()
	if cmd.ProcessState.Success() || len(acknowledged) < n {
		t.Fatalf("the child was not killed in mid-run: %v after %d acknowledgements", cmd.ProcessState, len(acknowledged))
	}
	return acknowledged
}
