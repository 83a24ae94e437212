package main

import (
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
)

var metricsURL = regexp.MustCompile(`url=(http://\S+)/metrics`)

// scrape returns what a path of the metrics listener serves.
func scrape(t *testing.T, p *process, path string) string {
	t.Helper()
	line := p.awaitLog(t, 1, `msg="serving metrics"`)[0]
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	r, err := client.Get(metricsURL.FindStringSubmatch(line)[1] + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, r.Status, err)
	}
	return string(body)
}

// samples are the lines of /metrics that have a number other than 0.
func samples(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && value != "0" {
			m[name+"}"] = value
		}
	}
	return m
}

// awaitSample waits until a line of /metrics has the number: what is written
// behind takes its time.
func awaitSample(t *testing.T, p *process, name, want string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got := samples(scrape(t, p, "/metrics"))
		if got[name] == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %q, want %s; all:\n%v", name, got[name], want, got)
		}
	}
}

// The metrics count what was done, no more and no less.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	p := serve(t, "--metrics", "0", "--store", "redis://"+testserver.Redis(t).Addr(), "--key-file", filepath.Join(dir, "fleet.keys"))
	eachWay(t, func(t *testing.T, w way) {
		session := filepath.Join(dir, w.flag)
		w.handshake(t, p, "", session, false)
		for range 2 {
			w.handshake(t, p, session, "", true)
		}
	})
	got := samples(scrape(t, p, "/metrics"))
	for name, want := range map[string]string{
		`sessioncb_serve_handshakes_total{resumed="no",version="TLS 1.2"}`:              "1",
		`sessioncb_serve_handshakes_total{resumed="session id",version="TLS 1.2"}`:      "2",
		`sessioncb_serve_handshakes_total{resumed="no",version="TLS 1.3"}`:              "1",
		`sessioncb_serve_handshakes_total{resumed="stateful ticket",version="TLS 1.3"}`: "2",
		`sessioncb_lookups_total{outcome="hit store",store="redis"}`:                    "4",
		`sessioncb_puts_total{outcome="stored",store="redis"}`:                          "4", // one in TLS 1.2, three in TLS 1.3
		`sessioncb_store_calls_total{kind="get",store="redis"}`:                         "4",
		`sessioncb_store_calls_total{kind="put",store="redis"}`:                         "4",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %s", name, got[name], want)
		}
		delete(got, name)
	}
	for name := range got {
		if strings.HasPrefix(name, "sessioncb_lookups_total") || strings.HasPrefix(name, "sessioncb_puts_total") ||
			strings.HasPrefix(name, "sessioncb_serve") || strings.HasPrefix(name, "sessioncb_breaker") {
			t.Errorf("counted too: %s %s", name, got[name])
		}
	}
	said := fields(scrape(t, p, "/explain"))
	if !strings.HasPrefix(said["TLS 1.2"], "resumes by session id") || !strings.HasPrefix(said["TLS 1.3"], "resumes by stateful ticket") {
		t.Errorf("/explain: %v", said)
	}
	// Not on the port of the service, and nowhere but on loopback.
	line := p.log.lines(`msg="serving metrics"`)[0]
	if !strings.Contains(line, "http://127.0.0.1:") {
		t.Errorf("the metrics are at %s", line)
	}
	p.stop(t, syscall.SIGINT)
}

// An address that is taken is exit code 1, before the first line.
func TestMetricsFails(t *testing.T) {
	p := serve(t)
	r := command(t, "", "serve", "--addr", "127.0.0.1:0", "--metrics", p.addr)
	if r.code != exitFailed || r.stdout != "" || !strings.Contains(r.stderr, "metrics: listen tcp") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	p.stop(t, syscall.SIGINT)
}

// [HOST:]PORT, on loopback unless it says otherwise.
func TestParseMetrics(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "9100": "127.0.0.1:9100", ":9100": "127.0.0.1:9100", "0": "127.0.0.1:0",
		"0.0.0.0:9100": "0.0.0.0:9100", "[::]:9100": "[::]:9100", "host:1": "host:1",
	} {
		if got, err := parseMetrics(in); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

// The flags of the Cache reach it: each shows in its counters.
func TestCacheFlags(t *testing.T) {
	redis := testserver.Redis(t)
	for _, c := range []struct {
		flags []string
		work  func(t *testing.T, p *process, dir string)
		want  map[string]string
	}{
		{[]string{"--near", "100000"}, func(t *testing.T, p *process, dir string) {
			session := filepath.Join(dir, "s.pem")
			ways[0].handshake(t, p, "", session, false)
			for range 3 {
				ways[0].handshake(t, p, session, "", true)
			}
		}, map[string]string{
			`sessioncb_lookups_total{outcome="hit near",store="redis"}`: "3",
		}},
		{[]string{"--write-behind", "10"}, func(t *testing.T, p *process, dir string) {
			ways[0].handshake(t, p, "", "", false)
		}, map[string]string{
			`sessioncb_puts_total{outcome="stored",store="redis"}`: "1",
		}},
		{[]string{"--single-use"}, func(t *testing.T, p *process, dir string) {
			session := filepath.Join(dir, "s.pem")
			ways[1].handshake(t, p, "", session, false)
			ways[1].handshake(t, p, session, "", true)
			ways[1].handshake(t, p, session, "", false) // used before
		}, map[string]string{
			`sessioncb_claims_total{store="redis"}`: "1",
		}},
		{[]string{"--tag-ids"}, func(t *testing.T, p *process, dir string) {
			session := filepath.Join(dir, "s.pem")
			ways[1].handshake(t, p, "", session, false)
			ways[1].handshake(t, p, session, "", true)
			// Ids of a server without tags are strangers'.
			other := serve(t, "--store", "redis://"+redis.Addr(), "--key-file", filepath.Join(dir, "fleet.keys"))
			ways[1].handshake(t, other, "", session, false)
			other.stop(t, syscall.SIGINT)
			ways[1].handshake(t, p, session, "", false)
		}, map[string]string{
			`sessioncb_store_calls_total{kind="get",store="redis"}`: "1",
		}},
	} {
		t.Run(c.flags[0], func(t *testing.T) {
			dir := t.TempDir()
			p := serve(t, append(c.flags, "--metrics", "0", "--store", "redis://"+redis.Addr(), "--key-file", filepath.Join(dir, "fleet.keys"))...)
			c.work(t, p, dir)
			for name, want := range c.want {
				awaitSample(t, p, name, want)
			}
			p.stop(t, syscall.SIGINT)
		})
	}
}
