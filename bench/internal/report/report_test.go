package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rounds"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

var update = flag.Bool("update", false, "write the golden files anew")

// speed is what the peers of the made-up machine do, of C's.
var speed = map[string]float64{
	"c": 1, "c-ref": 1.11, "c-internal": 1.2, "c-release": 0.99, "c-tuned": 1.08, rows.Ours: 0.955, rows.Prototype: 0.85,
	"cryptotls": 1.3, "goopenssl": 0.7, "node": 0.5,
}

// made is the record of a row on a machine where each round is a little
// faster than the one before, and the base a little faster at its end.
func made(row *rows.Row, n int) *record.Row {
	rec := &record.Row{
		Name: row.Name, Commit: "0123456789abcdef0123456789abcdef01234567", Started: time.Unix(1e9, 0).UTC(),
		Machine:  host.Machine{CPU: "A Processor", CPUs: 2, Kernel: "6.1.0", OpenSSL: "3.0.19", Go: "go1.26.8", Node: "v20.1.0"},
		Settings: record.Settings{Warmup: 300 * time.Millisecond, Window: time.Second, Rounds: 4, Limits: host.DefaultLimits},
	}
	for i := range n {
		round := record.Round{Attempts: 1}
		for place, peer := range rounds.Order(len(row.Peers), i, row.Metric == rows.Memory) {
			p := row.Peers[peer]
			s := speed[p.Name] * (1 + 0.01*float64(i)*speed[p.Name]) * (1 + 0.002*float64(place))
			run := record.Run{
				Peer: p.Name, Threads: 5, CPUs: 1, RSS: 20 << 20, Switches: 0.5, KiBPerConn: 14 / s,
				Load: record.Load{Ops: int64(3000 * s), Bytes: int64(1.5e9 * s), Seconds: 1, ServerCPU: 0.99, ClientCPU: 0.4, P50: 9000 / s, P99: 11000 / s},
			}
			if row.Metric == rows.Threads {
				rec.Delay = row.Delay
				run.Waiting = 540
			}
			round.Runs = append(round.Runs, run)
		}
		rec.Rounds = append(rec.Rounds, round)
	}
	return rec
}

// sample has a row of each metric, one that was disturbed, one with fewer
// rounds, one of another commit and one that failed.
func sample() map[string]*record.Row {
	records := map[string]*record.Row{}
	for _, row := range rows.All() {
		switch row.Name {
		case "resume-1.3-ref", "full-ecdsa-1.2", "up-8", "resume-1.2-mtls-der":
			continue
		}
		records[row.Name] = made(row, 4)
	}
	for i := range 2 {
		records["echo-32"].Rounds[i].Disturbed = true
	}
	for _, round := range records["resume-1.2-cache"].Rounds { // the load has no time to spare, and C has
		for i := range round.Runs {
			if round.Runs[i].Peer == "c" {
				round.Runs[i].Load.ServerCPU, round.Runs[i].Load.ClientCPU = 0.8, 0.99
			}
		}
	}
	records["down-8"].Rounds = records["down-8"].Rounds[:3]
	records["echo-1"].Commit = "fedcba9876543210fedcba9876543210fedcba98+00112233"
	records["echo-1"].Started = time.Unix(9e8, 0).UTC()
	records["full-rsa-1.2"].Rounds = nil
	records["full-rsa-1.2"].Failures = []string{"node: 7 handshakes were resumed, and all were to be full"}
	return records
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got), go test -update writes it anew:\n%s", name, d)
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := Of(rows.All(), sample()).WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "results.md", b.Bytes())
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	rep := Of(rows.All(), sample())
	for _, r := range rep.Rows {
		b.WriteString(r.Name + "\n")
		if err := r.WriteRow(&b); err != nil {
			t.Fatal(err)
		}
	}
	rep.WriteRules(&b)
	golden(t, "results.txt", b.Bytes())
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	rep := Of(rows.All(), sample())
	if err := rep.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rep, &back, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".row" }, cmp.Ignore())); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestPlots(t *testing.T) {
	dir := t.TempDir()
	if kept := os.Getenv("PLOTS"); kept != "" {
		dir = kept
	}
	if err := Of(rows.All(), sample()).Plots(dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range charts {
		if _, err := os.Stat(filepath.Join(dir, c.file)); err != nil {
			t.Error(err)
		}
	}
	if err := Of(rows.All(), nil).Plots(dir); err != nil {
		t.Errorf("of no rows: %v", err)
	}
}

// Every row is drawn, but for one that has no bars.
func TestCharts(t *testing.T) {
	drawn := map[string]bool{"parked-lookups": true}
	for _, c := range charts {
		for _, r := range c.rows {
			drawn[r[0]] = true
		}
	}
	want := map[string]bool{}
	for _, r := range rows.All() {
		want[r.Name] = true
	}
	if d := cmp.Diff(want, drawn); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A pair is made in its round: what all peers have in common falls out.
func TestPaired(t *testing.T) {
	row := rows.All()[0]
	rec := made(row, 4)
	for i := range rec.Rounds {
		for j := range rec.Rounds[i].Runs {
			rec.Rounds[i].Runs[j].Load.ServerCPU = float64(1 + i) // each round on a slower machine
			rec.Rounds[i].Runs[j].Load.Ops = int64(100000 * speed[rec.Rounds[i].Runs[j].Peer])
		}
	}
	r := RowOf(row, rec)
	p := r.Peer(rows.Ours)
	if p.Ratio.Q1 != 0.955 || p.Ratio.Q3 != 0.955 || p.Value.Q1 == p.Value.Q3 {
		t.Errorf("ratio %+v of values %+v", p.Ratio, p.Value)
	}
	if q := r.Peer(rows.Prototype).Ours; q.N != 4 || q.Q3-q.Q1 > 1e-9 {
		t.Errorf("ours by the prototype: %+v", q)
	}
	if !r.Met || r.Few() {
		t.Errorf("met %v, few %v", r.Met, r.Few())
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		why    string
		row    string
		ours   float64
		broken []int // by rule
	}{
		{"all hold", "resume-1.2-der", 0.955, nil},
		{"below the prototype elsewhere", "full-ecdsa-1.3", 0.90, []int{1}},
		{"below the prototype here too", "full-ecdsa-1.3", 0.84, []int{1, 2}},
		{"below the prototype here, and not elsewhere", "echo-1", 0.84, []int{2, 3}},
		{"a little above the prototype here", "echo-1", 0.86, []int{3}},
		{"more memory than the prototype elsewhere", "idle", 0.82, []int{1, 2, 3}},
		{"less memory than the prototype here", "idle", 0.86, []int{3}},
		{"a p99 above the prototype's", "p99-full-1.3", 0.84, []int{1, 2}},
		{"1.25 times go-openssl", "echo-1", 0.875, []int{3}},
		{"1.25 times go-openssl at full handshakes is none", "full-ecdsa-1.2", 0.875, nil},
		{"1.25 times go-openssl at full handshakes' p99 is none", "p99-full-1.3", 1.1, nil},
		{"RSA below 1.6 times crypto/tls", "full-rsa-1.3", 2, []int{4}},
		{"RSA above it", "full-rsa-1.3", 2.2, nil},
	} {
		for _, row := range rows.All() {
			if row.Name != c.row {
				continue
			}
			before := speed[rows.Ours]
			speed[rows.Ours] = c.ours
			rec := made(row, 1)
			speed[rows.Ours] = before
			var broken []int
			rep := Of([]*rows.Row{row}, map[string]*record.Row{row.Name: rec})
			for i, rule := range rep.Rules {
				if !rule.Holds() {
					broken = append(broken, i)
				}
			}
			if d := cmp.Diff(c.broken, broken); d != "" {
				t.Errorf("%s: (-want +got)\n%s%+v", c.why, d, rep.Rules)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.954: "0.95", 9.994: "9.99", 28.34: "28.3", 146.4: "146", 13612: "13,612", 1234567: "1,234,567"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
