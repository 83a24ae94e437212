// Package measure starts the servers and the load, and measures one run.
package measure

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
)

// A Server is a peer's process, listening.
type Server struct {
	Addr string
	PID  int

	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	stderr *head
	exited chan struct{}
	err    error // of Wait, once exited is closed
}

const (
	startLimit = 20 * time.Second // a machine that others use may be slow
	statsLimit = 10 * time.Second
	stopLimit  = 10 * time.Second
)

// StartServer starts a server on a processor and waits until it listens. name
// is for errors. Stop ends it.
func StartServer(name string, cpu int, argv ...string) (*Server, error) {
	return startServer(name, []int{cpu}, argv...)
}

func startServer(name string, cpus []int, argv ...string) (*Server, error) {
	s := &Server{name: name, cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string), stderr: &head{}, exited: make(chan struct{})}
	s.cmd.Stderr = s.stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.stdin = stdin
	if err := host.Start(s.cmd, cpus...); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.PID = s.cmd.Process.Pid
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			s.lines <- in.Text()
		}
		close(s.lines)
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	line, err := s.line(startLimit)
	if err == nil {
		var ok bool
		if s.Addr, ok = strings.CutPrefix(line, "listening "); !ok {
			err = fmt.Errorf("%s: its first line is %q, not \"listening HOST:PORT\"", name, line)
		}
	}
	if err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

// line is the next of its output.
func (s *Server) line(limit time.Duration) (string, error) {
	select {
	case line, ok := <-s.lines:
		if ok {
			return line, nil
		}
		<-s.exited
		return "", fmt.Errorf("%s: it ended: %v%s", s.name, s.err, s.stderr)
	case <-time.After(limit):
		return "", fmt.Errorf("%s: no answer in %v%s", s.name, limit, s.stderr)
	}
}

// Stats asks for its counters.
func (s *Server) Stats() (record.Stats, error) {
	var st record.Stats
	if _, err := io.WriteString(s.stdin, "stats\n"); err != nil {
		return st, fmt.Errorf("%s: stats: %w%s", s.name, err, s.stderr)
	}
	line, err := s.line(statsLimit)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal([]byte(line), &st); err != nil {
		return st, fmt.Errorf("%s: stats: %w: %q", s.name, err, line)
	}
	return st, nil
}

// A Rest is what a server has when it has nothing to do and gave back what
// memory it could: the live objects of its library by name, and its Go heap.
type Rest struct {
	Live map[string]int64 `json:"live"`
	Heap int64            `json:"heap"` // bytes in use
}

// Rest asks for it. Ours and the other Go peers have it; the others do not
// answer.
func (s *Server) Rest() (Rest, error) { return s.rest("rest") }

// Trim asks for it after the allocator of its library gave back what it keeps.
func (s *Server) Trim() (Rest, error) { return s.rest("trim") }

func (s *Server) rest(command string) (Rest, error) {
	var r Rest
	if _, err := io.WriteString(s.stdin, command+"\n"); err != nil {
		return r, fmt.Errorf("%s: %s: %w%s", s.name, command, err, s.stderr)
	}
	line, err := s.line(statsLimit)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return r, fmt.Errorf("%s: %s: %w: %q", s.name, command, err, line)
	}
	return r, nil
}

// Settled asks for its counters until they stand still: after the load has
// ended, a server may have the ends of some connections before it.
func (s *Server) Settled() (record.Stats, error) {
	before, err := s.Stats()
	for end := time.Now().Add(time.Second); err == nil && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		var now record.Stats
		if now, err = s.Stats(); now == before {
			break
		}
		before = now
	}
	return before, err
}

// Stop ends it by the end of its input. A server that does not end is killed,
// and that is an error.
func (s *Server) Stop() error {
	s.stdin.Close()
	go func() {
		for range s.lines {
		}
	}()
	select {
	case <-s.exited:
		if s.err != nil {
			return fmt.Errorf("%s: at the end of its input: %w%s", s.name, s.err, s.stderr)
		}
		return nil
	case <-time.After(stopLimit):
		s.kill()
		return fmt.Errorf("%s: it goes on after the end of its input%s", s.name, s.stderr)
	}
}

func (s *Server) kill() {
	s.stdin.Close()
	s.cmd.Process.Kill()
	go func() {
		for range s.lines {
		}
	}()
	<-s.exited
}

// A head keeps the beginning of what a process says on its standard error.
type head struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const headBytes = 2000

func (t *head) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b[:min(len(b), headBytes-t.buf.Len())])
	return len(b), nil
}

// String is empty, or the text as the end of an error.
func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(t.buf.String())
	if text == "" {
		return ""
	}
	return ": " + text
}
