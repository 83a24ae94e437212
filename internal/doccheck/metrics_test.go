package doccheck

import (
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/collector"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

const operations = "docs/operations.md"

// exportedMetrics returns the names of the collector's metrics, and the values
// of the label outcome that stand with each.
func exportedMetrics(t *testing.T) (metrics map[string][]string) {
	t.Helper()
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		t.Fatal(err)
	}
	c := collector.New(cache, nil)
	metrics = map[string][]string{}
	descs := make(chan *prometheus.Desc, 1000)
	c.Describe(descs)
	close(descs)
	for d := range descs {
		m := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("no name in %s", d)
		}
		metrics[m[1]] = nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, label := range m.Label {
				if label.GetName() == "outcome" {
					metrics[f.GetName()] = append(metrics[f.GetName()], label.GetValue())
				}
			}
		}
	}
	return metrics
}

// commandMetrics returns the names of the metrics that the command adds.
func commandMetrics(t *testing.T) (metrics []string) {
	t.Helper()
	files, err := fs.Glob(root, path.Join("cmd", "sessioncb", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(sessioncb_serve_\w+)"`).FindAllSubmatch(source, -1) {
			metrics = append(metrics, string(m[1]))
		}
	}
	return metrics
}

// Each metric stands in docs/operations.md, with the outcomes that it counts,
// and no other.
func TestMetrics(t *testing.T) {
	text, err := fs.ReadFile(root, operations)
	if err != nil {
		t.Fatal(err)
	}
	inCode := map[string]bool{}
	for _, m := range codePattern.FindAllStringSubmatch(newPage(operations, string(text)).prose, -1) {
		inCode[m[1]] = true
	}
	documented := map[string]bool{}
	for code := range inCode {
		for _, name := range regexp.MustCompile(`\bsessioncb_\w+`).FindAllString(code, -1) {
			documented[name] = true
		}
	}

	metrics := exportedMetrics(t)
	if len(metrics) < 10 {
		t.Fatalf("%d metrics: this shows nothing", len(metrics))
	}
	known := map[string]bool{}
	for _, name := range commandMetrics(t) {
		known[name] = true
	}
	for name, outcomes := range metrics {
		known[name] = true
		for _, outcome := range outcomes {
			if !inCode[outcome] {
				t.Errorf("%s does not tell of the outcome %q of %s", operations, outcome, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !documented[name] {
			t.Errorf("%s does not tell of %s", operations, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if !known[name] {
			t.Errorf("%s tells of %s, which is no metric", operations, name)
		}
	}
}
