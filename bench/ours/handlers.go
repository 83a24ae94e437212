package main

import (
	"context"
	"errors"
	"time"

	"github.com/sessioncb/openssl/bench/peer"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// external makes cfg keep its sessions with these handlers and nowhere else.
func external(cfg *ssl.Config, put sessioncb.NewHandlerFunc, get finder, o *peer.Options, n *peer.Counters) {
	cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = ssl.CacheExternal, ssl.TicketsStateful, 1
	cfg.SessionCallbacks = sessioncb.Callbacks{
		New: &putter{put, n},
		Get: &counted{finds: get, delay: o.LookupDelay, n: n},
	}
}

// putter is a NewHandler that counts.
type putter struct {
	puts sessioncb.NewHandlerFunc
	n    *peer.Counters
}

func (h *putter) NewSession(ctx context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
	h.n.Stored.Add(1)
	return h.puts(ctx, c, s)
}

// Immediate says that a table in memory never waits, as it does not in C.
func (h *putter) Immediate() bool { return true }

// A finder answers with the session of an id.
type finder func(id []byte) (sessioncb.Answer, bool)

// counted is a GetHandler that counts, and is as slow as it was told.
type counted struct {
	finds finder
	delay time.Duration
	n     *peer.Counters
}

// Immediate says that a table in memory never waits, as it does not in C.
func (h *counted) Immediate() bool { return h.delay == 0 }

func (h *counted) GetSession(_ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	h.n.Lookups.Add(1)
	if h.delay > 0 {
		time.Sleep(h.delay)
	}
	a, ok := h.finds(id)
	if ok {
		h.n.Hits.Add(1)
	}
	return a, nil
}

// countedStore is a Store that counts, and is as slow as it was told.
type countedStore struct {
	sessioncb.Store
	delay time.Duration
	n     *peer.Counters
}

func (s *countedStore) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.n.Lookups.Add(1)
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	value, err := s.Store.Get(ctx, key)
	if err == nil {
		s.n.Hits.Add(1)
	} else if !errors.Is(err, sessioncb.ErrNotFound) {
		return nil, err
	}
	return value, err
}

func (s *countedStore) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	err := s.Store.Put(ctx, key, value, ttl)
	if err == nil {
		s.n.Stored.Add(1)
	}
	return err
}
