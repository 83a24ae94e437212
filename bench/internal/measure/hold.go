package measure

import (
	"fmt"

	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// Held are connections that did what their row says, and wait.
type Held struct {
	Load record.Load
	load *load
}

// Hold makes idle connections to a server, which stay until Close.
func (b *Bench) Hold(r *rows.Row, s *Server, conns int) (*Held, error) {
	l, err := b.startLoad(r, s, conns)
	if err != nil {
		return nil, err
	}
	h := &Held{load: l}
	if h.Load, err = l.result(loadLimit(conns)); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return h, nil
}

// Close closes all of them, as TLS wants it: with close_notify both ways.
func (h *Held) Close() error {
	_, err := h.load.end()
	return err
}
