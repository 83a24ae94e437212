package testserver

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memcached starts a memcached that ends with the test.
func Memcached(t TB, args ...string) *Server {
	t.Helper()
	s, err := StartMemcached(Options{Args: args})
	if err != nil {
		t.Fatalf("%v", err)
	}
	end(t, s)
	return s
}

// StartMemcached starts a memcached: 64 MiB, values up to 1 MiB, no UDP.
func StartMemcached(o Options) (*Server, error) {
	program := o.Memcached
	if program == "" {
		program = "memcached"
	}
	s := &Server{kind: "memcached", ready: memcachedReady}
	s.argv = func(port int, _ string) []string {
		argv := []string{program, "-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-m", "64"}
		if os.Getuid() == 0 {
			argv = append(argv, "-u", "root") // it refuses to be root by accident
		}
		return append(argv, o.Args...)
	}
	if err := s.launch(o.Dir); err != nil {
		return nil, err
	}
	return s, nil
}

// memcachedReady asks for the process id, so that another process's memcached
// on the same port is not taken for ours.
func memcachedReady(s *Server) error {
	c, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("stats\r\n")); err != nil {
		return err
	}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		switch f := strings.Fields(lines.Text()); {
		case len(f) == 3 && f[1] == "pid" && f[2] == strconv.Itoa(s.process.pid):
			return nil
		case len(f) == 3 && f[1] == "pid":
			return fmt.Errorf("process %s answers", f[2])
		}
	}
	return fmt.Errorf("no stats: %v", lines.Err())
}
