package ssl

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// A halfTicket is a TLS 1.3 client of the openssl command, whose server sends a
// ticket in several records and answers lines with their reverse. A proxy
// passes what the server sends after the handshake record by record, so that
// the client stands in the middle of the ticket for as long as the test likes.
type halfTicket struct {
	t      *testing.T
	c      *Conn
	got    *clientSessions
	socket syscall.RawConn // the client's

	finished atomic.Bool   // the client has sent its Finished
	credit   chan struct{} // for one record each; closed: all pass
	release  func()
	passed   atomic.Int64 // records since the handshake
}

// newHalfTicket returns when the client has the first record of the ticket in
// its hands, and no more.
func newHalfTicket(t *testing.T, tickets string, wrap func(net.Conn) net.Conn) *halfTicket {
	t.Helper()
	up, err := net.Dial("tcp", openSSLServer(t, "-tls1_3", "-rev", "-num_tickets", tickets, "-max_send_frag", "512",
		"-Verify", "1", "-CAfile", cert("ca.pem"), "-cert", cert("server.pem"), "-key", cert("server-key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	if wrap == nil {
		wrap = func(c net.Conn) net.Conn { return c }
	}
	a, b := sockets(t)
	h := &halfTicket{t: t, credit: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.credit) })
	nc := wrap(a)
	if h.socket, err = beneath(nc).(syscall.Conn).SyscallConn(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { h.toServer(up, b) })
	wg.Go(func() { h.toClient(b, up) })
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { h.release(); up.Close(); b.Close() })

	// The client's certificate makes the ticket longer than a record.
	h.got = &clientSessions{}
	t.Cleanup(h.got.close)
	cfg := clientConfig()
	cfg.MinVersion = tls.VersionTLS13
	cfg.Certificates = []Certificate{{ChainFile: cert("client.pem"), KeyFile: cert("client-key.pem")}}
	cfg.SessionCallbacks.New = h.got
	h.c, err = Client(nc, newContext(t, cfg), &ClientOptions{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.c.Close() })
	h.c.SetDeadline(time.Now().Add(patience))
	if err := h.c.Handshake(); err != nil {
		t.Fatal(err)
	}
	h.credit <- struct{}{}
	eventually(t, "a record passed", func() bool { return h.passed.Load() == 1 })
	for {
		h.c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := h.c.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
			t.Fatalf("Read in the middle of the ticket: %d, %v", n, err)
		}
		if h.drained() {
			break
		}
	}
	h.c.SetReadDeadline(time.Now().Add(patience))
	return h
}

// openSSLServer runs openssl s_server on a port of its own, until the test ends.
func openSSLServer(t *testing.T, args ...string) (address string) {
	t.Helper()
	cmd := exec.Command("openssl", append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // it ends with its input
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go io.Copy(io.Discard, out)
			return address
		}
	}
	t.Fatal("openssl s_server did not start")
	return ""
}

const recordApplicationData = 23 // what all encrypted records of TLS 1.3 are

// records calls f with each record that r sends, until either ends.
func records(r io.Reader, f func(record []byte) error) {
	for {
		b := make([]byte, 5)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		b = append(b, make([]byte, int(b[3])<<8|int(b[4]))...)
		if _, err := io.ReadFull(r, b[5:]); err != nil || f(b) != nil {
			return
		}
	}
}

func (h *halfTicket) toServer(server, client net.Conn) {
	records(client, func(record []byte) error {
		// The first encrypted record is sent when all of the server's flight is
		// there, and what the server sends after it is not of the handshake.
		if record[0] == recordApplicationData {
			h.finished.Store(true)
		}
		_, err := server.Write(record)
		return err
	})
	server.Close()
}

func (h *halfTicket) toClient(client, server net.Conn) {
	records(server, func(record []byte) error {
		after := h.finished.Load()
		if after {
			<-h.credit
		}
		_, err := client.Write(record)
		if after {
			h.passed.Add(1)
		}
		return err
	})
	client.Close()
}

// drained says whether the client's socket has nothing to read.
func (h *halfTicket) drained() (empty bool) {
	h.socket.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		empty = err == syscall.EAGAIN
	})
	return empty
}

// write writes a line, and returns once the Write waits for the message.
func (h *halfTicket) write() (done <-chan error) {
	h.t.Helper()
	result := make(chan error, 1)
	go func() {
		n, err := h.c.Write([]byte("live\n"))
		if err == nil && n != 5 {
			err = io.ErrShortWrite
		}
		result <- err
	}()
	eventually(h.t, "Write waits for input", func() bool {
		h.c.mu.Lock()
		defer h.c.mu.Unlock()
		return h.c.moved != nil || len(result) > 0
	})
	select {
	case err := <-result:
		h.t.Fatalf("Write returned in the middle of a message: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	return result
}

// answer reads the server's answer to the line.
func (h *halfTicket) answer() {
	h.t.Helper()
	b := make([]byte, 5)
	if _, err := io.ReadFull(h.c, b); err != nil || string(b) != "evil\n" {
		h.t.Errorf("Read afterwards: %q, %v", b, err)
	}
	eventually(h.t, "records of a ticket, and of the answer", func() bool { return h.passed.Load() >= 3 })
	h.got.last(h.t) // the ticket was announced, whoever read it
}

func eachHalfTicket(t *testing.T, f func(t *testing.T, h *halfTicket)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			balanced(t)
			f(t, newHalfTicket(t, "1", tr.wrap))
		})
	}
}

// In the middle of a message that the peer sends libssl cannot write. Write
// waits for the rest, whether a Read runs or not.
func TestWriteInMessage(t *testing.T) {
	eachHalfTicket(t, func(t *testing.T, h *halfTicket) {
		done := h.write()
		h.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		h.answer()
	})
}

func TestWriteInMessageBesideRead(t *testing.T) {
	eachHalfTicket(t, func(t *testing.T, h *halfTicket) {
		read := make(chan struct{})
		go func() { defer close(read); h.answer() }()
		eventually(t, "Read waits", func() bool {
			if h.c.rd.mu.TryLock() {
				h.c.rd.mu.Unlock()
				return false
			}
			return true
		})
		done := h.write()
		h.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		<-read
	})
}

// A write deadline holds, and nothing is lost: the Write that it ended has
// written nothing, and a later one writes.
func TestWriteInMessageDeadline(t *testing.T) {
	eachHalfTicket(t, func(t *testing.T, h *halfTicket) {
		done := h.write()
		h.c.SetWriteDeadline(time.Now().Add(-time.Second))
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
			t.Errorf("Write at its deadline: %v", err)
		}
		if n, err := h.c.Write([]byte("x")); n != 0 || !isTimeout(err) {
			t.Errorf("a second one past the deadline: %d, %v", n, err)
		}
		h.c.SetWriteDeadline(time.Now().Add(patience))
		done = h.write()
		h.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		h.answer()
	})
}

// Where the read deadline is past nobody may read for the Write: it ends as if
// the deadline were its own, and a later one writes.
func TestWriteInMessageReadDeadline(t *testing.T) {
	eachHalfTicket(t, func(t *testing.T, h *halfTicket) {
		h.c.SetReadDeadline(time.Now().Add(-time.Second))
		if n, err := h.c.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write, with a read deadline that is past: %d, %v", n, err)
		}
		h.c.SetReadDeadline(time.Now().Add(patience))
		done := h.write()
		h.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		h.answer()
	})
}

// The rest of one message and the beginning of the next come together, and who
// read for the Write is slow to leave: the Write gets another reader.
func TestWriteInMessageAfterMessage(t *testing.T) {
	balanced(t)
	h := newHalfTicket(t, "2", nil)
	aroundSteps(h.c, func(step *toPeek, tr cshim.IO) (bool, int, int) {
		wait, in, out := step.try(tr)
		if !wait {
			time.Sleep(50 * time.Millisecond) // as if preempted
		}
		return wait, in, out
	})
	done := h.write()
	h.c.mu.Lock() // no step runs until both records are there
	first := h.c.moved
	h.credit <- struct{}{}
	h.credit <- struct{}{}
	eventually(t, "three records passed", func() bool { return h.passed.Load() == 3 })
	h.c.mu.Unlock()
	eventually(t, "Write waits again", func() bool {
		h.c.mu.Lock()
		defer h.c.mu.Unlock()
		return h.c.moved != nil && h.c.moved != first
	})
	h.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.answer()
	h.got.mu.Lock()
	defer h.got.mu.Unlock()
	if n := len(h.got.list); n != 2 {
		t.Errorf("%d tickets were announced, want 2", n)
	}
}

// Close ends the wait.
func TestWriteInMessageClose(t *testing.T) {
	eachHalfTicket(t, func(t *testing.T, h *halfTicket) {
		done := h.write()
		h.c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v, want net.ErrClosed", err)
		}
	})
}
