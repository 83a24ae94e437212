package main

import (
	"flag"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// defaults are the flags' defaults with fewer clients, changed by set.
func defaults(t *testing.T, set func(*options)) options {
	t.Helper()
	var o options
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	o.flags(flags)
	if err := flags.Parse(nil); err != nil {
		t.Fatal(err)
	}
	o.nodes, o.clients, o.ttl, o.length = 20, 800, 30*time.Minute, time.Hour
	if set != nil {
		set(&o)
	}
	return o
}

func simulated(t *testing.T, set func(*options)) (options, result) {
	t.Helper()
	o := defaults(t, set)
	r, err := simulate(o)
	if err != nil {
		t.Fatal(err)
	}
	return o, r
}

// near fails unless got is want, give or take share of it.
func near(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > share*want {
		t.Errorf("%s: simulated %.4g, by arithmetic %.4g", what, got, want)
	}
}

// The arithmetic of docs/fleet.md says what the simulation finds.
func TestArithmetic(t *testing.T) {
	tests := []struct {
		name string
		set  func(*options)
	}{
		{"TLS 1.3", func(o *options) { o.tls12, o.faulty = 0, 0 }},
		{"TLS 1.2", func(o *options) { o.tls12, o.faulty, o.keep = 1, 0, o.ttl }},
		{"long pauses", func(o *options) { o.tls12, o.faulty, o.pause = 0, 0, 2*time.Hour; o.clients *= 3 }},
		{"one connection a visit", func(o *options) { o.tls12, o.faulty, o.burst = 0, 0, 1; o.clients *= 4 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, r := simulated(t, test.set)
			seconds := o.length.Seconds()
			rate := float64(r.counts.connections) / seconds
			cycle := o.pause.Seconds() + (o.burst-1)*o.within.Seconds()
			near(t, "connections/s", rate, float64(o.clients)*o.burst/cycle, 0.05)

			// A visit's first connection offers a session if its client was here
			// before and the pause was no longer than the lifetime. All others do.
			first := (1 - o.fresh) * (1 - math.Exp(-o.ttl.Seconds()/o.pause.Seconds()))
			offered := (o.burst - 1 + first) / o.burst
			got := float64(r.counts.resumed) / float64(r.counts.connections)
			if o.tls12 == 0 {
				near(t, "share of resumptions", got, offered, 0.02)
			} else if got >= offered {
				// A session of TLS 1.2 is not renewed by its use, so fewer resume.
				t.Errorf("TLS 1.2 resumes %.3f of its connections, no less than TLS 1.3 would, %.3f", got, offered)
			}

			puts := r.counts.connections // a TLS 1.3 connection puts, resumed or not
			if o.tls12 == 1 {
				puts = r.counts.full
			}
			if r.calls.puts != puts || r.calls.gets != r.counts.offered {
				t.Errorf("%d puts and %d gets, want %d and %d", r.calls.puts, r.calls.gets, puts, r.counts.offered)
			}
			near(t, "sessions alive", float64(r.sessions), float64(r.calls.puts)/seconds*o.ttl.Seconds(), 0.05)
			near(t, "bytes alive", float64(r.bytes), float64(r.sessions*(o.der+109)), 0.001)
		})
	}
}

// With a store for each node, and with groups of nodes that differ in their
// session id context, a session is good at one node or group only.
func TestApart(t *testing.T) {
	_, whole := simulated(t, nil)
	tests := []struct {
		name string
		set  func(*options)
		of   float64
	}{
		{"own stores", func(o *options) { o.own = true }, 20},
		{"two groups", func(o *options) { o.split = 2 }, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, r := simulated(t, test.set)
			near(t, "resumptions", float64(r.counts.resumed)/float64(r.counts.offered),
				float64(whole.counts.resumed)/float64(whole.counts.offered)/test.of, 0.1)
		})
	}
}

// A stranger's ids cost a lookup each, unless ids are tagged.
func TestJunk(t *testing.T) {
	for _, tag := range []bool{false, true} {
		_, r := simulated(t, func(o *options) { o.junk, o.tag = 2, tag })
		if r.counts.junkLookups < r.counts.connections {
			t.Fatalf("%d made-up ids: this shows nothing", r.counts.junkLookups)
		}
		want := r.counts.junkLookups
		if tag {
			want = 0
		}
		if r.counts.junkCalls != want {
			t.Errorf("TagIDs %v: %d of %d made-up ids reached the store, want %d", tag, r.counts.junkCalls, r.counts.junkLookups, want)
		}
		if r.counts.resumed*10 < r.counts.offered*9 {
			t.Errorf("TagIDs %v: %d of %d offered sessions resumed", tag, r.counts.resumed, r.counts.offered)
		}
	}
}

// A server limited to TLS 1.2 looks up a random id for each new client of both
// versions.
func TestCompatibilityIDs(t *testing.T) {
	_, r := simulated(t, func(o *options) { o.only12, o.tls12 = true, 0 })
	if want := r.counts.connections - r.counts.offered; r.counts.junkCalls != want {
		t.Errorf("%d junk lookups, want %d", r.counts.junkCalls, want)
	}
}

// Under single use a session resumes once: two connections that start at once
// with one session make one resumption.
func TestSingleUse(t *testing.T) {
	parallel := func(single bool) func(*options) {
		return func(o *options) { o.parallel, o.single, o.tls12 = 0.5, single, 0 }
	}
	_, many := simulated(t, parallel(false))
	_, once := simulated(t, parallel(true))
	if many.calls.claims != 0 || once.calls.gets != 0 || once.calls.claims != once.counts.offered {
		t.Errorf("calls: %+v, single use %+v", many.calls, once.calls)
	}
	if once.counts.resumed >= many.counts.resumed*9/10 {
		t.Errorf("%d resumptions under single use, %d without", once.counts.resumed, many.counts.resumed)
	}
}

// A near cache answers where a client comes back to its node.
func TestNearCache(t *testing.T) {
	shareOf := func(set func(*options)) float64 {
		_, r := simulated(t, func(o *options) {
			o.near, o.tls12, o.faulty = 64<<20, 0, 0
			set(o)
		})
		return float64(r.counts.lookups-reads(&r)) / float64(r.counts.lookups)
	}
	sticky := shareOf(func(o *options) { o.sticky = true })
	random := shareOf(func(o *options) {})
	if sticky < 0.6 || random > 0.1 {
		t.Errorf("the near cache answers %.2f of the lookups with sticky, %.2f with random balancing", sticky, random)
	}
}

// A chain of resumptions ends at MaxResumptionAge.
func TestMaxAge(t *testing.T) {
	_, long := simulated(t, nil)
	_, short := simulated(t, func(o *options) { o.maxAge = o.ttl })
	if short.counts.full <= long.counts.full*11/10 {
		t.Errorf("%d full handshakes with chains of %v, %d with chains of a day", short.counts.full, 30*time.Minute, long.counts.full)
	}
}

// The same flags and seed make the same table.
func TestSeed(t *testing.T) {
	table := func(args ...string) string {
		var b strings.Builder
		args = append([]string{"-clients", "500", "-ttl", "20m", "-length", "20m", "-nodes", "1,7"}, args...)
		if err := run(args, &b, io.Discard); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	once := table()
	if again := table(); once != again {
		t.Errorf("two runs differ:\n%s\n%s", once, again)
	}
	if once == table("-seed", "2") {
		t.Error("another seed made the same table")
	}
}

// A column for each variant and number of nodes; the rows that say something.
func TestTable(t *testing.T) {
	var b strings.Builder
	err := run([]string{"-clients", "200", "-ttl", "20m", "-length", "20m", "-faulty", "0.1", "-brief",
		"--", "-single-use -nodes 1,3", "-junk 1"}, &b, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if want := "| nodes | 1 `-single-use -nodes 1,3` | 3 `-single-use -nodes 1,3` | `-junk 1` |"; lines[0] != want {
		t.Errorf("the title is %q, want %q", lines[0], want)
	}
	for name, want := range map[string]bool{"resume": true, "store: claims/s": true, "store: of both, junk": true, "lookups/s": false, "answered without the store": false} {
		if strings.Contains(b.String(), "\n| "+name+" |") != want {
			t.Errorf("row %q: want %v in\n%s", name, want, b.String())
		}
	}
}

// What makes no sense is an error that names its flag.
func TestUsage(t *testing.T) {
	for _, args := range []string{
		"-nodes 0", "-nodes 1,x", "-tls12 1.5", "-ttl 1500ms", "-burst 0.5", "-clients 0", "-junk -1", "surplus",
		"-clients 1 -pause 100h -length 1s -ttl 1s",
	} {
		if err := run(strings.Fields(args), io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
