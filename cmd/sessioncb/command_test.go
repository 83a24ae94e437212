package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// asCommand makes the test binary the command, so that a server can be a
// process of its own, built as the tests are.
const asCommand = "SESSIONCB_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience bounds waits for what must happen; it measures nothing.
const patience = 30 * time.Second

func cert(name string) string { return filepath.Join("..", "..", "testdata", "certs", name) }

// result is what one run of the command came to.
type result struct {
	code           int
	stdout, stderr string
}

// command runs the command inside the test.
func command(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// succeed is command for one that must exit with 0.
func succeed(t *testing.T, args ...string) string {
	t.Helper()
	r := command(t, "", args...)
	if r.code != exitOK {
		t.Fatalf("sessioncb %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// process is a `sessioncb serve` that runs.
type process struct {
	cmd  *exec.Cmd
	addr string
	log  *logBuffer // stderr
	done chan struct{}
}

// serve starts a server process on a free port, with a certificate of
// testdata unless args say otherwise.
func serve(t *testing.T, args ...string) *process {
	t.Helper()
	p, first := start(t, append([]string{
		"serve", "--addr", "127.0.0.1:0", "--cert", cert("server.pem"), "--key", cert("server-key.pem"),
	}, args...)...)
	addr, ok := strings.CutPrefix(first, "listening on ")
	if !ok {
		p.cmd.Process.Kill()
		<-p.done
		t.Fatalf("the first line is %q, stderr:\n%s", first, p.log)
	}
	p.addr = addr
	return p
}

// start starts the command as a process and returns its first line, "" if it
// ended without one.
func start(t *testing.T, args ...string) (p *process, first string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p = &process{cmd: exec.Command(exe, args...), log: &logBuffer{}, done: make(chan struct{})}
	// The race detector sleeps for a second at the end of a process, by default.
	p.cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	p.cmd.Stderr = p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		lines.Scan()
		line <- lines.Text()
		for lines.Scan() {
			t.Errorf("one more line on stdout: %s", lines.Text())
		}
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() // an error if it has ended, as it should have
		<-p.done
		if t.Failed() {
			t.Logf("stderr of %v:\n%s", args, p.log)
		}
	})
	select {
	case first = <-line:
	case <-time.After(patience):
		t.Fatalf("%v: no line on stdout", args)
	}
	return p, first
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("the process does not end; stderr:\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop sends the signal, and expects a clean end.
func (p *process) stop(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d after %v; stderr:\n%s", code, s, p.log)
	}
}

// awaitLog waits until the log has n lines that contain all the parts, and
// returns them.
func (p *process) awaitLog(t *testing.T, n int, parts ...string) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if lines := p.log.lines(parts...); len(lines) >= n {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has not %d lines with %q:\n%s", n, parts, p.log)
		}
	}
}

// logBuffer is what a process wrote so far.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) lines(parts ...string) (lines []string) {
	for line := range strings.Lines(b.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			lines = append(lines, line)
		}
	}
	return lines
}

// Wrong usage is exit code 2 and says what is wrong; nothing is opened or made.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bolt := "bolt:" + filepath.Join(dir, "s.bolt")
	keys := filepath.Join(dir, "fleet.keys")
	for _, c := range []struct {
		args string
		want string // in stderr
	}{
		{"", "a command is missing"},
		{"serv", `unknown command "serv"`},
		{"--nothing", "unknown flag: --nothing"},
		{"serve --nothing", "unknown flag: --nothing"},
		{"serve extra", `unknown command "extra"`},
		{"serve --addr nowhere", "--addr"},
		{"serve --store redis:x", "is none of memory, live, bolt:PATH"},
		{"serve --store bolt:", "is none of memory, live, bolt:PATH"},
		{"serve --store redis://u:s3cret@h:x --key-file " + keys, "--store redis://...: a host has no name"},
		{"serve --key k.pem", "--key without --cert"},
		{"serve --key-file " + keys, "--key-file with --store memory"},
		{"serve --store live --key-file " + keys, "--key-file with --store live"},
		{"serve --store live --near 100000", "--near with --store live"},
		{"serve --store redis://u:s3cret@h", "--store redis://u:xxxxx@h:6379 without --key-file"},
		{"serve --store redis-cluster://h", "without --key-file"},
		{"serve --store redis-sentinel://m@h", "without --key-file"},
		{"serve --store memcache://h", "without --key-file"},
		{"serve --store redis://h?wait-replicas=1 --key-file " + keys, "wait-replicas, without --single-use"},
		{"serve --near 100000", "--near with --store memory"},
		{"serve --near 100 --store " + bolt, "no session fits"},
		{"serve --near -1 --store " + bolt, "no session fits"},
		{"serve --write-behind 1", "--write-behind with --store memory"},
		{"serve --write-behind -1 --store " + bolt, "--write-behind -1 is negative"},
		{"serve --write-behind 2000000 --store " + bolt, "more than 1048576"},
		{"serve --early-data -1", "invalid argument"},
		{"serve --early-data 5000000000", "invalid argument"},
		{"serve --early-data 2000000", "more than 1048576"},
		{"serve --client-auth request", "--client-auth without --client-ca"},
		{"serve --client-ca ca.pem --client-auth ask", "neither request nor require"},
		{"serve --metrics nowhere", "--metrics nowhere: the port"},
		{"serve --metrics 127.0.0.1:70000", "the port is not 0 to 65535"},
		{"serve --metrics a:b:c", "--metrics"},
		{"serve --addr 127.0.0.1:9 --metrics 9", "--metrics and --addr are both"},
		{"serve --epoch -1", "invalid argument"},
		{"serve --epoch 1 --id-context x", "--id-context with --epoch"},
		{"serve --name a --id-context x", "--id-context with --name"},
		{"serve --host a.test --id-context x", "--id-context with --host"},
		{"serve --host a.test --name a.test", "--host a.test with the same --name"},
		{"serve --host a.test --host A.test.", "--host a.test is there twice"},
		{"serve --host =c.pem", "NAME is no host name"},
		{"serve --host 127.0.0.1", "NAME is no host name"},
		{"serve --host a..test", "NAME is no host name"},
		{"serve --host *.test", "NAME is no host name"},
		{"serve --host a.test=", "not NAME=CERT"},
		{"serve --host a.test=c.pem,", "not NAME=CERT"},
		{"serve --max-age -1h", "--max-age"},
		{"serve --max-age 1500ms --timeout 1s", "--max-age"},
		{"serve --max-age 1h", "shorter than --timeout 2h"},
		{"serve --timeout 0s", "--timeout"},
		{"serve --timeout 1500ms", "--timeout"},
		{"serve --timeout often", "--timeout"},
		{"serve --grace -1s", "--grace"},
		{"serve --id-context hex:1", "hexadecimal"},
		{"serve --id-context hex:", "hexadecimal"},
		{"serve --id-context hex:zz", "hexadecimal"},
		{"serve --id-context " + strings.Repeat("x", 33) + " --store " + bolt, "33 bytes"},
		{"probe", "accepts 1 arg"},
		{"probe a:1 b:1", "accepts 1 arg"},
		{"probe localhost", "missing port"},
		{"probe localhost:1 -n -1", "negative"},
		{"probe localhost:1 -n many", "invalid argument"},
		{"probe localhost:1 --tls 1.1", `no such version: "1.1"`},
		{"probe localhost:1 --timeout 0s", "--timeout"},
		{"probe localhost:1 --ticket-wait 0s", "--ticket-wait"},
		{"probe localhost:1 --insecure --ca x", "insecure"},
		{"inspect", "accepts 1 arg"},
		{"inspect a b", "accepts 1 arg"},
		{"inspect --id xyz a", "hexadecimal"},
		{"store", "a command is missing: ls, get, rm or stats"},
		{"store list", "unknown command \"list\""},
		{"store ls", "accepts 1 arg"},
		{"store ls memory", "no other process"},
		{"store ls live", "live is inside a server"},
		{"store ls nothing", "is none of memory"},
		{"store ls redis://u:s3cret@h:x", "a host has no name"},
		{"store ls memcache://h", "a memcached cannot list"},
		{"store stats memcache://h", "a memcached cannot list"},
		{"store get memcache://h 00ff", "need the whole id"},
		{"store rm memcache://h --all --yes", "a memcached cannot list"},
		{"store get " + bolt, "accepts 2 arg"},
		{"store get " + bolt + " xyz", "hexadecimal digits"},
		{"store get " + bolt + " " + strings.Repeat("0", 65), "hexadecimal digits"},
		{"store rm " + bolt, "an ID is missing, or --all"},
		{"store rm " + bolt + " --all", "--all without --yes"},
		{"store rm " + bolt + " 00 --yes", "--yes without --all"},
		{"store rm " + bolt + " 00 --all --yes", "--all and an ID"},
		{"fleet x", "unknown command"},
		{"fleet --nodes 1", "--nodes 1 is not"},
		{"fleet --clients 0", "--clients 0 is not"},
		{"fleet --visits 7", "--visits 7 is not"},
		{"fleet --recovery 0s", "--recovery"},
		{"fleet --store memory", "cannot be shared"},
		{"fleet --store live", "cannot be shared"},
		{"fleet --store " + bolt, "cannot be shared"},
		{"fleet --store redis://u:s3cret@h:x", "a host has no name"},
		{"fleet --store redis://h --redis-cluster", "redis-cluster"},
		{"fleet --kill", "--kill without --redis-cluster"},
		{"fleet --kill --store redis://h", "--kill without --redis-cluster"},
	} {
		t.Run(strings.ReplaceAll(c.args, dir, ""), func(t *testing.T) {
			r := command(t, "", strings.Fields(c.args)...)
			if r.code != exitUsage || !strings.Contains(r.stderr, c.want) || !strings.Contains(r.stderr, "--help") {
				t.Errorf("exit code %d, want %d with %q:\n%s", r.code, exitUsage, c.want, r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("stdout: %s", r.stdout)
			}
			if strings.Contains(r.stderr, "s3cret") {
				t.Errorf("the password is shown: %s", r.stderr)
			}
		})
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files were made: %v %v", files, err)
	}
}

// Help and version are no errors, and help tells the exit codes.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"serve", "--help"}, {"probe", "-h"}, {"inspect", "--help"},
		{"store", "--help"}, {"store", "get", "--help"}, {"fleet", "--help"}} {
		if out := succeed(t, args...); !strings.Contains(out, exitCodes) {
			t.Errorf("%v does not tell the exit codes:\n%s", args, out)
		}
	}
	if out := succeed(t, "--version"); !strings.HasPrefix(out, "sessioncb version ") {
		t.Errorf("--version: %q", out)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// Output that cannot be written is a failure, whatever the subcommand.
func TestBrokenStdout(t *testing.T) {
	server := serve(t)
	for _, args := range [][]string{
		{"serve", "--addr", "127.0.0.1:0"},
		{"probe", server.addr, "--insecure", "-n", "0"},
		{"inspect", recorded("openssl-3.0.19-tls1.2-client.der")},
		{"inspect", "--json", recorded("openssl-3.0.19-tls1.2-client.der")},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), brokenWriter{}, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), "disk full") {
			t.Errorf("%v: exit code %d, %s", args, code, &stderr)
		}
	}
	server.stop(t, os.Interrupt)
}

// request is a GET that has the server close the connection.
const request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

// fields parses "name: value" lines.
func fields(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			m[name] = value
		}
	}
	return m
}

// openssl runs the openssl command.
func openssl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sClient makes a request with openssl s_client, which resumes with the file
// in unless it is "", and writes the newest session to out. It returns what
// the client says ("New" or "Reused") and what the server answered.
func sClient(t *testing.T, p *process, version, name, in, out string) (client string, answer map[string]string) {
	t.Helper()
	args := []string{"s_client", "-connect", p.addr, "-servername", name, "-CAfile", cert("ca.pem"),
		"-verify_return_error", "-ign_eof", version}
	if in != "" {
		args = append(args, "-sess_in", in)
	}
	if out != "" {
		args = append(args, "-sess_out", out)
	}
	text := openssl(t, request, args...)
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(line, ", ")
		if word == "New" || word == "Reused" {
			client = fmt.Sprintf("%s %s", word, strings.SplitN(rest, ",", 2)[0])
			break
		}
	}
	_, body, ok := strings.Cut(text, "\r\n\r\n")
	if client == "" || !ok {
		t.Fatalf("openssl s_client: neither New nor Reused, or no answer:\n%s", text)
	}
	return client, fields(body)
}
