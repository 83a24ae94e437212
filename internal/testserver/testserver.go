// Package testserver runs real servers for tests, for the demo and for
// "sessioncb fleet": Redis alone, as a Cluster or under Sentinel, memcached,
// and peers that misbehave.
//
// Each server has a free loopback port and a temporary directory of its own,
// keeps nothing on disk unless its arguments say so, and ends with the test:
//
//	redis := testserver.Redis(t)
//	client := redis.Addr() // ...
//	redis.Pause()          // it hangs, as a machine that swaps would
//
// The forms without a test return errors, and their servers are ended by Stop:
//
//	redis, err := testserver.StartRedis(testserver.Options{})
//	defer redis.Stop()
//
// On Linux the kernel ends the servers when the process that started them is
// gone, however it went.
//
// The programs are those in PATH: scripts/setup test installs them.
package testserver

import (
	"fmt"
	"strings"
)

// TB is the part of testing.TB that is used here, so that a program which
// starts servers does not link package testing.
type TB interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Options of a server. The zero value is a good choice.
type Options struct {
	// Args go to the end of the command line, where they override what this
	// package gives: "--maxmemory", "10mb". Of a Cluster and of Sentinel, all
	// Redis servers get them.
	Args []string
	// TLS makes a Redis server alone speak TLS, and nothing else, on its port.
	TLS *TLS
	// Dir is an existing directory for the server's files. Empty: one is made,
	// and removed by Stop.
	Dir string
	// RedisServer and Memcached are the programs. Empty: redis-server and
	// memcached of PATH. valkey-server takes the arguments of redis-server.
	RedisServer, Memcached string
}

// TLS names files in PEM.
type TLS struct{ CertFile, KeyFile, CAFile string }

// end stops what a test started when the test ends, and shows the end of its
// log if the test failed.
func end(t TB, servers ...*Server) {
	t.Cleanup(func() {
		for _, s := range servers {
			s.Stop()
			if t.Failed() {
				t.Logf("%s, its last lines:\n%s", s, s.log.tail(20))
			}
		}
	})
}

// group is several servers that are treated alike.
type group []*Server

// Addrs returns the servers' addresses, "host:port".
func (g group) Addrs() (addrs []string) {
	for _, s := range g {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Stop ends all, and removes their directories.
func (g group) Stop() {
	for _, s := range g {
		s.Stop()
	}
}

// each calls f for all and returns the first error.
func (g group) each(f func(*Server) error) (err error) {
	for _, s := range g {
		if e := f(s); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// Kill ends all with SIGKILL.
func (g group) Kill() error { return g.each((*Server).Kill) }

// Restart starts all again, each on its port and in its directory.
func (g group) Restart() error { return g.each((*Server).Restart) }

// Pause stops all with SIGSTOP: connections stay and are accepted by the
// kernel, and nothing answers.
func (g group) Pause() error { return g.each((*Server).Pause) }

// Resume ends a Pause.
func (g group) Resume() error { return g.each((*Server).Resume) }

// at returns the server with the address.
func (g group) at(addr string) (*Server, error) {
	for _, s := range g {
		if s.Addr() == addr {
			return s, nil
		}
	}
	return nil, fmt.Errorf("testserver: %s is none of %s", addr, strings.Join(g.Addrs(), " "))
}
