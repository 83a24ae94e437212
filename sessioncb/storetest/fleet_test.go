package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// fleetClient is one of several clients of a model, which may hang. It has the
// faults of clients.
type fleetClient struct {
	*model // its server
	line   *line

	mu      sync.Mutex
	copies  map[string][]byte // of what it has read
	claimed map[string]bool
}

// line is what leads to the server, for all clients.
type line struct {
	mu   sync.Mutex
	hung chan struct{} // not nil: hangs until it is closed
}

func newFleet(m *model) *fleetClient {
	return &fleetClient{model: m, line: &line{}, copies: map[string][]byte{}, claimed: map[string]bool{}}
}

// another is what Options.OpenAnother is for.
func (c *fleetClient) another() *fleetClient {
	a := newFleet(c.model)
	a.line = c.line
	if c.fault == "clients are strangers" {
		a.model = newModel(c.fault)
	}
	return a
}

// hang is what Options.Hang is for.
func (c *fleetClient) hang() (resume func()) {
	if c.fault == "does not hang" {
		return func() {}
	}
	hung := make(chan struct{})
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	c.line.hung = hung
	return func() {
		switch c.fault {
		case "hangs for ever":
			return
		case "forgets when it hangs":
			c.model.mu.Lock()
			clear(c.values)
			c.model.mu.Unlock()
		}
		c.line.mu.Lock()
		defer c.line.mu.Unlock()
		c.line.hung = nil
		close(hung)
	}
}

// wait returns nil when the line is free, and ctx's error when that ended
// first.
func (c *fleetClient) wait(ctx context.Context) error {
	c.line.mu.Lock()
	hung := c.line.hung
	c.line.mu.Unlock()
	switch {
	case hung == nil:
		return nil
	case c.fault == "ignores ctx":
		<-hung
		return nil
	}
	select {
	case <-hung:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *fleetClient) Get(ctx context.Context, k sessioncb.Key) ([]byte, error) {
	if err := c.wait(ctx); err != nil {
		if c.fault == "a hanging get is a miss" {
			return nil, sessioncb.ErrNotFound
		}
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.copies[string(k.ID)]; ok && c.fault == "clients have copies" {
		return v, nil
	}
	v, err := c.model.Get(ctx, k)
	if err == nil {
		c.copies[string(k.ID)] = v
	}
	return v, err
}

func (c *fleetClient) Put(ctx context.Context, k sessioncb.Key, value []byte, ttl time.Duration) error {
	if err := c.wait(ctx); err != nil {
		if c.fault == "a hanging put is done" {
			return nil
		}
		return err
	}
	return c.model.Put(ctx, k, value, ttl)
}

func (c *fleetClient) Delete(ctx context.Context, k sessioncb.Key) error {
	if err := c.wait(ctx); err != nil {
		if c.fault == "a hanging delete is done" {
			return nil
		}
		return err
	}
	return c.model.Delete(ctx, k)
}

func (c *fleetClient) Claim(ctx context.Context, k sessioncb.Key) ([]byte, error) {
	if err := c.wait(ctx); err != nil {
		if c.fault == "a hanging claim is a miss" {
			return nil, sessioncb.ErrNotFound
		}
		return nil, err
	}
	if c.fault != "a client claims for itself" {
		return c.model.Claim(ctx, k)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimed[string(k.ID)] {
		return nil, sessioncb.ErrNotFound
	}
	c.claimed[string(k.ID)] = true
	return c.model.Get(ctx, k)
}
