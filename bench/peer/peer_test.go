package peer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plain is a connection without TLS, whose handshake is one byte: 'r' resumes,
// 'f' does not, and all else fails.
type plain struct {
	net.Conn
	resumed bool
}

func (c *plain) Handshake() error {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	c.resumed = b[0] == 'r'
	if b[0] != 'r' && b[0] != 'f' {
		return errors.New("no handshake")
	}
	return nil
}

func plainServer(*Options, *Counters) (*Server, error) {
	return &Server{
		Wrap:    func(nc net.Conn) (Conn, error) { return &plain{Conn: nc}, nil },
		Resumed: func(c Conn) bool { return c.(*plain).resumed },
	}, nil
}

// process is a run of a Program.
type process struct {
	t      *testing.T
	addr   string
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer // to be read after end
	code   chan int
}

func start(t *testing.T, p Program, args ...string) *process {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	x := &process{t: t, stdin: inW, stdout: bufio.NewReader(outR), code: make(chan int, 1)}
	go func() {
		x.code <- run(p, append([]string{"-cert", "c", "-key", "k"}, args...), inR, outW, &x.stderr)
		outW.Close()
	}()
	x.addr = strings.TrimPrefix(x.line(), "listening ")
	return x
}

func (x *process) line() string {
	x.t.Helper()
	s, err := x.stdout.ReadString('\n')
	if err != nil {
		x.t.Fatalf("stdout: %v, after %q; exit code %d, stderr: %s", err, s, <-x.code, &x.stderr)
	}
	return strings.TrimSuffix(s, "\n")
}

func (x *process) stats() string {
	x.t.Helper()
	if _, err := io.WriteString(x.stdin, "stats\n"); err != nil {
		x.t.Fatal(err)
	}
	return x.line()
}

func (x *process) end() int {
	x.stdin.Close()
	return <-x.code
}

func (x *process) dial(first string) net.Conn {
	x.t.Helper()
	c, err := net.Dial("tcp", x.addr)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, first); err != nil {
		x.t.Fatal(err)
	}
	return c
}

var program = Program{Name: "plain", Stores: []string{"none"}, New: plainServer}

func TestWorks(t *testing.T) {
	for _, test := range []struct {
		work string
		talk func(t *testing.T, c net.Conn)
	}{
		{"handshake", func(t *testing.T, c net.Conn) {
			io.WriteString(c, strings.Repeat("ignored", 100))
			ends(t, c)
		}},
		{"echo", func(t *testing.T, c net.Conn) {
			sent := make([]byte, 3*bufferSize+1)
			for i := range sent {
				sent[i] = byte(i)
			}
			go func() { c.Write(sent) }()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("echo: other bytes, %v", err)
			}
			ends(t, c)
		}},
		{"source", func(t *testing.T, c net.Conn) {
			io.WriteString(c, "1")
			if _, err := io.CopyN(io.Discard, c, 10*bufferSize); err != nil {
				t.Errorf("source: %v", err)
			}
		}},
		{"sink", func(t *testing.T, c net.Conn) {
			if _, err := c.Write(make([]byte, 10*bufferSize)); err != nil {
				t.Errorf("sink: %v", err)
			}
			ends(t, c)
		}},
	} {
		t.Run(test.work, func(t *testing.T) {
			x := start(t, program, "-work", test.work)
			test.talk(t, x.dial("f"))
			const want = `{"accepted":1,"handshakes":1,"resumed":0,"failed":0,"lookups":0,"hits":0,"stored":0}`
			if got := x.stats(); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if code := x.end(); code != 0 {
				t.Errorf("exit code %d: %s", code, &x.stderr)
			}
		})
	}
}

// ends asserts that the server closes when the client has.
func ends(t *testing.T, c net.Conn) {
	t.Helper()
	c.(*net.TCPConn).CloseWrite()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v, want the end", n, err)
	}
}

func TestCounters(t *testing.T) {
	p := program
	p.New = func(o *Options, n *Counters) (*Server, error) {
		s, err := plainServer(o, n)
		s.Total = func(n *Counters) { n.Hits.Store(77) }
		return s, err
	}
	x := start(t, p)
	for _, first := range []string{"f", "r", "r", "x"} {
		ends(t, x.dial(first))
	}
	var got map[string]int
	if err := json.Unmarshal([]byte(x.stats()), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"accepted": 4, "handshakes": 3, "resumed": 2, "failed": 1, "lookups": 0, "hits": 77, "stored": 0,
	} {
		if n, there := got[name]; !there || n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	if code := x.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, &x.stderr)
	}
}

func TestExitCodes(t *testing.T) {
	refuses := func(err error) Program {
		p := program
		p.New = func(*Options, *Counters) (*Server, error) { return nil, err }
		return p
	}
	files := []string{"-cert", "c", "-key", "k"}
	for _, test := range []struct {
		name  string
		p     Program
		args  []string
		stdin string
		code  int
		says  string
	}{
		{"a wrong flag", program, []string{"-none"}, "", 2, "not defined"},
		{"a store that it has not", program, append(files, "-store", "der"), "", 2, "it has none"},
		{"a combination that it has not", refuses(ErrNotHad), files, "", 2, ErrNotHad.Error()},
		{"another error", refuses(errors.New("no such file")), files, "", 1, "plain: no such file"},
		{"a profile that cannot be written", program, append(files, "-cpuprofile", "/nowhere/at/all"), "", 1, "/nowhere/at/all"},
		{"an unknown line", program, files, "stats\nstop\n", 1, `"stop" is not stats`},
	} {
		var stderr bytes.Buffer
		code := run(test.p, test.args, strings.NewReader(test.stdin), io.Discard, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.says) {
			t.Errorf("%s: exit code %d, %q; want %d, %q", test.name, code, &stderr, test.code, test.says)
		}
	}
}

func TestRecords(t *testing.T) {
	profile, execution := filepath.Join(t.TempDir(), "cpu"), filepath.Join(t.TempDir(), "trace")
	p := program
	var own bool
	p.Flags = func(fs *flag.FlagSet) { fs.BoolVar(&own, "own", false, "") }
	x := start(t, p, "-own", "-cpuprofile", profile, "-trace", execution)
	if code := x.end(); code != 0 {
		t.Fatalf("exit code %d: %s", code, &x.stderr)
	}
	if !own {
		t.Error("the program's own flag was not set")
	}
	for name, magic := range map[string]string{profile: "\x1f\x8b", execution: "go 1."} {
		if b, err := os.ReadFile(name); err != nil || !bytes.HasPrefix(b, []byte(magic)) {
			t.Errorf("%s: begins with %q, %v", name, b[:min(len(b), 8)], err)
		}
	}
}
