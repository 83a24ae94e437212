package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// ticketed is an established TLS 1.3 connection. The first ticket is stored and
// received. The New handler of every later one waits for letGo.
type ticketed struct {
	t    *testing.T
	s, c *Conn

	called chan struct{} // a later handler runs
	letGo  chan struct{}
	ended  chan struct{} // the handler's context ended first
	inside func()        // called by a later handler before it waits

	announced atomic.Int32 // handlers called
	stored    atomic.Int32 // handlers that were let go
	received  atomic.Int32 // sessions that the client has
	early     atomic.Int32 // of these, before they were stored
}

func newTicketed(t *testing.T, wrap func(net.Conn) net.Conn) *ticketed {
	t.Helper()
	balanced(t)
	x := &ticketed{t: t, called: make(chan struct{}, 8), letGo: make(chan struct{}), ended: make(chan struct{}, 8)}
	cfg := serverConfig()
	cfg.Tickets, cfg.NumTickets = TicketsStateful, 1
	cfg.StoreTimeout = patience
	cfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(x.announce)
	ccfg := clientConfig()
	ccfg.MinVersion = tls.VersionTLS13
	ccfg.SessionCallbacks.New = sessioncb.NewHandlerFunc(func(context.Context, sessioncb.Conn, sessioncb.Session) bool {
		if x.received.Add(1) > x.stored.Load() {
			x.early.Add(1)
		}
		return false
	})
	x.s, x.c = connect(t, newContext(t, cfg), newContext(t, ccfg), nil, wrap)
	exchange(t, x.s, x.c)
	t.Cleanup(func() {
		if n := x.early.Load(); n != 0 {
			t.Errorf("the client had %d sessions before they were stored", n)
		}
	})
	return x
}

func (x *ticketed) announce(ctx context.Context, _ sessioncb.Conn, _ sessioncb.Session) bool {
	if x.announced.Add(1) > 1 {
		x.called <- struct{}{}
		if x.inside != nil {
			x.inside()
		}
		select {
		case <-x.letGo:
		case <-ctx.Done():
			x.ended <- struct{}{}
			return false
		}
	}
	x.stored.Add(1)
	return false
}

// queue queues a ticket, which the next step announces, a Read's too, and makes
// the client send something to read: a KeyUpdate that wants an answer, and a byte.
func (x *ticketed) queue() {
	x.t.Helper()
	if err := errors.Join(x.s.NewSessionTicket(), x.c.KeyUpdate(true)); err != nil {
		x.t.Fatal(err)
	}
	if _, err := x.c.Write([]byte("x")); err != nil {
		x.t.Fatal(err)
	}
}

// reading calls Read until it fails; what came, and the error, can be had when
// it has.
func reading(c *Conn) (done <-chan struct{}, data *[]byte, err *error) {
	ended := make(chan struct{})
	data, err = new([]byte), new(error)
	go func() {
		defer close(ended)
		*data, *err = io.ReadAll(c)
		if *err == nil {
			*err = io.EOF
		}
	}()
	return ended, data, err
}

// held fails the test if the client gets a session within a while, or if
// operation returns.
func (x *ticketed) held(operation string, done <-chan error) {
	x.t.Helper()
	select {
	case err := <-done:
		x.t.Fatalf("%s returned while the New handler ran: %v", operation, err)
	case <-time.After(100 * time.Millisecond):
	}
	if n := x.received.Load(); n != 1 {
		x.t.Fatalf("the client has %d sessions while the New handler runs, want the first", n)
	}
}

func eachTicketed(t *testing.T, f func(t *testing.T, x *ticketed)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) { f(t, newTicketed(t, tr.wrap)) })
	}
}

// A queued ticket that a Read announces leaves when it is stored, and needs no
// Write for that.
func TestReadSendsTicket(t *testing.T) {
	eachTicketed(t, func(t *testing.T, x *ticketed) {
		x.queue()
		clientDone, _, clientErr := reading(x.c)
		read := make(chan error, 1)
		go func() {
			b := make([]byte, 2)
			n, err := x.s.Read(b)
			if err == nil && string(b[:n]) != "x" {
				err = errors.New("other bytes came")
			}
			read <- err
		}()
		<-x.called
		x.held("Read", read)
		close(x.letGo)
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		eventually(t, "the client has the ticket", func() bool { return x.received.Load() == 2 })
		x.s.Close()
		if <-clientDone; *clientErr != io.EOF {
			t.Errorf("the client's Read ends with %v", *clientErr)
		}
	})
}

// While the New handler that a Read called runs, nothing else of the connection
// lets the ticket go: Write and CloseWrite wait for it, Write no longer than its
// deadline.
func TestTicketBesideRead(t *testing.T) {
	for _, row := range []struct {
		name     string
		run      func(s *Conn) error
		data     string // what the client gets
		end      error  // what its Read ends with, after Close
		received int32
	}{
		{"Write", func(s *Conn) error { _, err := s.Write([]byte("data")); return err }, "data", io.EOF, 2},
		{"CloseWrite", (*Conn).CloseWrite, "", io.EOF, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			eachTicketed(t, func(t *testing.T, x *ticketed) {
				x.queue()
				clientDone, data, clientErr := reading(x.c)
				read, done := make(chan error, 1), make(chan error, 1)
				go func() { _, err := x.s.Read(make([]byte, 1)); read <- err }()
				<-x.called
				go func() { done <- row.run(x.s) }()
				x.held(row.name, done)
				close(x.letGo)
				if err := <-done; err != nil {
					t.Errorf("%s: %v", row.name, err)
				}
				if err := <-read; err != nil {
					t.Errorf("Read: %v", err)
				}
				x.s.Close()
				<-clientDone
				if string(*data) != row.data || *clientErr != row.end {
					t.Errorf("the client read %q and %v, want %q and %v", *data, *clientErr, row.data, row.end)
				}
				if n := x.received.Load(); n != row.received {
					t.Errorf("the client has %d sessions, want %d", n, row.received)
				}
			})
		})
	}
	t.Run("Write with a deadline", func(t *testing.T) {
		eachTicketed(t, func(t *testing.T, x *ticketed) {
			x.queue()
			clientDone, data, _ := reading(x.c)
			read, done := make(chan error, 1), make(chan error, 1)
			go func() { _, err := x.s.Read(make([]byte, 1)); read <- err }()
			<-x.called
			go func() { _, err := x.s.Write([]byte("data")); done <- err }()
			x.held("Write", done)
			x.s.SetWriteDeadline(time.Now().Add(-time.Second))
			err := <-done
			if !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
				t.Errorf("Write at its deadline: %v", err)
			}
			x.s.SetWriteDeadline(time.Now().Add(patience))
			// The bytes are a record already: they cannot be taken back.
			if _, again := x.s.Write([]byte("x")); again != err {
				t.Errorf("a later Write: %v, want the same error", again)
			}
			x.held("Read", read) // the read side has its own deadline
			close(x.letGo)
			if err := <-read; err != nil {
				t.Errorf("Read: %v", err)
			}
			x.s.Close()
			<-clientDone
			if len(*data) != 0 {
				t.Errorf("the client read %q of a Write that failed", *data)
			}
		})
	})
}

// What is queued goes before close_notify, and a ticket is stored before: the
// peer sees an orderly end.
func TestCloseSendsQueue(t *testing.T) {
	closes := []struct {
		name string
		end  func(*Conn) error
	}{{"Close", (*Conn).Close}, {"CloseWrite", (*Conn).CloseWrite}}
	for _, row := range []struct {
		name  string
		queue func(s *Conn) error
		news  int32
	}{
		{"nothing", func(*Conn) error { return nil }, 1},
		{"ticket", (*Conn).NewSessionTicket, 2},
		{"key update", func(s *Conn) error { return s.KeyUpdate(false) }, 1},
		{"key update, asked for", func(s *Conn) error { return s.KeyUpdate(true) }, 1},
		{"two tickets", func(s *Conn) error { return errors.Join(s.NewSessionTicket(), s.NewSessionTicket()) }, 3},
	} {
		for _, how := range closes {
			t.Run(row.name+"/"+how.name, func(t *testing.T) {
				eachTicketed(t, func(t *testing.T, x *ticketed) {
					close(x.letGo)
					if err := row.queue(x.s); err != nil {
						t.Fatal(err)
					}
					if err := how.end(x.s); err != nil {
						t.Errorf("%s: %v", how.name, err)
					}
					if n := x.stored.Load(); n != row.news {
						t.Errorf("%s returned, and %d sessions are stored, want %d", how.name, n, row.news)
					}
					if n, err := x.c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("the peer's Read: %d, %v, want io.EOF", n, err)
					}
					if n := x.received.Load(); n != row.news {
						t.Errorf("the client has %d sessions, want %d", n, row.news)
					}
				})
			})
		}
	}
}

// A New handler that Close called may Close too.
func TestCloseInNewHandlerOfClose(t *testing.T) {
	eachTicketed(t, func(t *testing.T, x *ticketed) {
		closed := make(chan error, 1)
		x.inside = func() { closed <- x.s.Close() }
		close(x.letGo)
		if err := x.s.NewSessionTicket(); err != nil {
			t.Fatal(err)
		}
		if err := x.s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if x.announced.Load() != 2 {
			t.Fatal("Close returned, and the handler was not called")
		}
		if err := <-closed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close in the handler that Close called: %v, want net.ErrClosed", err)
		}
		if _, err := x.c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client's Read: %v, want io.EOF", err)
		}
	})
}

// The deadline of the Write that announces a ticket ends the handler's context
// and the Write. The client does not get the ticket.
func TestWriteDeadlineInNewHandler(t *testing.T) {
	eachTicketed(t, func(t *testing.T, x *ticketed) {
		if err := x.s.NewSessionTicket(); err != nil {
			t.Fatal(err)
		}
		clientDone, data, _ := reading(x.c)
		done := make(chan error, 1)
		go func() { _, err := x.s.Write([]byte("data")); done <- err }()
		<-x.called
		x.held("Write", done)
		// The transport's first, so that the Write does not find it open yet when
		// the handler's time is over.
		x.s.NetConn().SetWriteDeadline(time.Now().Add(-time.Second))
		x.s.SetWriteDeadline(time.Now().Add(-time.Second))
		err := <-done
		if !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
			t.Errorf("Write at its deadline: %v", err)
		}
		<-x.ended
		if n := x.s.ctx.HandlerStats().Late; n != 1 {
			t.Errorf("%d handlers were late, want 1", n)
		}
		if _, again := x.s.Write([]byte("x")); again != err {
			t.Errorf("a later Write: %v, want the same error", again)
		}
		x.s.Close()
		<-clientDone
		if n := x.received.Load(); n != 1 || len(*data) != 0 {
			t.Errorf("the client has %d sessions and read %q", n, *data)
		}
	})
}

// Tickets, KeyUpdates and data from several goroutines: each ticket is stored
// before the client has it, and none is lost.
func TestTicketsUnderLoad(t *testing.T) {
	eachTicketed(t, func(t *testing.T, x *ticketed) {
		close(x.letGo)
		x.called = make(chan struct{}, 1000)
		const rounds = 60
		clientDone, data, clientErr := reading(x.c)
		serverDone, _, _ := reading(x.s)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for range rounds {
					if _, err := x.s.Write([]byte("y")); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		queued := int32(0)
		wg.Go(func() {
			for range rounds {
				// Not while the last one is on its way.
				if x.s.NewSessionTicket() == nil {
					queued++
				}
				time.Sleep(time.Millisecond)
			}
		})
		wg.Go(func() {
			for range rounds {
				x.c.KeyUpdate(true)
				if _, err := x.c.Write([]byte("x")); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
		wg.Wait()
		if err := x.c.CloseWrite(); err != nil {
			t.Error(err)
		}
		<-serverDone
		// libssl sends the answer to a KeyUpdate, if one waits, with one SSL_write
		// and a ticket that was queued meanwhile with the next.
		for range 2 {
			if _, err := x.s.Write([]byte("z")); err != nil {
				t.Error(err)
			}
		}
		if err := x.s.CloseWrite(); err != nil {
			t.Error(err)
		}
		<-clientDone
		if len(*data) != 2*rounds+2 || *clientErr != io.EOF {
			t.Errorf("the client read %d bytes and %v", len(*data), *clientErr)
		}
		if n := x.received.Load(); n != 1+queued || x.stored.Load() != n {
			t.Errorf("%d tickets were queued, %d sessions stored, %d received", queued, x.stored.Load(), n)
		}
	})
}
