// Package record holds what was measured as it was measured: a file per row,
// from which every table and plot is made again at will.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
)

// Load is what the load generator prints.
type Load struct {
	Ops       int64   `json:"ops"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	ServerCPU float64 `json:"server_cpu"` // seconds
	ClientCPU float64 `json:"client_cpu"` // seconds
	Resumed   int64   `json:"resumed"`
	Full      int64   `json:"full"`
	Failed    int64   `json:"failed"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
}

// Stats are a server's counters, or the difference of two such.
type Stats struct {
	Accepted   int64 `json:"accepted"`
	Handshakes int64 `json:"handshakes"`
	Resumed    int64 `json:"resumed"`
	Failed     int64 `json:"failed"`
	Lookups    int64 `json:"lookups"`
	Hits       int64 `json:"hits"`
	Stored     int64 `json:"stored"`
}

// Sub is what was counted since before.
func (s Stats) Sub(before Stats) Stats {
	return Stats{
		Accepted:   s.Accepted - before.Accepted,
		Handshakes: s.Handshakes - before.Handshakes,
		Resumed:    s.Resumed - before.Resumed,
		Failed:     s.Failed - before.Failed,
		Lookups:    s.Lookups - before.Lookups,
		Hits:       s.Hits - before.Hits,
		Stored:     s.Stored - before.Stored,
	}
}

// A Run is one window of one peer.
type Run struct {
	Peer  string `json:"peer"`
	Load  Load   `json:"load"`
	Stats Stats  `json:"stats"` // of the whole run, warm-up included

	Others float64 `json:"others"` // processor time of others, as a share of one core
	Stolen float64 `json:"stolen"` // by the hypervisor, likewise

	Threads  int     `json:"threads"`  // of the server, the most seen
	CPUs     int     `json:"cpus"`     // that the server may run on
	RSS      int64   `json:"rss"`      // bytes, in the window
	Switches float64 `json:"switches"` // context switches of the server per operation

	KiBPerConn float64 `json:"kib_per_conn,omitempty"` // rows of memory
	Waiting    float64 `json:"waiting,omitempty"`      // lookups that wait at once, on average; rows with a delay
}

// A Round is one run of every peer. A disturbed one was kept because waiting
// for calm came to its end.
type Round struct {
	Runs      []Run   `json:"runs"` // in the order in which they ran; the base is first and last
	Disturbed bool    `json:"disturbed"`
	Waited    float64 `json:"waited"` // seconds, those of repeated attempts included
	Attempts  int     `json:"attempts"`
}

// Settings are what a run of the driver was told.
type Settings struct {
	Warmup time.Duration `json:"warmup"`
	Window time.Duration `json:"window"`
	Rounds int           `json:"rounds"`
	Limits host.Limits   `json:"limits"`
}

// A Row is all that was measured for one row of the table.
type Row struct {
	Name     string        `json:"name"`
	Commit   string        `json:"commit"`
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
	Machine  host.Machine  `json:"machine"`
	Settings Settings      `json:"settings"`
	Delay    time.Duration `json:"delay,omitempty"` // of a lookup, in a row of threads
	Rounds   []Round       `json:"rounds"`
	Failures []string      `json:"failures,omitempty"` // what was not as the row says; then its numbers mean nothing
}

// Calm are the rounds that nobody disturbed.
func (r *Row) Calm() []Round {
	var calm []Round
	for _, round := range r.Rounds {
		if !round.Disturbed {
			calm = append(calm, round)
		}
	}
	return calm
}

// Save writes dir/NAME.json, whole or not at all.
func (r *Row) Save(dir string) error {
	b, err := r.encode()
	if err != nil {
		return fmt.Errorf("record: %s: %w", r.Name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	name := filepath.Join(dir, r.Name+".json")
	if err := os.WriteFile(name+".new", b, 0o644); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// encode writes a round per line.
func (r *Row) encode() ([]byte, error) {
	head := *r
	head.Rounds = nil
	b, err := json.MarshalIndent(struct {
		*Row
		Rounds []string `json:"rounds"`
	}{&head, []string{}}, "", "  ")
	if err != nil {
		return nil, err
	}
	const end = "[]\n}"
	b = append(b[:len(b)-len(end)], "[\n"...)
	for i, round := range r.Rounds {
		line, err := json.Marshal(round)
		if err != nil {
			return nil, err
		}
		b = append(append(b, "    "...), line...)
		if i < len(r.Rounds)-1 {
			b = append(b, ',')
		}
		b = append(b, '\n')
	}
	return append(b, "  ]\n}\n"...), nil
}

// Read reads dir/NAME.json; it returns nil and no error if there is none.
func Read(dir, name string) (*Row, error) {
	b, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	r := &Row{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("record: %s.json: %w", name, err)
	}
	return r, nil
}
