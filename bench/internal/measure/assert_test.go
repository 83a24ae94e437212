package measure

import (
	"strings"
	"testing"

	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

func row(t *testing.T, name, peer string) (*rows.Row, rows.Peer) {
	t.Helper()
	for _, r := range rows.All() {
		if p, ok := r.Peer(peer); ok && r.Name == name {
			return r, p
		}
	}
	t.Fatalf("no row %s with %s", name, peer)
	return nil, rows.Peer{}
}

// Each case is a run that is right, and what spoils it.
func TestCheck(t *testing.T) {
	load := func(ops, resumed, full int64) record.Load {
		return record.Load{Ops: ops, Resumed: resumed, Full: full, Seconds: 1, ServerCPU: 0.9}
	}
	good := map[string]record.Run{
		"resume-1.2-der/c":         {Load: load(1000, 1000, 0), Stats: record.Stats{Accepted: 1400, Handshakes: 1332, Resumed: 1300, Lookups: 1310, Hits: 1310, Stored: 32}},
		"resume-1.2-ref/ours":      {Load: load(1000, 1000, 0), Stats: record.Stats{Accepted: 1400, Handshakes: 1332, Resumed: 1300, Lookups: 1300, Hits: 1300, Stored: 32}},
		"resume-1.3-der/ours":      {Load: load(1000, 1000, 0), Stats: record.Stats{Accepted: 1400, Handshakes: 1332, Resumed: 1300, Lookups: 1310, Hits: 1310, Stored: 1330}},
		"resume-1.2-der/cryptotls": {Load: load(1000, 1000, 0), Stats: record.Stats{Accepted: 1400, Handshakes: 1332, Resumed: 1300}},
		"full-rsa-1.2/node":        {Load: load(1000, 0, 1000), Stats: record.Stats{Accepted: 1400, Handshakes: 1332, Failed: 10}},
		"echo-32/goopenssl":        {Load: load(1000, 0, 0), Stats: record.Stats{Accepted: 32, Handshakes: 32}},
		"down-8/ours":              {Load: record.Load{Ops: 9, Bytes: 9 << 14, Seconds: 1, ServerCPU: 1}, Stats: record.Stats{Accepted: 8, Handshakes: 8}},
		"idle/c":                   {KiBPerConn: 13, Stats: record.Stats{Accepted: 2200, Handshakes: 2200}},
	}
	get := func(name string) (*rows.Row, rows.Peer, record.Run) {
		t.Helper()
		r, p, _ := strings.Cut(name, "/")
		rr, pp := row(t, r, p)
		run, ok := good[name]
		if !ok {
			t.Fatalf("no good run for %s", name)
		}
		return rr, pp, run
	}
	for name := range good {
		r, p, run := get(name)
		if failures := Check(r, p, run); failures != nil {
			t.Errorf("%s: a run that is right: %q", name, failures)
		}
	}
	for _, c := range []struct {
		name, why string
		spoil     func(*record.Run)
		want      string
	}{
		{"resume-1.2-der/c", "one handshake was full", func(r *record.Run) { r.Load.Resumed--; r.Load.Full++ }, "c: 1 handshakes of the window were full, and all were to be resumed"},
		{"resume-1.2-der/c", "the load failed", func(r *record.Run) { r.Load.Failed = 3 }, "c: 3 operations failed at the load"},
		{"resume-1.2-der/c", "nothing done", func(r *record.Run) { r.Load.Ops = 0 }, "c: no operation was done"},
		{"resume-1.2-der/c", "no time", func(r *record.Run) { r.Load.ServerCPU = 0 }, "c: the load measured no time: 1 s, server 0 s"},
		{"resume-1.2-der/c", "the internal cache answered", func(r *record.Run) { r.Stats.Lookups, r.Stats.Hits = 0, 0 }, "c: 1300 handshakes were resumed, and 0 sessions found in the store"},
		{"resume-1.2-der/c", "misses", func(r *record.Run) { r.Stats.Lookups = 2000 }, "c: 2000 lookups found 1310 sessions"},
		{"resume-1.2-der/c", "a session at each resumption", func(r *record.Run) { r.Stats.Stored = 1332 }, "c: 1332 sessions were stored, at 1332 handshakes, 32 of them full"},
		{"resume-1.2-der/c", "many full handshakes before the window", func(r *record.Run) { r.Stats.Handshakes += 100 }, "c: the server counts 132 full handshakes beside 1300 resumed ones; the warm-up has 32"},
		{"resume-1.2-ref/ours", "the server does not know", func(r *record.Run) { r.Stats.Resumed = 900 }, "ours: the server counts 900 resumed handshakes, and the load 1000"},
		{"resume-1.3-der/ours", "tickets that were not stored", func(r *record.Run) { r.Stats.Stored = 32 }, "ours: 32 sessions were stored, at 1332 handshakes, 32 of them full"},
		{"resume-1.2-der/cryptotls", "tickets with a store", func(r *record.Run) { r.Stats.Lookups = 1 }, "cryptotls: its store is tickets, but the external one counts 1 lookups, 0 hits, 0 stored"},
		{"full-rsa-1.2/node", "resumed at the load", func(r *record.Run) { r.Load.Resumed++; r.Load.Full-- }, "node: 1 handshakes were resumed, and all were to be full"},
		{"full-rsa-1.2/node", "resumed at the server", func(r *record.Run) { r.Stats.Resumed = 2 }, "node: the server counts 2 resumed handshakes, and all were to be full"},
		{"full-rsa-1.2/node", "a store", func(r *record.Run) { r.Stats.Stored = 5 }, "node: it has no store, but counts 0 lookups, 0 hits, 5 stored"},
		{"full-rsa-1.2/node", "failures", func(r *record.Run) { r.Stats.Failed = 100 }, "node: the server counts 100 failed handshakes"},
		{"echo-32/goopenssl", "a connection is missing", func(r *record.Run) { r.Stats.Handshakes-- }, "goopenssl: the server counts 31 handshakes, and the load 32"},
		{"echo-32/goopenssl", "resumed", func(r *record.Run) { r.Load.Resumed = 1 }, "goopenssl: 1 connections were resumed, and all were to be full"},
		{"idle/c", "a connection is missing", func(r *record.Run) { r.Stats.Handshakes-- }, "c: the server counts 2199 handshakes of 2200 connections"},
		{"down-8/ours", "no data", func(r *record.Run) { r.Load.Bytes = 0 }, "ours: no data was moved"},
		{"idle/c", "no memory", func(r *record.Run) { r.KiBPerConn = 0 }, "c: its memory did not grow"},
	} {
		r, p, run := get(c.name)
		c.spoil(&run)
		got := Check(r, p, run)
		if !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s, %s: %q, want %q", c.name, c.why, got, c.want)
		}
	}
}

func TestCheckWaiting(t *testing.T) {
	r, _ := row(t, "parked-lookups", rows.Ours)
	rounds := []record.Round{{Runs: []record.Run{{Waiting: 300}}}, {Runs: []record.Run{{Waiting: 499.9}}}}
	if got := CheckWaiting(r, rounds); len(got) != 1 || got[0] != "ours: at most 499.9 lookups waited at once, and 500 were to" {
		t.Errorf("%q", got)
	}
	rounds[0].Runs[0].Waiting = 520
	if got := CheckWaiting(r, rounds); got != nil {
		t.Errorf("%q", got)
	}
	other, _ := row(t, "echo-1", rows.Ours)
	if got := CheckWaiting(other, nil); got != nil {
		t.Errorf("%q", got)
	}
}
