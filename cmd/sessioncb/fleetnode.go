package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// nodeTimeout bounds the start of a server, and its end.
const nodeTimeout = 60 * time.Second

// node is one server of a fleet, a process of this program.
type node struct {
	name  string
	addr  string
	log   *tail
	cmd   *exec.Cmd
	ended chan struct{}
}

func (n *node) String() string { return n.name }

// startNodes starts the servers with args, at the same time. It returns those
// that run, also with an error.
func (f *fleet) startNodes(ctx context.Context, args []string, env ...string) (nodes []*node, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args = append([]string{
		"serve", "--addr", "127.0.0.1:0", "--grace", "2s",
		"--cert", filepath.Join(f.dir, "cert.pem"), "--key", filepath.Join(f.dir, "key.pem"),
	}, args...)
	started := make([]*node, f.nodes)
	errs := make([]error, len(started))
	var wg sync.WaitGroup
	for i := range started {
		wg.Go(func() { started[i], errs[i] = startNode(ctx, fmt.Sprintf("server %d", i+1), exe, args, env) })
	}
	wg.Wait()
	for i, n := range started {
		if errs[i] != nil {
			err = errs[i]
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, err
}

// startNode returns when the server listens.
func startNode(ctx context.Context, name, exe string, args, env []string) (*node, error) {
	n := &node{name: name, log: &tail{}, ended: make(chan struct{})}
	n.cmd = exec.Command(exe, args...)
	n.cmd.Env = append(os.Environ(), env...)
	n.cmd.Stderr = n.log
	n.cmd.SysProcAttr = dieWithParent()
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	running := make(chan error)
	go func() {
		// The kernel kills the child at the death of the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := n.cmd.Start()
		running <- err
		if err == nil {
			<-n.ended
		}
	}()
	if err := <-running; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	first := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		first <- strings.TrimSpace(line)
		io.Copy(io.Discard, r)
		n.cmd.Wait()
		close(n.ended)
	}()
	timeout := time.NewTimer(nodeTimeout)
	defer timeout.Stop()
	select {
	case line := <-first:
		if addr, ok := strings.CutPrefix(line, "listening on "); ok {
			n.addr = addr
			return n, nil
		}
		err = fmt.Errorf("%s does not listen", name)
	case <-timeout.C:
		err = fmt.Errorf("%s does not listen after %v", name, nodeTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	n.kill()
	return nil, fmt.Errorf("%w; its log:\n%s", err, n.log)
}

// kill ends it with SIGKILL and says how it ended.
func (n *node) kill() string {
	n.cmd.Process.Kill() // an error if it has ended
	<-n.ended
	return n.cmd.ProcessState.String()
}

func killNodes(nodes []*node) {
	for _, n := range nodes {
		n.kill()
	}
}

// stop ends it with SIGINT and says how it ended.
func (n *node) stop() string {
	n.cmd.Process.Signal(os.Interrupt)
	select {
	case <-n.ended:
	case <-time.After(nodeTimeout):
		n.kill()
		return fmt.Sprintf("still there after %v", nodeTimeout)
	}
	return n.cmd.ProcessState.String()
}

// stopNodes stops those that run, and prints how they ended.
func (f *fleet) stopNodes(which string, nodes []*node) {
	var wg sync.WaitGroup
	ends := make([]string, len(nodes))
	for i, n := range nodes {
		if n.killed() {
			continue
		}
		wg.Go(func() { ends[i] = n.stop() })
	}
	wg.Wait()
	const clean = "exit status 0"
	seen := clean
	for i, end := range ends {
		if end != "" && end != clean {
			seen = fmt.Sprintf("%s: %s", nodes[i], end)
		}
	}
	f.table.line("servers on "+which+" stopped", "-", clean, seen)
}

// killed says whether a signal ended it.
func (n *node) killed() bool {
	select {
	case <-n.ended:
	default:
		return false
	}
	status, ok := n.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// printLogs shows the end of each server's log, for who looks for the reason
// of a failure.
func (f *fleet) printLogs(w io.Writer) {
	for _, n := range f.servers {
		fmt.Fprintf(w, "-- %s at %s, the end of its log:\n%s\n", n, n.addr, n.log)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is without the line that was cut.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.text
	if len(text) == tailBytes {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return string(bytes.TrimSpace(text))
}
