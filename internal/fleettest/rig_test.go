package fleettest

import (
	"fmt"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/ssl"
)

// handshakes are at once in each wave, and offering is how many of them offer
// a session.
const (
	handshakes = 64
	offering   = handshakes / 2
)

// A rig is a server process, one of its doors, and its clients.
type rig struct {
	t       *testing.T
	server  *process
	door    string
	addrs   map[string]string
	clients map[uint16]*client
	offers  map[uint16][]*ssl.Session // those of prime
	healthy map[uint16]times
	setup   setup
}

// times are how long handshakes took, of those that offered a session and of
// those that did not.
type times struct{ offered, full []time.Duration }

// newRig starts a server process, at its patient door. What o does not say of
// the hasty one is: all that come are let into the store, no breakers, no
// memory of misses.
func newRig(t *testing.T, o setup) *rig {
	t.Helper()
	r, err := newRigWith(t, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newRigWith is newRig with a change of the command.
func newRigWith(t *testing.T, o setup, change func(*exec.Cmd)) (*rig, error) {
	t.Helper()
	o.Hasty = or(o.Hasty, 250*time.Millisecond*slowdown)
	o.MissTTL = or(o.MissTTL, -1)
	o.MaxCalls = or(o.MaxCalls, handshakes)
	o.BreakerFailures = or(o.BreakerFailures, -1)
	o.Dials = or(o.Dials, 1)
	server, err := newProcess(t, "faults", o, change)
	if err != nil {
		return nil, err
	}
	r := &rig{t: t, server: server, door: patient, setup: o,
		clients: map[uint16]*client{}, offers: map[uint16][]*ssl.Session{}, healthy: map[uint16]times{}}
	server.read(&r.addrs)
	for _, v := range versions {
		r.clients[v] = newClient(t, v)
	}
	return r, nil
}

func or[T comparable](v, otherwise T) T {
	if v == *new(T) {
		return otherwise
	}
	return v
}

// ask asks the server process, of this door.
func (r *rig) ask(line string, answer any) {
	r.t.Helper()
	r.server.ask(r.door+" "+line, answer)
}

// state asks the server process when it has come to rest.
func (r *rig) state() (s state) {
	r.t.Helper()
	r.ask("quiet", &s)
	return s
}

// through is r at another door.
func (r *rig) through(door string) *rig {
	c := *r
	c.door = door
	return &c
}

// at is r for a subtest, in which its failures are.
func (r *rig) at(t *testing.T) *rig {
	c := *r
	c.t = t
	return &c
}

// prime makes the sessions that the waves offer, one for each handshake, and
// wants them stored.
func (r *rig) prime(version uint16) {
	r.t.Helper()
	before := r.state()
	visits := r.atOnce(version, make([]*ssl.Session, offering))
	r.offers[version] = nil
	for _, v := range visits {
		if v.resumed || v.session == nil {
			r.t.Fatalf("a first visit: %+v", v)
		}
		r.offers[version] = append(r.offers[version], v.session)
	}
	r.counted(before, moves{"Puts.Stored": offering, "Served.Full": offering})
}

// primeAll is prime for both versions.
func (r *rig) primeAll() {
	r.t.Helper()
	for _, v := range versions {
		r.prime(v)
	}
}

// wave has as many clients as handshakes come at once, and offering of them
// offer sessions. All handshakes must succeed, and those that offer none are
// full ones. It returns how many resumed.
func (r *rig) wave(version uint16) (resumed int, took times) {
	r.t.Helper()
	offers := make([]*ssl.Session, handshakes)
	for i := range offering {
		offers[2*i] = r.offers[version][i]
	}
	for i, v := range r.atOnce(version, offers) {
		switch {
		case offers[i] == nil && v.resumed:
			r.t.Error("a handshake without a session resumed")
		case v.resumed:
			resumed++
		}
		if offers[i] == nil {
			took.full = append(took.full, v.took)
		} else {
			took.offered = append(took.offered, v.took)
		}
	}
	return resumed, took
}

// atOnce makes a visit for each offer, all at the same time.
func (r *rig) atOnce(version uint16, offers []*ssl.Session, say ...byte) []visit {
	r.t.Helper()
	visits := make([]visit, len(offers))
	errs := make([]error, len(offers))
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i, offer := range offers {
		all.Go(func() {
			<-begin
			visits[i], errs[i] = r.clients[version].visit(r.addrs[r.door], offer, say...)
		})
	}
	close(begin)
	all.Wait()
	for _, err := range errs {
		if err != nil {
			r.t.Fatalf("a handshake failed: %v", err)
		}
	}
	return visits
}

// moves are how far counters moved, by name: "Lookups.Hit".
type moves map[string]int

// counters are all that a state counts and that tests name: those of lookups,
// puts, removals, of the binding and of the server's loop.
func (s state) counters() moves {
	m := moves{}
	add := func(prefix string, v any) {
		r := reflect.ValueOf(v)
		for i := range r.NumField() {
			switch f := r.Field(i); f.Kind() {
			case reflect.Uint64:
				m[prefix+r.Type().Field(i).Name] = int(f.Uint())
			case reflect.Int:
				m[prefix+r.Type().Field(i).Name] = int(f.Int())
			}
		}
	}
	add("Lookups.", s.Stats.Lookups)
	add("Hits.", s.Stats.Hits)
	add("Misses.", s.Stats.Misses)
	add("Puts.", s.Stats.Puts)
	for reason, n := range s.Stats.Removals {
		add("Removals."+reason.String()+".", n)
	}
	add("Handlers.", s.Handlers)
	delete(m, "Handlers.Errors") // see counted
	add("Served.", s.Served)
	for _, n := range s.Served.Failed {
		m["Served.Failed"] += n
	}
	return m
}

// since returns the counters that moved.
func (s state) since(before state) moves {
	m, was := s.counters(), before.counters()
	for name := range m {
		m[name] -= was[name]
	}
	maps.DeleteFunc(m, func(_ string, n int) bool { return n == 0 })
	return m
}

// counted wants exactly these moves since before, and returns the state now.
func (r *rig) counted(before state, want moves) state {
	r.t.Helper()
	now := r.state()
	maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
	if diff := cmp.Diff(want, now.since(before)); diff != "" {
		r.t.Errorf("counters (-want +got):\n%s%s", diff, r.why(now))
	}
	if got, want := int(now.Handlers.Errors-before.Handlers.Errors), now.failedLookups()-before.failedLookups(); got != want {
		r.t.Errorf("HandlerStats.Errors moved by %d, want %d", got, want)
	}
	return now
}

// failedLookups are those that ended with an error.
func (s state) failedLookups() int {
	l := s.Stats.Lookups
	return int(l.Offered() - l.Hit - l.Miss - l.Junk - l.Expired - l.OtherContext)
}

// why are the store's errors, for a failure's message.
func (r *rig) why(s state) string {
	var b strings.Builder
	for _, e := range slices.Sorted(maps.Keys(s.Store.Errors)) {
		fmt.Fprintf(&b, "%5d %s\n", s.Store.Errors[e], e)
	}
	for e, n := range s.Served.Failed {
		fmt.Fprintf(&b, "%5d of the server: %s\n", n, e)
	}
	return b.String()
}

// newPuts is how many new sessions a wave makes in which so many resume: a
// resumption makes one in TLS 1.3 only.
func newPuts(version uint16, resumed int) int {
	if version == versions[0] {
		return handshakes - resumed
	}
	return handshakes
}

// healthyWave is a wave in which all that offer a session resume, and by the
// store; its times are what others are compared with.
func (r *rig) healthyWave(version uint16) {
	r.t.Helper()
	before := r.state()
	resumed, took := r.wave(version)
	if resumed != offering {
		r.t.Errorf("%d of %d resumed", resumed, offering)
	}
	r.counted(before, moves{
		"Lookups.Hit": offering, "Hits.Store": offering, "Puts.Stored": newPuts(version, offering),
		"Served.Resumed": offering, "Served.Full": handshakes - offering,
	})
	r.healthy[version] = took
}

// compare logs how long the handshakes of a fault took beside healthy ones.
func (r *rig) compare(version uint16, took times) {
	r.t.Helper()
	h := r.healthy[version]
	line := func(what string, was, is []time.Duration) string {
		return fmt.Sprintf("%s: median %v, %.1f times the healthy %v; p95 %v, %.1f times %v", what,
			at(is, 50).Round(time.Millisecond/10), ratio(is, was, 50), at(was, 50).Round(time.Millisecond/10),
			at(is, 95).Round(time.Millisecond/10), ratio(is, was, 95), at(was, 95).Round(time.Millisecond/10))
	}
	r.t.Logf("%s; %s", line("with a session", h.offered, took.offered), line("without", h.full, took.full))
}

func at(d []time.Duration, percent int) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, len(d)*percent/100)]
}

func ratio(is, was []time.Duration, percent int) float64 {
	return float64(at(is, percent)) / float64(max(1, at(was, percent)))
}

// recovered waits until a session is resumed by the store, and then wants all
// to be.
func (r *rig) recovered(version uint16) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		before := r.state()
		if r.atOnce(version, r.offers[version][:1])[0].resumed {
			if n := r.state().since(before); n["Hits.Store"] != 1 {
				r.t.Errorf("resumed, but not by the store: %v", n)
			}
			break
		}
		if time.Now().After(end) {
			r.t.Fatalf("not resumed %v after the fault\n%s", patience, r.why(r.state()))
		}
	}
	r.healthyWave(version)
}

// bounded wants no more calls inside the store than MaxCalls at any time, no
// call that Stats do not have, and no thread for each handshake that waited.
func (r *rig) bounded() {
	r.t.Helper()
	for door, limit := range map[string]int{patient: handshakes, hasty: r.setup.MaxCalls} {
		s := r.through(door).state()
		if s.Store.MostLookups > limit || s.Store.MostWrites > limit {
			r.t.Errorf("%s: %d lookups and %d writes were inside the store at once, MaxCalls is %d", door, s.Store.MostLookups, s.Store.MostWrites, limit)
		}
		if n := s.Stats.Calls; int(n.Get) != s.Store.Gets || int(n.Put) != s.Store.Puts || int(n.Delete) != s.Store.Deletes {
			r.t.Errorf("%s: calls are %+v, the store saw %+v", door, n, s.Store)
		}
	}
	s := r.state()
	r.t.Logf("%d threads at the end with GOMAXPROCS %d", s.Threads, s.Procs)
	switch {
	case s.Threads == 0 || s.Threads >= handshakes:
		r.t.Errorf("%d threads at the end with GOMAXPROCS %d", s.Threads, s.Procs)
	case s.Threads > s.Procs+spareThreads:
		crowded.mu.Lock()
		defer crowded.mu.Unlock()
		crowded.processes = append(crowded.processes, fmt.Sprintf("%s: %d threads", r.t.Name(), s.Threads))
	}
}

// crowded are the server processes that ended with more than GOMAXPROCS +
// spareThreads threads, fewer than one for each handshake. The Go runtime starts another
// thread when one is in C for too long, and one that the system takes off its
// processor there is: on a machine that does much else it happens now and then,
// and threads, once made, stay. What makes threads wait for the store makes it
// happen each time, so TestMain allows it to few.
var crowded struct {
	mu        sync.Mutex
	processes []string
}

const mostCrowded = 2

// errorsWith is how many errors of the store have these words.
func (s state) errorsWith(words string) (n int) {
	for e, times := range s.Store.Errors {
		if strings.Contains(e, words) {
			n += times
		}
	}
	return n
}
