// Package hold shows what connections cost a server on this binding while they
// are idle, and that their memory comes back when they are closed.
package hold

import (
	"fmt"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// A Report is the memory of a server in bytes (Pss), with nothing to spare at
// its ends, and how many objects of OpenSSL it had.
type Report struct {
	Conns  int
	Before int64 // some connections have come and gone
	Held   int64 // Conns idle ones are there
	Freed  int64 // they are closed, and Go gave back what it had to spare
	After  int64 // and the C library too
	Again  int64 // as After, when as many more have come and gone
	Live   map[string]int64
	Left   map[string]int64
	Took   time.Duration // for the last to be gone
}

// Kept is the part of their memory that the C library keeps, for the next ones.
func (r *Report) Kept() float64 { return float64(r.Freed-r.After) / float64(r.Held-r.Before) }

// PerConn is what each cost, in KiB.
func (r *Report) PerConn() float64 { return float64(r.Held-r.Before) / 1024 / float64(r.Conns) }

// Back is the part of their memory that came back.
func (r *Report) Back() float64 { return float64(r.Held-r.After) / float64(r.Held-r.Before) }

// Grown is what the second time left more than the first, as a part of what the
// connections took. What a connection leaves for good would be there twice.
func (r *Report) Grown() float64 { return float64(r.Again-r.After) / float64(r.Held-r.Before) }

// Least is the part of their memory that has to come back, and Most what the
// second time may leave more than the first. What does not come back is pages
// in which something lives on: the tables of the Go runtime, and what shares a
// page of malloc's with the free.
const Least, Most = 0.80, 0.05

// Check says what is not as it has to be: each connection was one SSL of its own, none
// of them and no session is left, the memory came back, and a second time takes
// no more of it.
func (r *Report) Check() error {
	n := int64(r.Conns)
	switch {
	case r.Live["conns"] != n:
		return fmt.Errorf("hold: %d connections, and alive are %v", n, r.Live)
	case r.Held <= r.Before:
		return fmt.Errorf("hold: %d connections took no memory: %d bytes before, %d with them", n, r.Before, r.Held)
	case r.Back() < Least:
		return fmt.Errorf("hold: %.0f%% of the memory came back: %d KiB before, %d KiB with %d connections, %d KiB after", 100*r.Back(),
			r.Before>>10, r.Held>>10, n, r.After>>10)
	case r.Grown() > Most:
		return fmt.Errorf("hold: %d KiB after %d connections, and %d KiB after as many more: they leave something behind", r.After>>10, n, r.Again>>10)
	}
	for _, kind := range gone {
		if r.Left[kind] != 0 {
			return fmt.Errorf("hold: no connection is left, and alive are %v", r.Left)
		}
	}
	return nil
}

// gone are the objects of which none is there without connections.
var gone = []string{"conns", "sessions"}

// patience is how long the server has to see the end of all connections.
const patience = 60 * time.Second

// Run holds conns idle connections to a new server.
func Run(b *measure.Bench, conns int) (*Report, error) {
	p := rows.Peer{Name: rows.Ours, Program: "ours", Store: "none"}
	row := &rows.Row{
		Name: "hold", Metric: rows.Memory, Work: "echo", Load: "idle", Version: "1.3", Cert: rows.ECDSA, Base: p.Name, Peers: []rows.Peer{p},
	}
	s, err := b.Start(row, p)
	if err != nil {
		return nil, err
	}
	r := &Report{Conns: conns}
	if err = r.run(b, row, s); err != nil {
		_ = s.Stop() // the first error counts
		return nil, err
	}
	return r, s.Stop()
}

func (r *Report) run(b *measure.Bench, row *rows.Row, s *measure.Server) error {
	// What the first ones cost once is not theirs.
	warm, err := b.Hold(row, s, measure.First)
	if err != nil {
		return err
	}
	if _, err = closed(warm, s); err != nil {
		return err
	}
	if _, err = s.Trim(); err != nil {
		return err
	}
	if r.Before, err = host.Memory(s.PID); err != nil {
		return err
	}
	held, err := b.Hold(row, s, r.Conns)
	if err != nil {
		return err
	}
	rest, err := s.Rest()
	if err != nil {
		return err
	}
	r.Live = rest.Live
	if r.Held, err = host.Memory(s.PID); err != nil {
		return err
	}
	begin := time.Now()
	if r.Left, err = closed(held, s); err != nil {
		return err
	}
	r.Took = time.Since(begin)
	if r.Freed, err = host.Memory(s.PID); err != nil {
		return err
	}
	if _, err = s.Trim(); err != nil {
		return err
	}
	if r.After, err = host.Memory(s.PID); err != nil {
		return err
	}
	if held, err = b.Hold(row, s, r.Conns); err != nil {
		return err
	}
	if _, err = closed(held, s); err != nil {
		return err
	}
	if _, err = s.Trim(); err != nil {
		return err
	}
	r.Again, err = host.Memory(s.PID)
	return err
}

// closed closes connections, waits until the server has none, and returns what
// is left there.
func closed(held *measure.Held, s *measure.Server) (map[string]int64, error) {
	if err := held.Close(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; {
		rest, err := s.Rest()
		if err != nil || rest.Live["conns"] == 0 {
			return rest.Live, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("hold: %v after the last close, alive are %v", patience, rest.Live)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
