package testserver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are below those that systems give to outgoing connections (Linux:
// from 32768), also the port of a Cluster's bus, which is 10,000 higher.
const (
	firstPort = 10_000
	ports     = 12_000
	busOffset = 10_000
)

// freePort returns a port that nobody listened on a moment ago, nor on its
// bus port. Random ones, since several test processes look at the same time.
func freePort() (int, error) {
	for range 200 {
		port := firstPort + rand.IntN(ports)
		if free(port) && free(port+busOffset) {
			return port, nil
		}
	}
	return 0, errors.New("testserver: no free port on 127.0.0.1")
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// answers reports whether somebody accepts connections there.
func answers(addr string) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	return c.Close()
}
