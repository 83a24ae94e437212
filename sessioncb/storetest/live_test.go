package storetest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// liveModel is a plain good LiveStore, with a switch for each way to be a bad
// one, as model is of Store.
type liveModel struct {
	fault string

	mu      sync.Mutex
	there   map[string]liveValue
	claimed []sessioncb.Session
	ended   bool
}

type liveValue struct {
	sessioncb.Session
	key     sessioncb.Key // as it was given
	expires time.Time
}

var liveFaults = []struct{ name, caughtBy string }{
	{"takes and forgets", "GetReturnsWhatWasPut"},
	{"get takes", "GetReturnsWhatWasPut"},
	{"get closes", "GetReturnsWhatWasPut"},
	{"absent is nil", "AbsentIsErrNotFound"},
	{"absent is another error", "AbsentIsErrNotFound"},
	{"first put stays", "PutReplaces"},
	{"replaced stays open", "PutReplaces"},
	{"delete does nothing", "Delete"},
	{"deleted stays open", "Delete"},
	{"delete of nothing fails", "Delete"},
	{"id is a C string", "BinaryIDs"},
	{"id is lower-cased", "BinaryIDs"},
	{"changes the key", "KeysAreTheCallers"},
	{"never expires", "Expiry"},
	{"expired stays open", "Expiry"},
	{"zero ttl means for ever", "NoLifetime"},
	{"closes what it does not take", "NoLifetime"},
	{"zero ttl keeps the old", "NoLifetime"},
	{"claim leaves it", "ClaimTakes"},
	{"claim closes", "ClaimTakes"},
	{"claims what is over", "ClaimExpired"},
	{"claim is two steps", "ClaimRace"},
	{"claimed stays open", "ManyGoroutines"},
	{"close forgets", "ManyGoroutines"},
	{"closes twice", "ManyGoroutines"},
	{"claimed stays open", "Close"},
	{"takes after Close", "Close"},
	{"a put at the end stays open", "Close"},
	{"bytes are a miss", "NoBytes"},
	{"bytes are lost", "NoBytes"},
}

func newLiveModel(fault string) *liveModel {
	return &liveModel{fault: fault, there: map[string]liveValue{}}
}

func (m *liveModel) id(k sessioncb.Key) string {
	id := string(k.ID)
	switch m.fault {
	case "id is a C string":
		id, _, _ = strings.Cut(id, "\x00")
	case "id is lower-cased":
		id = strings.ToLower(id)
	}
	return id
}

// end closes, unless that is the fault.
func (m *liveModel) end(s sessioncb.Session, fault string) {
	if m.fault != fault {
		s.Close()
	}
	if m.fault == "closes twice" {
		s.Close()
	}
}

func (m *liveModel) PutSession(k sessioncb.Key, s sessioncb.Session, ttl time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended && m.fault != "takes after Close" && m.fault != "a put at the end stays open" {
		return false
	}
	id := m.id(k)
	old, replaces := m.there[id]
	switch m.fault {
	case "takes and forgets":
		return true
	case "first put stays":
		if replaces {
			s.Close()
			return true
		}
	case "changes the key":
		defer func() { k.ID[0]++ }()
	case "zero ttl means for ever":
		if ttl == 0 {
			ttl = time.Hour
		}
	case "closes what it does not take":
		if ttl <= 0 {
			s.Close()
		}
	case "zero ttl keeps the old":
		if ttl <= 0 {
			return false
		}
	}
	if replaces {
		delete(m.there, id)
		m.end(old, "replaced stays open")
	}
	if ttl <= 0 {
		return false
	}
	m.there[id] = liveValue{s, k, time.Now().Add(ttl)}
	return true
}

// find is called with the lock held.
func (m *liveModel) find(k sessioncb.Key) (liveValue, error) {
	v, ok := m.there[m.id(k)]
	if ok && m.fault != "never expires" && !time.Now().Before(v.expires) {
		delete(m.there, m.id(k))
		m.end(v, "expired stays open")
		ok = false
	}
	if !ok || m.fault == "changes the key" && string(v.key.ID) != string(k.ID) {
		switch m.fault {
		case "absent is nil":
			return liveValue{}, nil
		case "absent is another error":
			return liveValue{}, errors.New("not found")
		}
		return liveValue{}, sessioncb.ErrNotFound
	}
	return v, nil
}

func (m *liveModel) GetSession(k sessioncb.Key) (sessioncb.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, err := m.find(k)
	if err != nil || v.Session == nil {
		return nil, err
	}
	switch m.fault {
	case "get takes":
		delete(m.there, m.id(k))
	case "get closes":
		v.Close()
	}
	return v.Session, nil
}

func (m *liveModel) ClaimSession(k sessioncb.Key) (sessioncb.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, err := m.there[m.id(k)], error(nil)
	if v.Session == nil || m.fault != "claims what is over" {
		v, err = m.find(k)
	}
	if m.fault == "claim is two steps" {
		m.mu.Unlock()
		runtime.Gosched()
		time.Sleep(time.Millisecond)
		m.mu.Lock()
	}
	if err != nil || v.Session == nil {
		return nil, err
	}
	if m.fault != "claim leaves it" {
		delete(m.there, m.id(k))
		m.claimed = append(m.claimed, v.Session)
	}
	if m.fault == "claim closes" {
		v.Close()
	}
	return v.Session, nil
}

func (m *liveModel) Delete(_ context.Context, k sessioncb.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.there[m.id(k)]
	switch {
	case !ok && m.fault == "delete of nothing fails":
		return sessioncb.ErrNotFound
	case !ok || m.fault == "delete does nothing":
		return nil
	}
	delete(m.there, m.id(k))
	m.end(v, "deleted stays open")
	return nil
}

func (m *liveModel) Get(context.Context, sessioncb.Key) ([]byte, error) {
	if m.fault == "bytes are a miss" {
		return nil, sessioncb.ErrNotFound
	}
	return nil, errors.ErrUnsupported
}

func (m *liveModel) Put(context.Context, sessioncb.Key, []byte, time.Duration) error {
	if m.fault == "bytes are lost" {
		return nil
	}
	return errors.ErrUnsupported
}

func (m *liveModel) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	for id, v := range m.there {
		delete(m.there, id)
		m.end(v, "close forgets")
	}
	for _, s := range m.claimed {
		m.end(s, "claimed stays open")
	}
	m.claimed = nil
	return nil
}

func TestLiveSuitePassesAGoodStore(t *testing.T) {
	RunLive(t, func(t *testing.T) sessioncb.LiveStore { return newLiveModel("") })
}

// endless is a LiveStore without a Close.
type endless struct{ sessioncb.LiveStore }

func TestLiveStoreWithoutClosePasses(t *testing.T) {
	RunLive(t, func(t *testing.T) sessioncb.LiveStore { return endless{newLiveModel("")} })
}

func TestLiveSuiteCatchesEachFault(t *testing.T) {
	byName := map[string]liveCheck{}
	caught := map[string]bool{}
	for _, c := range liveChecks {
		byName[c.name] = c
	}
	for _, f := range liveFaults {
		c, ok := byName[f.caughtBy]
		if !ok {
			t.Fatalf("no check %s", f.caughtBy)
		}
		caught[c.name] = true
		t.Run(c.name+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.run(r, newLiveModel(f.name))
			}()
			<-done
			if r.failure == "" {
				t.Errorf("a store that %q passes", f.name)
			}
		})
	}
	for _, c := range liveChecks {
		if !caught[c.name] {
			t.Errorf("%s: no fault shows that it can fail", c.name)
		}
	}
}
