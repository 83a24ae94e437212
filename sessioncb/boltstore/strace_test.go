//go:build linux

package boltstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSyncedBeforePutReturns kills a process that writes, 1,000 Puts into it,
// with strace looking on: the system calls show that each value was on disk,
// and that the file's root pointed to it, before its Put returned. TestKill
// cannot tell: what a killed process wrote, the kernel keeps, synced or not.
func TestSyncedBeforePutReturns(t *testing.T) {
	const puts = 1000
	path := filepath.Join(t.TempDir(), "sessions.bolt")
	events, acknowledged := traceChild(t, path, puts)
	checkKept(t, path, acknowledged)
	for _, i := range acknowledged {
		if err := events.checkDurable(i); err != nil {
			t.Fatalf("of %d Puts that returned: %v", len(acknowledged), err)
		}
	}
	t.Logf("%d Puts, %d syncs", len(acknowledged), len(events.syncs))
}

// TestTraceSeesMissingSyncs: the same of a store that does not sync.
func TestTraceSeesMissingSyncs(t *testing.T) {
	t.Setenv(childNoSync, "1")
	events, acknowledged := traceChild(t, filepath.Join(t.TempDir(), "sessions.bolt"), 50)
	for _, i := range acknowledged {
		if err := events.checkDurable(i); err == nil {
			t.Fatalf("Put %d is taken for durable, in a store that does not sync", i)
		}
	}
}

// traceChild runs the child under strace until it has acknowledged n Puts.
func traceChild(t *testing.T, path string, n int) (events trace, acknowledged []int) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is not installed; scripts/setup test does it")
	}
	file := filepath.Join(t.TempDir(), "trace")
	if out, err := exec.Command(strace, "-o", file, "true").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: that a Put is on disk when it returns. This system lets no process trace another: %v: %s", err, out)
	}
	acknowledged = runChild(t, path, n, strace,
		"-D",       // as a grandchild: what is killed is the child, not strace
		"-f", "-y", // all threads; file names beside descriptors
		"-s", "100000", // what is written, whole
		"-e", "trace=pwrite64,write,fdatasync,fsync", "-e", "signal=none", "-o", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	events, err = parseTrace(text, path)
	if err != nil {
		t.Fatal(err)
	}
	return events, acknowledged
}

// A trace is what became of the bolt file, and what the child said.
type trace struct {
	values map[string][]event // pages of the file, by each crashMark in them
	roots  []event            // the two pages that say where all begins
	syncs  []event            // fdatasync or fsync of the file
	said   map[string]event   // the child says that a Put has returned
}

// An event is a system call that succeeded. It begins and ends at lines of
// the trace, whose order is the order of time.
type event struct {
	begin, end int
	call       call
}

// checkDurable looks for what bolt does for a commit: the value is written,
// synced, the root is written, synced, each after the other has ended; and
// only then does the child say that the Put has returned.
func (t trace) checkDurable(i int) error {
	said, ok := t.said[strconv.Itoa(i)+`\n`]
	if !ok {
		return fmt.Errorf("put %d: nobody said that it returned", i)
	}
	at := 0
	for _, step := range []struct {
		name   string
		events []event
	}{
		{"the value's page", t.values[crashMark(i)]},
		{"a sync of it", t.syncs},
		{"the root's page", t.roots},
		{"a sync of it", t.syncs},
	} {
		if at = firstEnd(step.events, at); at >= said.begin {
			return fmt.Errorf("put %d returned (line %d) without %s", i, said.begin, step.name)
		}
	}
	return nil
}

// firstEnd returns the end of the event that ends first of those that begin
// after the line.
func firstEnd(events []event, after int) int {
	first := math.MaxInt
	for _, e := range events {
		if e.begin > after {
			first = min(first, e.end)
		}
	}
	return first
}

// parseTrace reads what strace wrote of a process that has the bolt file at
// path open.
func parseTrace(text []byte, path string) (trace, error) {
	t := trace{values: map[string][]event{}, said: map[string]event{}}
	open := map[string]event{} // by thread: begun and not ended
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		thread, rest, found := strings.Cut(strings.TrimRight(line, "\n"), " ")
		rest = strings.TrimLeft(rest, " ")
		if !found {
			return t, fmt.Errorf("line %d of the trace: %.100q", n, line)
		}
		var e event
		switch {
		case strings.HasPrefix(rest, "+++ "), strings.HasPrefix(rest, "--- "):
			continue // a thread ended
		case strings.HasPrefix(rest, "<... "):
			begun, ok := open[thread]
			if !ok {
				continue // of another file
			}
			delete(open, thread)
			e = begun
		default:
			call, err := parseCall(rest)
			if err != nil {
				return t, fmt.Errorf("line %d of the trace: %w: %.100q", n, err, line)
			}
			e = event{begin: n, call: call}
			switch {
			case call.name == "write":
				if call.fd == "1" {
					// The parent may have read it though the child was killed in it.
					t.said[call.text] = e
				}
				continue
			case call.file != path:
				continue
			case call.unfinished:
				open[thread] = e
				continue
			}
		}
		e.end = n
		t.add(e, rest[strings.LastIndex(rest, "= ")+2:])
	}
	return t, nil
}

// add notes a call by its result, unless it failed or was killed.
func (t *trace) add(e event, result string) {
	ok := result != "" && result[0] >= '1' && result[0] <= '9'
	switch {
	case e.call.name != "pwrite64":
		if result == "0" {
			t.syncs = append(t.syncs, e)
		}
	case ok && e.call.offset < 2*os.Getpagesize():
		t.roots = append(t.roots, e)
	case ok:
		for _, mark := range crashMarks.FindAllString(e.call.text, -1) {
			t.values[mark] = append(t.values[mark], e)
		}
	}
}

var crashMarks = regexp.MustCompile(`<\d{6}>`)

// A call is a line of strace -f -y: name(fd<file>, "text", size, offset) = result,
// or all before the result and "<unfinished ...>" when another thread's call
// came in between.
type call struct {
	name, fd, file, text string
	offset               int
	unfinished           bool
}

func parseCall(line string) (c call, err error) {
	var args string
	var found bool
	c.name, args, _ = strings.Cut(line, "(")
	c.fd, args, _ = strings.Cut(args, "<")
	if c.file, args, found = strings.Cut(args, ">"); !found {
		return c, errors.New("not understood")
	}
	c.unfinished = strings.HasSuffix(line, " <unfinished ...>")
	if text, isText := strings.CutPrefix(args, `, "`); isText {
		end := strings.LastIndex(text, `"`)
		if end < 0 {
			return c, errors.New("not understood")
		}
		c.text, args = text[:end], text[end+1:]
		if strings.HasPrefix(args, "...") {
			return c, errors.New("what was written is cut")
		}
	}
	if c.name == "pwrite64" {
		if _, err := fmt.Sscanf(args, ", %d, %d", new(int), &c.offset); err != nil {
			return c, fmt.Errorf("size and offset: %w", err)
		}
	}
	return c, nil
}

// TestCheckDurable has traces that must not pass.
func TestCheckDurable(t *testing.T) {
	const (
		value = `1 pwrite64(5</db>, "\0<000007>", 4096, 8192) = 4096`
		other = `1 pwrite64(5</db>, "\0<000008>", 4096, 8192) = 4096`
		root  = `1 pwrite64(5</db>, "\0\0", 4096, 4096) = 4096`
		sync  = `1 fdatasync(5</db>) = 0`
		mark  = `2 write(1<pipe:[1]>, "7\n", 2) = 2`
	)
	for _, test := range []struct {
		why   string
		trace []string
		good  bool
	}{
		{"a commit", []string{value, sync, root, sync, mark}, true},
		{"beside another thread's calls", []string{value, `3 write(9<anon_inode:[eventfd]>, "\1\0", 8) = 8`, sync, root, sync, mark}, true},
		{"in two lines each", []string{
			`1 pwrite64(5</db>, "<000007>", 4096, 8192 <unfinished ...>`, `3 write(1<pipe:[1]>, "6\n", 2) = 2`, `1 <... pwrite64 resumed>) = 4096`,
			`1 fdatasync(5</db> <unfinished ...>`, `1 <... fdatasync resumed>) = 0`, root, sync, mark}, true},
		{"fsync", []string{value, `1 fsync(5</db>) = 0`, root, sync, mark}, true},

		{"no sync at all", []string{value, root, mark}, false},
		{"one sync", []string{value, root, sync, mark}, false},
		{"the root is not synced", []string{value, sync, root, mark}, false},
		{"the root is synced too late", []string{value, sync, root, mark, sync}, false},
		{"the sync has not ended", []string{value, sync, root, `1 fdatasync(5</db> <unfinished ...>`, mark, `1 <... fdatasync resumed>) = 0`}, false},
		{"the sync began before the write ended", []string{
			`1 pwrite64(5</db>, "<000007>", 4096, 8192 <unfinished ...>`, `3 fdatasync(5</db>) = 0`, `1 <... pwrite64 resumed>) = 4096`, root, sync, mark}, false},
		{"the sync failed", []string{value, `1 fdatasync(5</db>) = -1 EIO (Input/output error)`, root, sync, mark}, false},
		{"another file's sync", []string{value, `1 fdatasync(6</db2>) = 0`, root, `1 fdatasync(6</db2>) = 0`, mark}, false},
		{"another value's commit", []string{other, sync, root, sync, mark}, false},
		{"the commit before", []string{other, sync, root, sync, value, mark}, false},
		{"no marker", []string{value, sync, root, sync}, false},
		{"killed in the last sync", []string{value, sync, root, `1 fdatasync(5</db>) = ?`, mark}, false},
	} {
		events, err := parseTrace([]byte(strings.Join(test.trace, "\n")), "/db")
		if err != nil {
			t.Errorf("%s: %v", test.why, err)
		}
		if err := events.checkDurable(7); (err == nil) != test.good {
			t.Errorf("%s: %v", test.why, err)
		}
	}
}
