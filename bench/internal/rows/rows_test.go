package rows

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the servers and the load understand; bench/README.md has the whole.
var (
	works  = map[string][]string{"handshake": {"full", "resume"}, "echo": {"echo", "idle"}, "source": {"down"}, "sink": {"up"}}
	stores = map[string][]string{
		"cserver":   {"none", "der", "ref", "internal", "tickets"},
		"ours":      {"none", "der", "ref", "internal", "tickets", "cache"},
		"prototype": {"none", "der"},
		"cryptotls": {"none", "tickets"},
		"goopenssl": {"none", "tickets", "internal"},
		"node":      {"none", "tickets", "der"},
	}
)

func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, r := range All() {
		if names[r.Name] || r.Name == "" || strings.ContainsAny(r.Name, "/ ") {
			t.Errorf("%q: no name for a file, or there twice", r.Name)
		}
		names[r.Name] = true
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf(r.Name+": "+format, args...)
		}
		if r.Title == "" || r.Conns < 1 || r.Version != "1.2" && r.Version != "1.3" {
			fail("not whole: %+v", r)
		}
		if !slices.Contains(works[r.Work], r.Load) {
			fail("server does %s while the load does %s", r.Work, r.Load)
		}
		if r.Peers[0].Name != r.Base {
			fail("base is %s, and the first peer %s", r.Base, r.Peers[0].Name)
		}
		if _, ok := r.Peer(Ours); !ok {
			fail("ours is not in it")
		}
		columns := map[string]bool{}
		for _, p := range r.Peers {
			if columns[p.Name] {
				fail("%s is there twice", p.Name)
			}
			columns[p.Name] = true
			if !slices.Contains(stores[p.Program], p.Store) {
				fail("%s has no store %q", p.Program, p.Store)
			}
			if r.Load == "resume" == (p.Store == "none") {
				fail("%s with store %s under load %s", p.Name, p.Store, r.Load)
			}
			if p.Program == "prototype" && (r.Mutual || r.Delay > 0) {
				fail("the prototype has no client certificates, and no lookups that wait")
			}
			if p.Program == "node" && p.Store == "der" && r.Version != "1.2" {
				fail("Node has session events in TLS 1.2 only")
			}
		}
		for _, f := range []string{r.Cert + ".pem", r.Cert + "-key.pem"} {
			if _, err := os.Stat("../../../testdata/certs/" + f); err != nil {
				fail("%v", err)
			}
		}
		g := r.Goal()
		if r.Metric.Relative() && (g.Want > 2 || g.Floor > 2) {
			fail("no ratio: %+v", g)
		}
		if g.Want == 0 && r.Name != "resume-1.2-cache" {
			fail("no goal")
		}
	}
	for name := range goals {
		if !names[name] {
			t.Errorf("a goal for %s, which is no row", name)
		}
	}
	for _, name := range Quick {
		if !names[name] {
			t.Errorf("quick: %s is no row", name)
		}
	}
}

// The rows of the issue, with its goals, as a reader would look for them.
func TestIssue(t *testing.T) {
	want := map[string]Goal{
		"resume-1.2-der": {0.95, 0.89}, "resume-1.2-ref": {1.05, 0}, "resume-1.3-der": {0.95, 0.91},
		"full-ecdsa-1.2": {0.95, 0.86}, "full-ecdsa-1.3": {0.95, 0.93}, "full-rsa-1.2": {0.95, 0.90}, "full-rsa-1.3": {0.95, 0.88},
		"echo-32": {0.95, 0.86}, "echo-1": {0.90, 0.69}, "down-8": {1.00, 1.01}, "up-8": {0.97, 0.91},
		"idle": {14, 17}, "p99-full-1.3": {1.0, 0.95}, "parked-lookups": {9, 6},
	}
	got := map[string]Goal{}
	for _, r := range All() {
		if _, ok := want[r.Name]; ok {
			got[r.Name] = r.Goal()
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestMet(t *testing.T) {
	rate, memory := &Row{Name: "echo-1", Metric: Rate}, &Row{Name: "idle", Metric: Memory}
	for _, c := range []struct {
		row    *Row
		median float64
		want   bool
	}{{rate, 0.90, true}, {rate, 0.899, false}, {memory, 14, true}, {memory, 14.1, false}} {
		if got := c.row.Met(c.median); got != c.want {
			t.Errorf("%s at %v: %v", c.row.Name, c.median, got)
		}
	}
}

func TestArgs(t *testing.T) {
	r := parked()
	r.Mutual = true
	server := strings.Join(r.ServerArgs(r.Peers[0], "certs"), " ")
	if want := "-work handshake -version 1.2 -store der -cert certs/server.pem -key certs/server-key.pem -client-ca certs/ca.pem -lookup-delay 50ms"; server != want {
		t.Errorf("server: %s\nwant    %s", server, want)
	}
	load := strings.Join(r.LoadArgs("certs", 7, 300*time.Millisecond, time.Second), " ")
	if want := "-work resume -version 1.2 -conns 7 -warmup 2 -seconds 1 -cert certs/client.pem -key certs/client-key.pem"; load != want {
		t.Errorf("load: %s\nwant  %s", load, want)
	}
	echo := strings.Join(data("echo-1", "", "echo", "echo", 1, 64).LoadArgs("certs", 1, 300*time.Millisecond, time.Second), " ")
	if want := "-work echo -version 1.3 -conns 1 -warmup 0.3 -seconds 1 -size 64"; echo != want {
		t.Errorf("load: %s\nwant  %s", echo, want)
	}
	if got := strings.Join(idle().ServerArgs(cRelease, "certs"), " "); !strings.HasSuffix(got, " -release-buffers") {
		t.Errorf("server: %s", got)
	}
}
