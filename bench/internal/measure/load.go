package measure

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
)

// A load is a process of the load generator.
type load struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    chan string // its line, or closed without one
	stderr *head
	exited chan struct{}
	err    error
}

var errNoResult = errors.New("it printed no result")

func startLoad(cpu int, argv ...string) (*load, error) {
	l := &load{cmd: exec.Command(argv[0], argv[1:]...), out: make(chan string, 1), stderr: &head{}, exited: make(chan struct{})}
	l.cmd.Stderr = l.stderr
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	l.stdin = stdin
	if err := host.Start(l.cmd, cpu); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	go func() {
		in := bufio.NewReader(stdout)
		if line, err := in.ReadString('\n'); err == nil {
			l.out <- line
		}
		close(l.out)
		io.Copy(io.Discard, in)
		l.err = l.cmd.Wait()
		close(l.exited)
	}()
	return l, nil
}

// result is what it printed. It is killed when that takes longer than limit.
func (l *load) result(limit time.Duration) (record.Load, error) {
	var r record.Load
	select {
	case line, ok := <-l.out:
		if !ok {
			<-l.exited
			return r, fmt.Errorf("load: %w: %v%s", errNoResult, l.err, l.stderr)
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			l.kill()
			return r, fmt.Errorf("load: %w: %q", err, line)
		}
		return r, nil
	case <-time.After(limit):
		l.kill()
		return r, fmt.Errorf("load: no result in %v%s", limit, l.stderr)
	}
}

// end waits for its exit, after the end of its input, and returns the
// processor time that it took.
func (l *load) end() (time.Duration, error) {
	l.stdin.Close()
	select {
	case <-l.exited:
	case <-time.After(stopLimit):
		l.kill()
		return 0, fmt.Errorf("load: it goes on after its result%s", l.stderr)
	}
	st := l.cmd.ProcessState
	if l.err != nil {
		return 0, fmt.Errorf("load: %w%s", l.err, l.stderr)
	}
	return st.UserTime() + st.SystemTime(), nil
}

func (l *load) kill() {
	l.cmd.Process.Kill()
	<-l.exited
}
