package awaited

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
)

var errOther = errors.New("other")

func TestCall(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		why  string
		ctx  context.Context
		f    func(context.Context) (int, error)
		want int
		err  error
	}{
		{"an answer", t.Context(), func(context.Context) (int, error) { return 1, nil }, 1, nil},
		{"an error", t.Context(), func(context.Context) (int, error) { return 0, errOther }, 0, errOther},
		{"a ctx without end", context.Background(), func(context.Context) (int, error) { return 1, nil }, 1, nil},
		{"a ctx that has ended: no call", canceled, func(context.Context) (int, error) { t.Error("called"); return 1, nil }, 0, context.Canceled},
	} {
		if got, err := Call(test.ctx, test.f); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %d, %v; want %d, %v", test.why, got, err, test.want, test.err)
		}
	}
}

// TestEndedInMidCall: the caller leaves, the call goes on.
func TestEndedInMidCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release, done := make(chan struct{}), make(chan struct{})
	got, err := Call(ctx, func(context.Context) (int, error) {
		defer close(done)
		cancel()
		<-release
		return 1, nil
	})
	if got != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d, %v", got, err)
	}
	close(release)
	<-done
}

// TestDeadlineUnderAnotherName: a client that heeds the deadline says "i/o
// timeout" at about the same time.
func TestDeadlineUnderAnotherName(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := Call(ctx, func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, errOther
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestPanic: it is the caller's, or nobody's.
func TestPanic(t *testing.T) {
	for _, test := range []struct {
		why  string
		f    func()
		want any
	}{
		{"a panic", func() { panic("mine") }, "mine"},
		{"Goexit", func() { runtime.Goexit() }, "runtime.Goexit was called"},
	} {
		func() {
			defer func() {
				if got := recover(); got != test.want {
					t.Errorf("%s: %v", test.why, got)
				}
			}()
			Call(t.Context(), func(context.Context) (int, error) { test.f(); return 0, nil })
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	ended := make(chan struct{})
	if _, err := Call(ctx, func(context.Context) (int, error) {
		defer close(ended)
		cancel()
		<-left
		panic("nobody's")
	}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(left)
	<-ended
	time.Sleep(10 * time.Millisecond) // in which the process would end
}
