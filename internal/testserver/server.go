package testserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// patience is how long a server may take to begin, and a fleet to find
// itself. It is a bound on what hangs, not an expectation.
const patience = 30 * time.Second

// Server is one running program. Its methods may be called concurrently, but
// what Kill and Restart at once leave behind is one of the two.
type Server struct {
	kind   string // "redis", for messages
	argv   func(port int, dir string) []string
	ready  func(s *Server) error // nil when it answers; called again and again
	port   int
	dir    string
	ownDir bool
	log    *log

	mu      sync.Mutex
	process *process // nil: not running
	stopped bool     // for good
}

func (s *Server) String() string { return s.kind + " at " + s.Addr() }

// Addr returns "127.0.0.1:port".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Port returns the port alone.
func (s *Server) Port() int { return s.port }

// Dir returns the server's directory.
func (s *Server) Dir() string { return s.dir }

// Log returns what the server wrote lately to stdout and stderr.
func (s *Server) Log() string { return s.log.tail(200) }

// Pid returns the process id, 0 when the server is not running.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.pid
}

// launch starts s on a free port. Another process may take the port in
// between: then it is tried again with another one.
func (s *Server) launch(dir string) error {
	s.dir, s.log = dir, new(log)
	if dir == "" {
		made, err := os.MkdirTemp("", "testserver-"+s.kind+"-")
		if err != nil {
			return fmt.Errorf("testserver: %w", err)
		}
		if made, err = filepath.EvalSymlinks(made); err != nil {
			return fmt.Errorf("testserver: %w", err)
		}
		s.dir, s.ownDir = made, true
	}
	var err error
	for range 10 {
		if s.port, err = freePort(); err != nil {
			break
		}
		s.mu.Lock()
		err = s.start()
		s.mu.Unlock()
		var gone *exitedError
		if !errors.As(err, &gone) {
			break
		}
	}
	if err != nil {
		s.Stop()
	}
	return err
}

// An exitedError: the program ended before it answered.
type exitedError struct {
	what, how, log string
}

func (e *exitedError) Error() string {
	return fmt.Sprintf("testserver: %s ended at once: %s\n%s", e.what, e.how, e.log)
}

// start starts the process and waits until it answers. s.mu is held.
func (s *Server) start() error {
	argv := s.argv(s.port, s.dir)
	s.log.begin()
	p, err := startProcess(argv, s.dir, s.log)
	if err != nil {
		return fmt.Errorf("testserver: start %s: %w (scripts/setup test installs what is missing)", s.kind, err)
	}
	s.process = p
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if last = s.ready(s); last == nil {
			return nil
		}
		select {
		case <-p.ended:
			s.process = nil
			return &exitedError{s.String(), p.how, s.log.tail(20)}
		case <-time.After(5 * time.Millisecond):
		}
	}
	p.kill()
	s.process = nil
	return fmt.Errorf("testserver: %s does not answer after %v: %w\n%s", s, patience, last, s.log.tail(20))
}

// Kill ends the server with SIGKILL, and returns when it is gone. A server
// that is not running is no error.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	return nil
}

func (s *Server) end() {
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Restart starts the server again on its port and in its directory, killing
// it first if it runs. What it kept in memory is lost.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("testserver: %s was stopped", s)
	}
	s.end()
	var err error
	for range 20 { // the port may be held for a moment by a connection that was
		var gone *exitedError
		if err = s.start(); !errors.As(err, &gone) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// Stop ends the server for good, and removes its directory unless it was
// given one.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	if s.ownDir && !s.stopped {
		os.RemoveAll(s.dir)
	}
	s.stopped = true
}

// Pause stops the process with SIGSTOP: its connections stay, new ones are
// accepted by the kernel, and nothing answers.
func (s *Server) Pause() error { return s.signal("pause", stopSignal) }

// Resume ends a Pause, with SIGCONT.
func (s *Server) Resume() error { return s.signal("resume", continueSignal) }

func (s *Server) signal(what string, signal os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return fmt.Errorf("testserver: %s %s: it is not running", what, s)
	}
	if err := s.process.signal(signal); err != nil {
		return fmt.Errorf("testserver: %s %s: %w", what, s, err)
	}
	return nil
}
