package testserver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Redis starts a Redis server that ends with the test.
func Redis(t TB, args ...string) *Server {
	t.Helper()
	return RedisWith(t, Options{Args: args})
}

// RedisWith is Redis with all options.
func RedisWith(t TB, o Options) *Server {
	t.Helper()
	s, err := StartRedis(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	end(t, s)
	return s
}

// StartRedis starts a Redis server: no persistence, no password, no limit of
// memory.
func StartRedis(o Options) (*Server, error) {
	s := redisServer(o)
	if err := s.launch(o.Dir); err != nil {
		return nil, err
	}
	return s, nil
}

// redisServer is a server yet to be launched; args come before the caller's.
func redisServer(o Options, args ...string) *Server {
	program := o.RedisServer
	if program == "" {
		program = "redis-server"
	}
	s := &Server{kind: "redis", ready: redisReady}
	s.argv = func(port int, dir string) []string {
		argv := []string{program, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no",
			"--repl-diskless-sync-delay", "0"} // a replica joins at once
		if o.TLS != nil {
			argv = append(argv, "--port", "0", "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "no",
				"--tls-cert-file", o.TLS.CertFile, "--tls-key-file", o.TLS.KeyFile, "--tls-ca-cert-file", o.TLS.CAFile)
		} else {
			argv = append(argv, "--port", strconv.Itoa(port))
		}
		return append(append(argv, args...), o.Args...)
	}
	return s
}

// redisReady waits for the line in its log that says so, whatever password or
// certificate it takes to talk to it. The port is the process's own: it ends
// when it does not get it.
func redisReady(s *Server) error {
	if !s.log.said("Ready to accept connections") {
		return errors.New("it is not ready to accept connections")
	}
	return answers(s.Addr())
}

// until asks again and again.
func until(what string, ok func() (bool, error)) error {
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		done, err := ok()
		if done {
			return nil
		}
		last = err
	}
	return fmt.Errorf("testserver: not after %v: %s (%v)", patience, what, last)
}

// field returns a field of INFO, CLUSTER INFO and the like: name:value lines.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
