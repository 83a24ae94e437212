package main

import (
	"crypto/tls"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/stats"
)

// A peer is a server program that is started.
type peer struct{ name, program string }

var peers = []peer{{"C", "cserver"}, {"ours", "ours"}, {"crypto/tls", "cryptotls"}}

// A first is how long a server took, in ms from its exec: to listen, and to
// have made its first handshake.
type first struct {
	peer
	listening, handshake stats.Quartiles
}

// firsts starts the servers in turn.
func firsts(root string, cpu, starts int) ([]first, error) {
	listening, handshake := map[string][]float64{}, map[string][]float64{}
	for range starts {
		for _, p := range peers {
			l, h, err := start(root, cpu, p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			listening[p.name] = append(listening[p.name], l)
			handshake[p.name] = append(handshake[p.name], h)
		}
	}
	var all []first
	for _, p := range peers {
		all = append(all, first{p, stats.Of(listening[p.name]), stats.Of(handshake[p.name])})
	}
	return all, nil
}

// server is the command line of a peer.
func server(root string, p peer, flags ...string) *exec.Cmd {
	certs := filepath.Join(root, "testdata/certs")
	args := []string{"-work", "echo", "-version", "1.3", "-store", "none", "-cert", certs + "/server.pem", "-key", certs + "/server-key.pem"}
	return exec.Command(filepath.Join(root, "bench/bin", p.program), append(args, flags...)...)
}

// client takes any certificate, as the load does.
var client = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}

// start starts a server, and makes a handshake with it as soon as it listens.
func start(root string, cpu int, p peer) (listening, handshake float64, err error) {
	cmd := server(root, p)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	ms := func() float64 { return float64(time.Since(begin).Microseconds()) / 1000 }
	if err := host.Start(cmd, cpu); err != nil {
		return 0, 0, err
	}
	defer func() {
		stdin.Close()
		if end := cmd.Wait(); err == nil {
			err = end
		}
	}()
	line := make([]byte, 64)
	n, err := stdout.Read(line)
	if err != nil {
		return 0, 0, err
	}
	listening = ms()
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "listening ")
	if !ok {
		return 0, 0, fmt.Errorf("its first line is %q", line[:n])
	}
	c, err := tls.Dial("tcp", addr, client)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	// The client's handshake is complete before the server's: an echo shows both.
	if _, err := c.Write([]byte("x")); err != nil {
		return 0, 0, err
	}
	if _, err := c.Read(line); err != nil {
		return 0, 0, err
	}
	return listening, ms(), nil
}
