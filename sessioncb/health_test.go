package sessioncb

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logOf returns a logger and what it has written: level and message only.
func logOf() (*slog.Logger, func() []string) {
	b := new(lockedBuffer)
	h := slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey || a.Key == slog.MessageKey || a.Key == "failures" {
			return a
		}
		return slog.Attr{}
	}})
	return slog.New(h), func() (lines []string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for line := range strings.Lines(b.String()) {
			lines = append(lines, strings.TrimSpace(line))
		}
		b.Reset()
		return lines
	}
}

// lockedBuffer is written by goroutines that the reader does not wait for.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// TestLogTellsChangesOnly: one line when the store begins to fail, one when
// it has worked for a while, whatever happens in between.
func TestLogTellsChangesOnly(t *testing.T) {
	log, lines := logOf()
	store := newFakeStore()
	now := cacheTime
	c := newTestCache(t, store, CacheOptions{Logger: log, MissTTL: -1, Now: func() time.Time { return now }})
	down := func(context.Context, string) error { return errBroken }
	lookups := func(n int) {
		for range n {
			c.GetSession(t.Context(), server, []byte("id"))
		}
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}

	lookups(3)
	expect("while it works")
	store.before = down
	lookups(5)
	expect("when it fails", `level=WARN msg="sessioncb: session store lookups fail"`)
	store.before = nil
	lookups(5)
	expect("at the first success")
	store.before = down
	now = now.Add(quiet - 1)
	lookups(1)
	store.before = nil
	now = now.Add(quiet - 1)
	lookups(1)
	expect("while it flaps")
	now = now.Add(1)
	lookups(5)
	expect("when it has recovered", `level=INFO msg="sessioncb: session store lookups work again" failures=6`)

	store.before = down
	c.NewSession(t.Context(), server, testSession())
	c.RemoveSession(t.Context(), testSession(), Removal{Reason: Explicit})
	expect("when writes fail", `level=WARN msg="sessioncb: session store writes fail"`)
	store.before = nil
	store.values["id"] = []byte("garbage with a secret")
	lookups(2)
	expect("when values are bad", `level=WARN msg="sessioncb: values in the session store are bad"`)
}

func TestDefaultLoggerIsAskedLate(t *testing.T) {
	c := newTestCache(t, newFakeStore(), CacheOptions{})
	log, lines := logOf()
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(log)
	c.store.(*fakeStore).before = func(context.Context, string) error { return errBroken }
	c.GetSession(t.Context(), server, []byte("id"))
	if got := lines(); len(got) != 1 {
		t.Errorf("lines in the default logger: %q", got)
	}
}

// askingHandler asks the cache for its Stats at each line.
type askingHandler struct {
	slog.Handler
	c *Cache
	n int
}

func (h *askingHandler) logger() *slog.Logger {
	h.Handler = slog.DiscardHandler
	return slog.New(h)
}

func (h *askingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *askingHandler) Handle(context.Context, slog.Record) error {
	h.n++
	h.c.Stats()
	return nil
}
