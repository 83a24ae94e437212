package ssl

import (
	"io"
	"testing"
	"time"
)

// A Read sends what a Write could not in its time, though there is nothing to read.
func TestReadSendsWhatIsKept(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		balanced(t)
		l, err := Listen("tcp", "127.0.0.1:0", newContext(t, serverConfig()))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s, c := meet(t, l, version)
		exchange(t, s, c)
		// read finds nothing, and has OpenSSL know that.
		read := func() {
			s.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			if _, err := s.Read(make([]byte, 1)); !isTimeout(err) {
				t.Fatal(err)
			}
		}
		read()
		s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := s.Write(make([]byte, 16<<20)); !isTimeout(err) || s.wr.result.Pending == 0 {
			t.Fatalf("Write: %v, and %d bytes are kept", err, s.wr.result.Pending)
		}
		drain := func() int64 {
			c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			n, _ := io.Copy(io.Discard, c)
			return n
		}
		drain()
		read()
		read()
		if drain() == 0 {
			t.Error("Read did not send what is kept")
		}
	})
}

// An established Conn over memory keeps nothing of what steps borrow for output.
func TestMemoryGivesOutputBack(t *testing.T) {
	client, _ := newClient(t, only13)
	s, c := connect(t, newContext(t, serverConfig()), client, &ClientOptions{ServerName: "localhost"}, transports[1].wrap)
	defer s.Close()
	defer c.Close()
	if m := s.tr.(*memory); m.handshake != nil || m.lent.Out != nil {
		t.Errorf("%d bytes are kept", len(m.lent.Out))
	}
}
