package ssl

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// ownSocket returns a socket of the package's poller, which watches it, and its peer.
func ownSocket(t testing.TB) (s *socket, peer net.Conn) {
	t.Helper()
	a, b := sockets(t)
	s = asSocket(b).(*socket)
	t.Cleanup(func() { s.Close() })
	if err := s.giveToPoller(); err != nil {
		t.Fatal(err)
	}
	return s, a
}

// mayLead lets the next wait be a leader's, whatever came of those before.
func mayLead() {
	polls.looking.Lock()
	polls.pause, polls.pauses = 0, 0
	polls.looking.Unlock()
}

// inTerm says whether a term is on and nobody leads, and how many there were.
func inTerm() (on bool, terms int) {
	polls.looking.Lock()
	defer polls.looking.Unlock()
	return polls.term, polls.terms
}

// ledIn says whether a goroutine led while f ran.
func ledIn(f func()) bool {
	mayLead()
	_, before := inTerm()
	f()
	_, after := inTerm()
	return after > before
}

// reads starts to read a byte; the error comes when that is over.
func reads(s *socket) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		done <- err
	}()
	return done
}

// comesToLead gives a goroutine that waits the time to lead.
func comesToLead() {
	for range 100 {
		if !polls.looking.TryLock() {
			return
		}
		polls.looking.Unlock()
		time.Sleep(50 * time.Microsecond)
	}
}

func within(t testing.TB, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
		return nil
	}
}

// eachProcs runs f with one processor, where a leader keeps Go's poller out, and
// with more.
func eachProcs(t *testing.T, f func(t *testing.T)) {
	for _, procs := range []int{1, 2} {
		t.Run(map[int]string{1: "GOMAXPROCS 1", 2: "GOMAXPROCS 2"}[procs], func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			f(t)
		})
	}
}

// untilLed makes tries until one of them had a leader, which it must be seen to
// have: on a machine that is busy not each has.
func untilLed(t *testing.T, try func() (led bool)) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		if try() {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no goroutine led")
		}
	}
}

// A leader is given what comes to it, also after its term is over.
func TestLeader(t *testing.T) {
	eachProcs(t, func(t *testing.T) {
		s, peer := ownSocket(t)
		for _, wait := range []time.Duration{0, 3 * termLength} {
			untilLed(t, func() bool {
				return ledIn(func() {
					done := reads(s)
					comesToLead()
					time.Sleep(wait)
					peer.Write([]byte("a"))
					if err := within(t, "a byte", done); err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	})
}

// What comes to others while somebody leads is told to them, also when the
// leader does something else before its term is over.
func TestLeaderTellsOthers(t *testing.T) {
	eachProcs(t, func(t *testing.T) {
		leads, peer := ownSocket(t)
		other, others := ownSocket(t)
		untilLed(t, func() bool { // the leader waits
			mayLead()
			_, before := inTerm()
			first := reads(leads)
			comesToLead()
			second := reads(other)
			others.Write([]byte("b"))
			if err := within(t, "the other's byte", second); err != nil {
				t.Fatal(err)
			}
			peer.Write([]byte("a"))
			if err := within(t, "the leader's byte", first); err != nil {
				t.Fatal(err)
			}
			_, after := inTerm()
			return after > before
		})
		// It is away, in a term: the timer is who tells of it.
		polls.looking.Lock()
		polls.pause = mostPauses
		polls.looking.Unlock()
		second := reads(other)
		eventually(t, "the other waits", func() bool {
			polls.looking.Lock()
			defer polls.looking.Unlock()
			return polls.pause < mostPauses // it may come to wait more than once
		})
		polls.looking.Lock()
		if !polls.beginTerm() {
			t.Error("no term")
		}
		polls.looking.Unlock()
		others.Write([]byte("b"))
		if err := within(t, "the other's byte", second); err != nil {
			t.Fatal(err)
		}
	})
}

// A leader whose term was worth it leads in the next one, after a turn of Go's
// poller.
func TestLeaderGoesOn(t *testing.T) {
	eachProcs(t, func(t *testing.T) {
		s, peer := ownSocket(t)
		untilLed(t, func() bool {
			polls.looking.Lock()
			if !polls.term && !polls.beginTerm() {
				t.Error("no term")
			}
			polls.came = worthIt
			before := polls.terms
			polls.looking.Unlock()
			done := reads(s)
			time.Sleep(3 * termLength)
			_, after := inTerm()
			peer.Write([]byte("a"))
			if err := within(t, "a byte", done); err != nil {
				t.Fatal(err)
			}
			return after > before
		})
	})
}

// Of two who come to lead when a term is over, one does not wait without a
// timer: their deadlines end both.
func TestLeaderAfterAnother(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	a, _ := ownSocket(t)
	b, _ := ownSocket(t)
	for range 10 {
		for _, s := range []*socket{a, b} {
			s.in.take() // each wait begins at once
			s.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		}
		polls.looking.Lock()
		if !polls.term && !polls.beginTerm() {
			t.Error("no term")
		}
		polls.came = worthIt
		polls.looking.Unlock()
		for end := time.Now().Add(2 * termLength); time.Now().Before(end); {
			// The only processor is kept until the term is over.
		}
		for _, done := range []<-chan error{reads(a), reads(b)} {
			if err := within(t, "the deadline", done); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
	}
}

// Close, and a deadline, end the wait of a leader.
func TestLeaderEnds(t *testing.T) {
	eachProcs(t, func(t *testing.T) {
		for _, end := range []struct {
			name string
			now  func(*socket)
			want error
		}{
			{"Close", func(s *socket) { s.Close() }, net.ErrClosed},
			{"SetReadDeadline", func(s *socket) { s.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		} {
			t.Run(end.name, func(t *testing.T) {
				untilLed(t, func() bool {
					s, _ := ownSocket(t)
					return ledIn(func() {
						done := reads(s)
						comesToLead()
						end.now(s)
						if err := within(t, "the end", done); !errors.Is(err, end.want) {
							t.Fatalf("Read: %v, want %v", err, end.want)
						}
					})
				})
			})
		}
	})
}

// Go's own poller has its turns while goroutines lead, whatever GOMAXPROCS is.
func TestLeaderLeavesTurns(t *testing.T) {
	eachProcs(t, func(t *testing.T) {
		s, peer := ownSocket(t)
		a, b := sockets(t)
		_, before := inTerm()
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for b := make([]byte, 1); ; {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				mayLead()
				if _, err := s.Read(b); err != nil {
					done <- err
					return
				}
			}
		}()
		a.SetDeadline(time.Now().Add(patience))
		b.SetDeadline(time.Now().Add(patience))
		for one := make([]byte, 1); ; {
			if _, err := a.Write(one); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Read(one); err != nil {
				t.Fatal(err)
			}
			peer.Write(one)
			if _, terms := inTerm(); terms > before+5 {
				break
			}
		}
		close(stop)
		peer.Write(make([]byte, 1))
		if err := within(t, "the end", done); err != nil {
			t.Fatal(err)
		}
	})
}

// Who leads for little pauses for longer each time, and does not after a term
// that was worth it.
func TestLeaderPauses(t *testing.T) {
	var p poller
	var pauses []int
	for range 12 {
		p.came = worthIt - 1
		p.endTerm()
		pauses = append(pauses, p.pause)
	}
	for i, n := range pauses {
		if want := min(1<<(i+1)-1, mostPauses); n != want {
			t.Errorf("after %d terms: %d waits, want %d", i+1, n, want)
		}
	}
	p.came = worthIt
	p.endTerm()
	if p.pause != 1 || p.pauses != 0 {
		t.Errorf("after a good term: %d waits, want 1", p.pause)
	}
}
