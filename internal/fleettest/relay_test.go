package fleettest

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A relay is the store's address, behind which the store can change. It counts
// who comes.
type relay struct {
	t    testing.TB
	addr string

	mu       sync.Mutex
	listener net.Listener // nil: connections are refused
	target   string
	conns    map[net.Conn]bool
	counts   relayed
	running  sync.WaitGroup
}

// relayed counts connections to the relay.
type relayed struct{ Accepted, Open, MostOpen int }

// newRelay starts a relay to target, which ends with the test.
func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	r := &relay{t: t, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	r.to(target)
	t.Cleanup(func() { r.to("") })
	return r
}

// to cuts all connections, and has those that come lead to target from now on;
// to nobody if it is empty: they are refused.
func (r *relay) to(target string) {
	r.t.Helper()
	r.mu.Lock()
	r.target = target
	l := r.listener
	for c := range r.conns {
		c.Close()
	}
	if target == "" {
		r.listener = nil
	}
	r.mu.Unlock()
	if target == "" {
		if l != nil {
			l.Close()
		}
		r.running.Wait()
		return
	}
	if l == nil {
		r.listen()
	}
}

// listen listens on the relay's address, which somebody may have taken for a
// moment.
func (r *relay) listen() {
	r.t.Helper()
	var l net.Listener
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if l, err = net.Listen("tcp", r.addr); err == nil {
			break
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr, r.listener = l.Addr().String(), l
	r.running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err == nil {
				r.running.Go(func() { r.pass(c) })
			}
		}
	})
}

// pass passes bytes on between c and the target of the moment.
func (r *relay) pass(c net.Conn) {
	defer c.Close()
	r.mu.Lock()
	target := r.target
	r.counts.Accepted++
	r.counts.Open++
	r.counts.MostOpen = max(r.counts.MostOpen, r.counts.Open)
	r.conns[c] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.counts.Open--
		delete(r.conns, c)
	}()
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(up, c); up.Close() })
	io.Copy(c, up)
	c.Close()
	both.Wait()
}

// seen returns the counts since the last call, but for Open.
func (r *relay) seen() relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.counts
	r.counts = relayed{Open: n.Open, MostOpen: n.Open}
	return n
}

// An otherService answers whatever it gets in a language that is not the
// store's: there is another service at the store's address. It says nothing
// that a client of Redis could take for an answer, as random bytes would now
// and then.
type otherService struct {
	listener net.Listener
	answers  atomic.Int64
	running  sync.WaitGroup
}

func newOtherService(t testing.TB) *otherService {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &otherService{listener: l}
	languages := []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "500 command not recognized\r\n", "\x15\x03\x03\x00\x02\x02\x0a\r\n", "\x00\xff\x00\xff\r\n"}
	s.running.Go(func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() {
				defer c.Close()
				for b := make([]byte, 4096); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := io.WriteString(c, languages[i%len(languages)]); err != nil {
						return
					}
					s.answers.Add(1)
				}
			})
		}
	})
	t.Cleanup(func() { // after that of the relay, whose connections are the only ones
		l.Close()
		s.running.Wait()
	})
	return s
}
