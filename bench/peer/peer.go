// Package peer is what the Go servers of the benchmark have in common: the
// command line, the protocol on stdin and stdout, the counters, and the loop
// that serves connections. What is left to each of them is its TLS.
package peer

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
)

// Conn is the server side of a TLS connection.
type Conn interface {
	net.Conn
	Handshake() error
}

// Server is what a library brings.
type Server struct {
	// Listen, unless nil, makes the listener from one of package net.
	Listen func(*net.TCPListener) (net.Listener, error)
	// Wrap makes a connection of an accepted one, and owns it when it succeeds.
	Wrap func(net.Conn) (Conn, error)
	// Resumed says whether the handshake of c, which has succeeded, resumed a
	// session; nil where Total counts them.
	Resumed func(c Conn) bool
	// Total, unless nil, is called before the counters are told, for what the
	// library itself has counted.
	Total func(*Counters)
	// Live, unless nil, counts the objects of the library that are alive.
	Live func() map[string]int64
	// Trim, unless nil, gives back to the system what the library freed and its
	// allocator keeps.
	Trim func()
}

// Program is one peer.
type Program struct {
	Name   string
	Stores []string // the values of -store that it has
	// Flags, unless nil, adds flags of its own.
	Flags func(*flag.FlagSet)
	// New makes the server. It wraps ErrNotHad for what the library has not.
	New func(*Options, *Counters) (*Server, error)
}

// Main runs the program and returns its exit code: 0 at the end of stdin, 2 for
// a wrong command line and for what the peer has not, 1 for other errors.
func Main(p Program) int {
	return run(p, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

func run(p Program, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return code
	}
	fs := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	o, err := parse(fs, args, p.Stores, p.Flags)
	if err != nil {
		return fail(2, err)
	}
	if o.maxProcs > 0 {
		runtime.GOMAXPROCS(o.maxProcs)
	}
	n := &Counters{}
	s, err := p.New(o, n)
	if errors.Is(err, ErrNotHad) {
		return fail(2, err)
	} else if err != nil {
		return fail(1, err)
	}
	l, err := Listen()
	if err != nil {
		return fail(1, err)
	}
	if s.Listen != nil {
		if l, err = s.Listen(l.(*net.TCPListener)); err != nil {
			return fail(1, err)
		}
	}
	defer l.Close()
	stop, err := record(o.cpuProfile, o.trace)
	if err != nil {
		return fail(1, err)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l, o.Work, n) }()
	asked := make(chan error, 1)
	go func() { asked <- answer(s, n, stdin, stdout, "listening "+l.Addr().String()+"\n") }()
	select {
	case err = <-failed:
	case err = <-asked:
	}
	if err = errors.Join(err, stop()); err != nil {
		return fail(1, err)
	}
	return 0
}

// answer says hello, and answers stdin until it ends.
func answer(s *Server, n *Counters, stdin io.Reader, stdout io.Writer, hello string) error {
	if _, err := io.WriteString(stdout, hello); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		var line []byte
		switch lines.Text() {
		case "stats":
			if s.Total != nil {
				s.Total(n)
			}
			line = n.line()
		case "rest":
			line = rest(s)
		case "trim":
			if s.Trim != nil {
				s.Trim()
			}
			line = rest(s)
		default:
			return fmt.Errorf("stdin: %q is not stats, rest or trim", lines.Text())
		}
		if _, err := stdout.Write(line); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Serve accepts until the listener fails, and gives each connection a goroutine,
// its handshake and the work of that name.
func (s *Server) Serve(l net.Listener, name string, n *Counters) error {
	work := works[name]
	if work == nil {
		return fmt.Errorf("no work is called %q", name)
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		n.Accepted.Add(1)
		go s.connection(nc, work, n)
	}
}

func (s *Server) connection(nc net.Conn, work func(Conn), n *Counters) {
	c, err := s.Wrap(nc)
	if err != nil {
		n.Failed.Add(1)
		nc.Close()
		return
	}
	defer c.Close()
	if err := c.Handshake(); err != nil {
		n.Failed.Add(1)
		return
	}
	n.Handshakes.Add(1)
	if s.Resumed != nil && s.Resumed(c) {
		n.Resumed.Add(1)
	}
	work(c)
}
