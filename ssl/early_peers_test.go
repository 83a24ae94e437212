package ssl

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The openssl command resumes with early data from a file, at a server that
// reads it before the handshake has finished, and at one that does not.
func TestEarlyDataOfOpenSSLClient(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, asked := range []bool{true, false} {
			p := newEarlyPair(t, wrap, func(cfg, _ *Config) { cfg.MaxEarlyData = 20_000 })
			l, err := Listen("tcp", "127.0.0.1:0", p.server)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			dir := t.TempDir()
			data := strings.Repeat("early data of openssl\n", 900) // more than a record
			file, session := filepath.Join(dir, "data"), filepath.Join(dir, "session.pem")
			if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			type served struct {
				data               string
				resumed, accepted  bool
				before             bool // the handshake had not finished
				acceptErr, readErr error
			}
			serve := func() <-chan served {
				result := make(chan served, 1)
				go func() {
					var r served
					defer func() { result <- r }()
					nc, err := l.Listener.Accept()
					if r.acceptErr = err; err != nil {
						return
					}
					s, err := Server(wrap(nc), p.server)
					if r.acceptErr = err; err != nil {
						nc.Close()
						return
					}
					defer s.Close()
					s.SetDeadline(time.Now().Add(patience))
					if asked {
						e, err := s.EarlyData(context.Background())
						if r.readErr = err; err != nil {
							return
						}
						r.before = !s.ConnectionState().HandshakeComplete
						b, err := io.ReadAll(e)
						r.data = string(b)
						if r.readErr = err; err != nil {
							return
						}
						e.Write([]byte("early answer\n"))
						s.Handshake()
					} else if r.readErr = s.Handshake(); r.readErr != nil {
						return
					} else if s.EarlyDataAccepted() {
						b := make([]byte, len(data))
						_, r.readErr = io.ReadFull(s, b)
						r.data = string(b)
					}
					state := s.ConnectionState()
					r.resumed, r.accepted = state.DidResume, s.EarlyDataAccepted()
					s.Write([]byte("answer\n"))
				}()
				return result
			}
			run := func(more ...string) string {
				return string(command(t, "", "openssl", append([]string{"s_client", "-connect", l.Addr().String(),
					"-servername", "localhost", "-CAfile", cert("ca.pem"), "-verify_return_error", "-ign_eof", "-tls1_3"}, more...)...))
			}
			result := serve()
			out := run("-sess_out", session)
			if r := <-result; r.acceptErr != nil || r.readErr != nil || r.resumed || r.accepted || !strings.Contains(out, "answer") {
				t.Fatalf("full handshake: %+v\n%s", r, out)
			}
			result = serve()
			out = run("-sess_in", session, "-early_data", file)
			r := <-result
			if r.acceptErr != nil || r.readErr != nil || !r.resumed || !r.accepted || r.data != data || r.before != asked {
				r.data = ""
				t.Errorf("asked %v: %+v", asked, r)
			}
			if !strings.Contains(out, "Early data was accepted") || asked && !strings.Contains(out, "early answer") || !strings.Contains(out, "answer") {
				t.Errorf("openssl said:\n%s", out)
			}
			// The session is used up: a second use is a full handshake.
			result = serve()
			out = run("-sess_in", session, "-early_data", file)
			if r := <-result; r.acceptErr != nil || r.readErr != nil || r.resumed || r.accepted || r.data != "" {
				t.Errorf("second use: %+v", r)
			}
			if !strings.Contains(out, "Early data was rejected") {
				t.Errorf("second use: openssl said:\n%s", out)
			}
		}
	})
}

// output collects what a program prints, to be waited for.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) contains(s string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Contains(o.text.String(), s)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// opensslServer runs openssl s_server until the test's end.
func opensslServer(t *testing.T, args ...string) (addr string, out *output) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("%v: run scripts/setup", err)
	}
	cmd := exec.Command("openssl", append([]string{"s_server", "-accept", "127.0.0.1:0",
		"-cert", cert("server.pem"), "-key", cert("server-key.pem"), "-tls1_3"}, args...)...)
	stdin, err := cmd.StdinPipe() // its end would end the server
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	out = &output{}
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewReader(io.TeeReader(stdout, out))
		for {
			line, err := lines.ReadString('\n')
			if a, ok := strings.CutPrefix(strings.TrimSpace(line), "ACCEPT "); ok {
				select {
				case address <- a:
				default:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		stdin.Close()
		<-ended
		cmd.Wait()
	})
	select {
	case addr = <-address:
	case <-ended:
		t.Fatalf("openssl s_server ended:\n%s", out)
	case <-time.After(patience):
		t.Fatalf("openssl s_server does not listen:\n%s", out)
	}
	return addr, out
}

// Our client sends early data to openssl s_server, with and without libssl's
// own guard against replays.
func TestEarlyDataToOpenSSLServer(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, args := range [][]string{{"-early_data"}, {"-early_data", "-no_anti_replay"}} {
			t.Run(strings.Join(args, " "), func(t *testing.T) {
				addr, out := opensslServer(t, args...)
				balanced(t)
				got := &clientSessions{}
				defer got.close()
				cfg := clientConfig()
				cfg.SessionCallbacks.New = got
				client := newContext(t, cfg)
				// connect has a number of tickets read, or early data told.
				connect := func(session *Session, data string, tickets int) (accepted, resumed bool) {
					nc, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					c, err := Client(wrap(nc), client, &ClientOptions{ServerName: "localhost", Session: session})
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(patience))
					if data != "" {
						early(t, c, data)
					}
					if err := c.Handshake(); err != nil {
						t.Fatal(err)
					}
					done := make(chan struct{})
					go func() { defer close(done); io.Copy(io.Discard, c) }()
					eventually(t, "the tickets came", func() bool {
						got.mu.Lock()
						defer got.mu.Unlock()
						return len(got.list) >= tickets
					})
					accepted, resumed = c.EarlyDataAccepted(), c.ConnectionState().DidResume
					c.Close()
					<-done
					return accepted, resumed
				}
				if accepted, resumed := connect(nil, "", 2); accepted || resumed {
					t.Errorf("full handshake: accepted %v, resumed %v", accepted, resumed)
				}
				// The first of its two: s_server can see the end of the connection as
				// unclean, and then libssl drops the last (R20).
				got.mu.Lock()
				session, err := got.list[0].Dup()
				got.mu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close()
				if session.MaxEarlyData() == 0 {
					t.Fatal("the session allows no early data")
				}
				const data = "early data of ours"
				if accepted, resumed := connect(session, data, 3); !accepted || !resumed {
					t.Errorf("early data: accepted %v, resumed %v", accepted, resumed)
				}
				eventually(t, "the server has the early data", func() bool { return out.contains(data) })
				// A second use: libssl's guard knows the session.
				guarded := len(args) == 1
				if accepted, _ := connect(session, "again", 4); accepted == guarded {
					t.Errorf("early data of a session that was used: accepted %v", accepted)
				}
			})
		}
	})
}
