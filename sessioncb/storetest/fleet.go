package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// oneStoreManyClients: what one client did is so for the others as soon as its
// call has returned.
func oneStoreManyClients(t testing.TB, s [clients]sessioncb.Store) {
	k := newKey()
	for i := range s {
		value := fmt.Appendf(nil, "of client %d", i)
		for _, c := range s {
			wantAbsent(t, c, k)
		}
		put(t, s[i], k, []byte("an earlier value"), time.Hour)
		put(t, s[i], k, value, time.Hour)
		for _, c := range s {
			wantValue(t, c, k, value)
		}
		remover := s[(i+1)%clients]
		if c, ok := remover.(sessioncb.Claimer); ok && i%2 == 0 {
			if got, err := c.Claim(t.Context(), k); err != nil || string(got) != string(value) {
				t.Fatalf("Claim of what another client put: %q, %v", got, err)
			}
		} else if err := remover.Delete(t.Context(), k); err != nil {
			t.Fatalf("Delete of what another client put: %v", err)
		}
	}
}

// Of canceledInMidCall: how long a call has to show that it hangs, how long to
// return once its ctx has ended, and how long the store to go on. The suite's
// own tests are less patient.
var (
	hangs    = 50 * time.Millisecond
	soon     = 2 * time.Second
	recovery = 10 * time.Second
)

// canceledInMidCall: a call whose ctx ends while the store hangs returns soon,
// and says that it was canceled: not that there is nothing, nor that it is
// done. Whether it was is another matter. When the store goes on, so do its
// clients.
func canceledInMidCall(t testing.TB, s sessioncb.Store, hang func() (resume func())) {
	there, replaced, deleted, claimed, stays := newKey(), newKey(), newKey(), newKey(), newKey()
	all := []sessioncb.Key{there, replaced, deleted, claimed, stays}
	for _, k := range all {
		put(t, s, k, []byte("value"), time.Hour)
	}
	get := func(k sessioncb.Key) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.Get(ctx, k)
			return err
		}
	}
	calls := []struct {
		name string
		call func(context.Context) error
		want error // of one that does without the server
	}{
		{"Get", get(there), nil},
		{"Get of what is not there", get(newKey()), sessioncb.ErrNotFound},
		{"Put", func(ctx context.Context) error { return s.Put(ctx, replaced, []byte("other"), time.Hour) }, nil},
		{"Delete", func(ctx context.Context) error { return s.Delete(ctx, deleted) }, nil},
	}
	if c, ok := s.(sessioncb.Claimer); ok {
		calls = append(calls, struct {
			name string
			call func(context.Context) error
			want error
		}{"Claim", func(ctx context.Context) error { _, err := c.Claim(ctx, claimed); return err }, nil})
	}
	resume := hang()
	resumed := false
	defer func() {
		if !resumed {
			resume()
		}
	}()
	hung := 0
	for _, c := range calls {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		returned := make(chan error, 1)
		go func() { returned <- c.call(ctx) }()
		select {
		case err := <-returned:
			if !errors.Is(err, c.want) {
				t.Fatalf("%s, while the store hangs: %v", c.name, err)
			}
			continue
		case <-time.After(hangs):
			hung++
		}
		cancel()
		select {
		case err := <-returned:
			wantCanceled(t, c.name+" that hung", err)
		case <-time.After(soon):
			t.Fatalf("%s that hung: has not returned %v after its ctx ended", c.name, soon)
		}
	}
	if hung == 0 {
		t.Fatalf("the store did not hang: all calls returned within %v", hangs)
	}
	resume()
	resumed = true

	// Old connections may be of no use; a call or two may find that out.
	k := newKey()
	for end := time.Now().Add(recovery); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithDeadline(t.Context(), end)
		err := s.Put(ctx, k, []byte("after"), time.Hour)
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Put, %v after the store went on: %v", recovery, err)
		}
	}
	wantValue(t, s, k, []byte("after"))
	wantValue(t, s, stays, []byte("value"))
	if got, err := s.Get(t.Context(), replaced); err != nil || string(got) != "value" && string(got) != "other" {
		t.Fatalf("a value whose replacement was canceled: %q, %v", got, err)
	}
}
