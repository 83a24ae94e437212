package fleettest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// A process is another process of this binary. It is asked with a line on its
// standard input and answers with a line of JSON; the end of its input ends
// it.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    *os.File
	out   *bufio.Reader
	mu    sync.Mutex // one question at a time
	ended bool
}

// argumentVariable has the JSON that startProcess was given.
const argumentVariable = "SESSIONCB_TEST_ARGUMENT"

// startProcess starts processes[name]. It ends with the test, and must then
// end well.
func startProcess(t testing.TB, name string, argument any) *process {
	t.Helper()
	p, err := newProcess(t, name, argument, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newProcess is startProcess with a chance to change the command.
func newProcess(t testing.TB, name string, argument any, change func(*exec.Cmd)) (*process, error) {
	arg, err := json.Marshal(argument)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processVariable+"="+name, argumentVariable+"="+string(arg),
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=50") // not a second for each process
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer childOut.Close()
	cmd.Stdin, cmd.Stdout = childIn, childOut
	if err := cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		p.end()
		out.Close()
	})
	return p, nil
}

// ask sends a line and decodes the answer into answer, unless that is nil. It
// may be called concurrently by goroutines of the test.
func (p *process) ask(line string, answer any) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatalf("the other process, %q: %v", line, err)
	}
	p.read(answer)
}

// read decodes a line that the process writes unasked: its first.
func (p *process) read(answer any) {
	p.t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		p.t.Fatalf("the other process is gone: %v", err)
	}
	var failed struct{ ProcessError string }
	if json.Unmarshal(line, &failed) == nil && failed.ProcessError != "" {
		p.t.Fatalf("the other process: %s", failed.ProcessError)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(line, answer); err != nil {
		p.t.Fatalf("the other process: %v in %q", err, line)
	}
}

// kill ends it with SIGKILL.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.in.Close()
	p.ended = true
}

// end closes its input and waits; that it fails, its leak gate included, is
// the test's failure.
func (p *process) end() {
	if p.ended {
		return
	}
	p.ended = true
	p.in.Close()
	late := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the other process: %v", err)
	}
}

// argument decodes what startProcess was given; for the other process.
func argument(into any) error { return json.Unmarshal([]byte(os.Getenv(argumentVariable)), into) }

// answerLines calls f for each line of standard input and writes what it
// returns, and an error as such; for the other process.
func answerLines(f func(line string) (any, error)) error {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := f(in.Text())
		if err := tell(answer, err); err != nil {
			return err
		}
	}
	return nil
}

// tell writes one line for process.read.
func tell(answer any, err error) error {
	if err != nil {
		answer = struct{ ProcessError string }{err.Error()}
	}
	line, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}
