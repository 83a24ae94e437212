package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

func TestMain(m *testing.M) {
	short, grace = 200*time.Millisecond, 600*time.Millisecond
	hangs, soon, recovery = 20*time.Millisecond, 200*time.Millisecond, 300*time.Millisecond
	os.Exit(m.Run())
}

// model is a plain good Store, with a switch for each way to be a bad one.
// Each fault must be caught by the check named beside it, so that the suite
// cannot pass for the wrong reason.
type model struct {
	fault string

	mu     sync.Mutex
	values map[string]modelValue
}

type modelValue struct {
	value   []byte
	expires time.Time
}

var faults = []struct{ name, caughtBy string }{
	{"loses values", "GetReturnsWhatWasPut"},
	{"get takes", "GetReturnsWhatWasPut"},
	{"absent is nil", "AbsentIsErrNotFound"},
	{"absent is another error", "AbsentIsErrNotFound"},
	{"first put stays", "PutReplaces"},
	{"put writes over the start", "PutReplaces"},
	{"delete does nothing", "Delete"},
	{"delete deletes all", "Delete"},
	{"delete of nothing fails", "Delete"},
	{"id is a C string", "BinaryIDs"},
	{"id is trimmed", "BinaryIDs"},
	{"id is lower-cased", "BinaryIDs"},
	{"id is made UTF-8", "BinaryIDs"},
	{"id is padded", "BinaryIDs"},
	{"id is cut at 31", "BinaryIDs"},
	{"values are cut at 8 KiB", "Values"},
	{"value is a C string", "Values"},
	{"keeps the caller's value", "NothingIsShared"},
	{"gives its own value", "NothingIsShared"},
	{"never expires", "Expiry"},
	{"keeps the first lifetime", "Expiry"},
	{"zero ttl means for ever", "NoLifetime"},
	{"negative ttl keeps the old", "NoLifetime"},
	{"zero ttl is an error", "NoLifetime"},
	{"31 days is a date", "LongLifetimes"},
	{"values are mixed", "OneKeyManyGoroutines"},
	{"ignores ctx", "CanceledContext"},
	{"canceled is not found", "CanceledContext"},
	{"claim leaves it", "ClaimTakes"},
	{"claim gives nil", "ClaimTakes"},
	{"claims what is over", "ClaimExpired"},
	{"claim is two steps", "ClaimRace"},
	{"ignores ctx", "ClaimCanceled"},
	{"clients have copies", "Clients"},
	{"clients are strangers", "Clients"},
	{"a client claims for itself", "ClaimRace"},
	{"does not hang", "CanceledInMidCall"},
	{"ignores ctx", "CanceledInMidCall"},
	{"a hanging get is a miss", "CanceledInMidCall"},
	{"a hanging put is done", "CanceledInMidCall"},
	{"a hanging delete is done", "CanceledInMidCall"},
	{"a hanging claim is a miss", "CanceledInMidCall"},
	{"hangs for ever", "CanceledInMidCall"},
	{"forgets when it hangs", "CanceledInMidCall"},
}

func newModel(fault string) *model { return &model{fault: fault, values: map[string]modelValue{}} }

func (m *model) id(k sessioncb.Key) string {
	id := string(k.ID)
	switch m.fault {
	case "id is a C string":
		id, _, _ = strings.Cut(id, "\x00")
	case "id is trimmed":
		id = strings.TrimSpace(id)
	case "id is lower-cased":
		id = strings.ToLower(id)
	case "id is made UTF-8":
		id = strings.ToValidUTF8(id, "\uFFFD")
	case "id is padded":
		id += strings.Repeat("\x00", 32-len(id))
	case "id is cut at 31":
		id = id[:min(31, len(id))]
	}
	return id
}

func (m *model) ended(ctx context.Context) error {
	switch {
	case m.fault == "ignores ctx":
		return nil
	case m.fault == "canceled is not found" && ctx.Err() != nil:
		return sessioncb.ErrNotFound
	}
	return ctx.Err()
}

func (m *model) Get(ctx context.Context, k sessioncb.Key) ([]byte, error) {
	if err := m.ended(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[m.id(k)]
	if !ok || m.over(v) {
		switch m.fault {
		case "absent is nil":
			return nil, nil
		case "absent is another error":
			return nil, errors.New("not found")
		}
		return nil, sessioncb.ErrNotFound
	}
	switch m.fault {
	case "get takes":
		delete(m.values, m.id(k))
	case "gives its own value":
		return v.value, nil
	}
	return bytes.Clone(v.value), nil
}

func (m *model) over(v modelValue) bool {
	return m.fault != "never expires" && !time.Now().Before(v.expires)
}

func (m *model) Put(ctx context.Context, k sessioncb.Key, value []byte, ttl time.Duration) error {
	if err := m.ended(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.id(k)
	old, replaces := m.values[id]
	now := modelValue{bytes.Clone(value), time.Now().Add(ttl)}
	switch m.fault {
	case "loses values":
		return nil
	case "first put stays":
		if replaces {
			return nil
		}
	case "put writes over the start":
		if replaces && len(old.value) > len(value) {
			now.value = append(bytes.Clone(value), old.value[len(value):]...)
		}
	case "values are cut at 8 KiB":
		now.value = now.value[:min(len(value), 8<<10)]
	case "value is a C string":
		now.value, _, _ = bytes.Cut(now.value, []byte{0})
	case "keeps the caller's value":
		now.value = value
	case "keeps the first lifetime":
		if replaces {
			now.expires = old.expires
		}
	case "31 days is a date":
		if ttl > 30*24*time.Hour {
			now.expires = time.Unix(int64(ttl/time.Second), 0)
		}
	case "values are mixed":
		if replaces && len(value) > 500 {
			copy(now.value, old.value[:min(10, len(old.value))])
		}
	case "zero ttl means for ever":
		if ttl == 0 {
			now.expires = now.expires.Add(time.Hour)
		}
	case "negative ttl keeps the old":
		if ttl < 0 {
			return nil
		}
	case "zero ttl is an error":
		if ttl <= 0 {
			return errors.New("invalid expire time")
		}
	}
	m.values[id] = now
	return nil
}

func (m *model) Delete(ctx context.Context, k sessioncb.Key) error {
	if err := m.ended(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, there := m.values[m.id(k)]
	switch {
	case m.fault == "delete does nothing":
		return nil
	case m.fault == "delete deletes all":
		clear(m.values)
	case m.fault == "delete of nothing fails" && !there:
		return sessioncb.ErrNotFound
	}
	delete(m.values, m.id(k))
	return nil
}

func (m *model) Claim(ctx context.Context, k sessioncb.Key) ([]byte, error) {
	if err := m.ended(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	v, ok := m.values[m.id(k)]
	if m.fault == "claim is two steps" {
		m.mu.Unlock()
		runtime.Gosched()
		time.Sleep(time.Millisecond)
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	if !ok || m.over(v) && m.fault != "claims what is over" {
		return nil, sessioncb.ErrNotFound
	}
	if m.fault != "claim leaves it" {
		delete(m.values, m.id(k))
	}
	if m.fault == "claim gives nil" {
		return nil, nil
	}
	return v.value, nil
}

// recorder is a testing.TB that remembers a failure instead of having one.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure runs one check and returns how it failed, or "".
func failure(t *testing.T, c check, s *model) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f := newFleet(s)
		switch {
		case c.clients != nil:
			c.clients(r, [clients]sessioncb.Store{f, f.another(), f.another(), f.another()})
		case c.hangs != nil:
			c.hangs(r, f, f.hang)
		default:
			c.run(r, s)
		}
	}()
	<-done
	return r.failure
}

func TestSuitePassesAGoodStore(t *testing.T) {
	Run(t, func(t *testing.T) sessioncb.Store { return newModel("") })
}

func TestSuitePassesAGoodFleet(t *testing.T) {
	RunWith(t, Options{
		Open: func(t *testing.T) sessioncb.Store { return newFleet(newModel("")) },
		OpenAnother: func(t *testing.T, s sessioncb.Store) sessioncb.Store {
			return s.(*fleetClient).another()
		},
		Hang: func(t *testing.T, s sessioncb.Store) (resume func()) { return s.(*fleetClient).hang() },
	})
}

func TestSuiteCatchesEachFault(t *testing.T) {
	byName := map[string]check{}
	caught := map[string]bool{}
	for _, c := range checks {
		byName[c.name] = c
	}
	for _, f := range faults {
		c, ok := byName[f.caughtBy]
		if !ok {
			t.Fatalf("no check %s", f.caughtBy)
		}
		caught[c.name] = true
		t.Run(c.name+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			if got := failure(t, c, newModel(f.name)); got == "" {
				t.Errorf("a store that %q passes", f.name)
			}
		})
	}
	for _, c := range checks {
		if !caught[c.name] {
			t.Errorf("%s: no fault shows that it can fail", c.name)
		}
	}
}

// plain is a Store that cannot claim.
type plain struct{ sessioncb.Store }

func TestStoreWithoutClaimPasses(t *testing.T) {
	Run(t, func(t *testing.T) sessioncb.Store { return plain{newModel("")} })
}
