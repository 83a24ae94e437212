package testserver

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// A process is a child that ends with this process.
type process struct {
	pid   int
	os    *os.Process
	ended chan struct{} // closed when it is gone
	how   string        // once ended is closed
}

// startProcess starts argv in dir.
//
// The signal that the kernel sends at our death is sent, more exactly, at the
// death of the thread that started the child. So that thread is held until the
// child is gone.
func startProcess(argv []string, dir string, output *log) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.SysProcAttr = dieWithParent()
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid, p.os = cmd.Process.Pid, cmd.Process
		started <- nil
		cmd.Wait()
		p.how = cmd.ProcessState.String()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) kill() {
	p.os.Kill() // SIGKILL, which a stopped process obeys too
	<-p.ended
}

func (p *process) signal(s os.Signal) error { return p.os.Signal(s) }

// log keeps the end of what a server says.
type log struct {
	mu    sync.Mutex
	bytes []byte
	run   int // where the words of the last process begin
}

const logSize = 64 << 10

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes = append(l.bytes, b...)
	if over := len(l.bytes) - logSize; over > 0 {
		l.bytes = append(l.bytes[:0], l.bytes[over:]...)
		l.run = max(0, l.run-over)
	}
	return len(b), nil
}

// begin notes that a process starts.
func (l *log) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run = len(l.bytes)
}

// said reports whether the last process has said so.
func (l *log) said(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.bytes[l.run:], []byte(words))
}

// tail returns the last n lines.
func (l *log) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(string(bytes.TrimSpace(l.bytes)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
