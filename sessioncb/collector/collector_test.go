package collector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sessioncb/openssl/sessioncb"
)

// gather returns all samples but zeros by name and labels; of histograms the
// count.
func gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if v != 0 {
				samples[strings.TrimPrefix(f.GetName(), "sessioncb_")+"{"+strings.Join(labels, ",")+"}"] = v
			}
		}
	}
	return samples
}

var errBroken = errors.New("broken pipe")

func fails(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestEachOutcome makes each outcome happen a number of times, and looks that
// it is counted so often, and nothing else that a row does not name.
func TestEachOutcome(t *testing.T) {
	type options = sessioncb.CacheOptions
	type samples = map[string]float64
	named := map[string]bool{}
	for _, test := range []struct {
		name string
		o    options
		run  func(s *script)
		want samples
	}{
		{"hit near", options{NearBytes: 1 << 20}, func(s *script) { s.put(); s.get(); s.get() }, samples{
			"puts_total{outcome=stored}": 1, "lookups_total{outcome=hit near}": 2,
			"store_calls_total{kind=put}": 1, "near_sessions{}": 1, "near_bytes{}": 0,
		}},
		{"hit queued", options{WriteBehind: 5}, func(s *script) {
			s.store.hook(hangs)
			s.put()
			synctest.Wait()
			s.get()
		}, samples{
			"lookups_total{outcome=hit queued}": 1, "queued{kind=put}": 1, "store_calls_inside{kind=write}": 1,
			"store_calls_total{kind=put}": 1,
		}},
		{"hit store", options{}, func(s *script) { s.put(); s.get(); s.get(); s.get() }, samples{
			"puts_total{outcome=stored}": 1, "lookups_total{outcome=hit store}": 3,
			"store_calls_total{kind=put}": 1, "store_calls_total{kind=get}": 3,
		}},
		{"hit claimed", options{SingleUse: true}, func(s *script) {
			s.conn.version, s.s.version = tls.VersionTLS13, tls.VersionTLS13
			s.put()
			s.get()
			s.get()
		}, samples{
			"puts_total{outcome=stored}": 1, "lookups_total{outcome=hit claimed}": 1, "lookups_total{outcome=miss asked}": 1,
			"claims_total{}": 1, "store_calls_total{kind=put}": 1, "store_calls_total{kind=claim}": 2,
		}},
		{"miss", options{}, func(s *script) { s.get(); s.get(); s.get() }, samples{
			"lookups_total{outcome=miss asked}": 1, "lookups_total{outcome=miss remembered}": 2,
			"store_calls_total{kind=get}": 1, "misses_remembered{}": 1,
		}},
		{"joined", options{}, func(s *script) {
			s.store.hook(func(context.Context) error { time.Sleep(time.Millisecond); return nil })
			for range 4 {
				go s.get()
			}
			synctest.Wait()
			if n := gather(s.T, New(s.cache, nil))["ids_waiting{}"]; n != 1 {
				s.Errorf("%v ids waiting", n)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}, samples{
			"lookups_total{outcome=miss asked}": 4, "lookups_joined_total{}": 3,
			"store_calls_total{kind=get}": 1, "misses_remembered{}": 1,
		}},
		{"junk", options{TagIDs: true}, func(s *script) { s.get(); s.get(); s.put(); s.remove(sessioncb.Explicit) }, samples{
			"lookups_total{outcome=junk}": 2, "puts_total{outcome=untagged}": 1, "removals_total{reason=explicit,result=kept}": 1,
		}},
		{"expired", options{}, func(s *script) { s.stored(s.sealed(-time.Second)); s.get() }, samples{
			"lookups_total{outcome=expired}": 1, "store_calls_total{kind=get}": 1,
		}},
		{"other context", options{}, func(s *script) { s.put(); s.conn.idContext = "host B"; s.get() }, samples{
			"puts_total{outcome=stored}": 1, "lookups_total{outcome=other context}": 1,
			"store_calls_total{kind=put}": 1, "store_calls_total{kind=get}": 1,
		}},
		{"other key", options{}, func(s *script) {
			s.codec = sessioncb.ProcessKey().Codec()
			s.stored(s.sealed(time.Hour))
			s.get()
		}, samples{"lookups_total{outcome=other key}": 1, "store_calls_total{kind=get}": 1}},
		{"other id", options{}, func(s *script) {
			s.stored(s.sealed(time.Hour))
			s.store.values["other"] = s.store.values["an id"]
			s.s.id = []byte("other")
			s.get()
		}, samples{"lookups_total{outcome=other id}": 1, "store_calls_total{kind=get}": 1}},
		{"other format", options{}, func(s *script) { s.stored([]byte("garbage")); s.get(); s.get() }, samples{
			"lookups_total{outcome=other format}": 2, "store_calls_total{kind=get}": 2,
		}},
		{"damaged", options{}, func(s *script) { s.stored(s.sealed(time.Hour)[:100]); s.get() }, samples{
			"lookups_total{outcome=damaged}": 1, "store_calls_total{kind=get}": 1,
		}},
		{"too large", options{MaxValue: 1 << 10}, func(s *script) {
			s.stored(make([]byte, 1<<10+1))
			s.get()
			s.s.der = make([]byte, 1<<10)
			s.put()
		}, samples{
			"lookups_total{outcome=too large}": 1, "puts_total{outcome=too large}": 1, "store_calls_total{kind=get}": 1,
		}},
		{"timeout", options{}, func(s *script) {
			s.store.hook(hangs)
			s.get()
			s.put()
			synctest.Wait() // the put has left the store
			s.remove(sessioncb.Explicit)
			synctest.Wait()
		}, samples{
			"lookups_total{outcome=timeout}": 1, "puts_total{outcome=timeout}": 1, "removals_total{reason=explicit,result=failed}": 1,
			"store_calls_total{kind=get}": 1, "store_calls_total{kind=put}": 1, "store_calls_total{kind=delete}": 1,
		}},
		{"canceled", options{}, func(s *script) {
			ctx, cancel := context.WithCancel(s.Context())
			cancel()
			s.cache.GetSession(ctx, s.conn, s.s.id)
			s.store.hook(func(context.Context) error { time.Sleep(time.Millisecond); return nil })
			s.cache.NewSession(ctx, s.conn, s.s)
			time.Sleep(time.Second)
		}, samples{
			"lookups_total{outcome=canceled}": 1, "puts_total{outcome=canceled}": 1,
			"store_calls_total{kind=put}": 1, // nobody waits, and it goes on
		}},
		{"busy", options{MaxCalls: 1}, func(s *script) {
			s.store.hook(func(context.Context) error { time.Sleep(time.Hour); return nil })
			s.get()
			s.put()
			s.s.id = []byte("other")
			s.get()
			s.get()
			s.put()
		}, samples{
			"lookups_total{outcome=timeout}": 1, "puts_total{outcome=timeout}": 1,
			"lookups_total{outcome=busy}": 2, "puts_total{outcome=busy}": 1,
			"store_calls_total{kind=get}": 1, "store_calls_total{kind=put}": 1,
			"store_calls_inside{kind=lookup}": 1, "store_calls_inside{kind=write}": 1,
		}},
		{"error and breaker", options{BreakerFailures: 2}, func(s *script) {
			s.store.hook(fails(errBroken))
			for range 5 {
				s.get()
				s.put()
				s.remove(sessioncb.Faulty) // the handshake was not done: kept
			}
			time.Sleep(sessioncb.DefaultBreakerPause + 1)
			s.get()
			time.Sleep(sessioncb.DefaultBreakerPause + 1)
			s.store.hook(nil)
			s.put()
		}, samples{
			"lookups_total{outcome=error}": 3, "lookups_total{outcome=breaker open}": 3,
			"puts_total{outcome=error}": 2, "puts_total{outcome=breaker open}": 3, "puts_total{outcome=stored}": 1,
			"removals_total{reason=faulty,result=kept}": 5,
			"store_calls_total{kind=get}":               3, "store_calls_total{kind=put}": 3,
			"breaker_open{kind=get}": 0.5, "breaker_opened_total{kind=get}": 1, "breaker_failed_probes_total{kind=get}": 1,
			"breaker_opened_total{kind=put}": 1,
		}},
		{"breaker open", options{BreakerFailures: 1}, func(s *script) { s.store.hook(fails(errBroken)); s.get() }, samples{
			"lookups_total{outcome=error}": 1, "store_calls_total{kind=get}": 1,
			"breaker_open{kind=get}": 1, "breaker_opened_total{kind=get}": 1,
		}},
		{"skipped", options{}, func(s *script) {
			s.s.err = sessioncb.ErrRemoved
			s.put()
			s.conn.client = true
			s.put()
		}, samples{"puts_total{outcome=skipped}": 2}},
		{"dropped and overtaken", options{WriteBehind: 1, MaxCalls: 1}, func(s *script) {
			s.store.hook(hangs)
			for i := range 5 {
				s.s.id = fmt.Append(nil, i)
				s.put()
				synctest.Wait()
			}
			s.s.id = []byte("1")
			s.remove(sessioncb.SingleUse)
		}, samples{
			"puts_total{outcome=dropped}": 3, "puts_total{outcome=overtaken}": 1, "queued{kind=put}": 1, "queued{kind=removal}": 1,
			"store_calls_total{kind=put}": 1, "store_calls_inside{kind=write}": 1,
		}},
		{"removals", options{}, func(s *script) {
			s.remove(sessioncb.Explicit)
			s.remove(sessioncb.SingleUse)
			s.remove(sessioncb.SingleUse)
			s.remove(sessioncb.Evicted)
		}, samples{
			"removals_total{reason=explicit,result=deleted}": 1, "removals_total{reason=single use,result=deleted}": 2,
			"removals_total{reason=evicted,result=kept}": 1, "store_calls_total{kind=delete}": 3,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.o.Logger = slog.New(slog.DiscardHandler)
				s := newScript(t, test.o)
				test.run(s)
				got := gather(t, New(s.cache, nil))
				lookups, puts := 0.0, 0.0
				for name, v := range got {
					switch {
					case strings.HasPrefix(name, "lookups_total"):
						lookups += v
					case strings.HasPrefix(name, "puts_total"), name == "queued{kind=put}":
						puts += v
					}
				}
				for name := range test.want {
					named[name] = true
				}
				want := maps.Clone(test.want)
				want["lookup_duration_seconds{}"], want["put_duration_seconds{}"] = lookups, puts
				maps.DeleteFunc(want, func(_ string, v float64) bool { return v == 0 })
				if b, named := test.want["near_bytes{}"]; named && b == 0 && got["near_bytes{}"] > 0 {
					delete(got, "near_bytes{}") // a size, not a count
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("samples (-want +got):\n%s", diff)
				}
				time.Sleep(2 * time.Hour) // what hangs ends
			})
		})
	}
	for _, o := range lookupOutcomes(sessioncb.Stats{}) {
		if !named["lookups_total{outcome="+o.name+"}"] {
			t.Errorf("no row makes a lookup end in %q", o.name)
		}
	}
	for _, o := range putOutcomes(sessioncb.PutStats{}) {
		if !named["puts_total{outcome="+o.name+"}"] {
			t.Errorf("no row makes a put end in %q", o.name)
		}
	}
}

// TestEveryOutcomeHasALabel: no field of Stats is left out.
func TestEveryOutcomeHasALabel(t *testing.T) {
	sum := func(list []outcome) (names []string) {
		for _, o := range list {
			names = append(names, o.name)
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	// Hit and Miss have four and two labels each.
	if got, want := len(sum(lookupOutcomes(sessioncb.Stats{}))), reflect.TypeFor[sessioncb.LookupStats]().NumField()-2+4+2; got != want {
		t.Errorf("%d lookup outcomes, want %d", got, want)
	}
	if got, want := len(sum(putOutcomes(sessioncb.PutStats{}))), reflect.TypeFor[sessioncb.PutStats]().NumField(); got != want {
		t.Errorf("%d put outcomes, want %d", got, want)
	}
}

// TestLint has the registry and Prometheus' own linter look at it, with labels
// of the caller's and two caches at once.
func TestLint(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "b"} {
		s := newScript(t, sessioncb.CacheOptions{})
		s.put()
		s.get()
		s.remove(sessioncb.Explicit)
		if err := r.Register(New(s.cache, prometheus.Labels{"cache": name})); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestHistogram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, sessioncb.CacheOptions{LookupTimeout: time.Minute, MissTTL: -1})
		for _, d := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 2 * time.Second} {
			s.store.hook(func(context.Context) error { time.Sleep(d); return nil })
			s.get()
		}
		want := `
# HELP sessioncb_lookup_duration_seconds Time that lookups took, of all outcomes.
# TYPE sessioncb_lookup_duration_seconds histogram
sessioncb_lookup_duration_seconds_bucket{le="1e-05"} 1
sessioncb_lookup_duration_seconds_bucket{le="5e-05"} 1
sessioncb_lookup_duration_seconds_bucket{le="0.0001"} 1
sessioncb_lookup_duration_seconds_bucket{le="0.00025"} 1
sessioncb_lookup_duration_seconds_bucket{le="0.0005"} 1
sessioncb_lookup_duration_seconds_bucket{le="0.001"} 2
sessioncb_lookup_duration_seconds_bucket{le="0.0025"} 2
sessioncb_lookup_duration_seconds_bucket{le="0.005"} 3
sessioncb_lookup_duration_seconds_bucket{le="0.01"} 3
sessioncb_lookup_duration_seconds_bucket{le="0.025"} 3
sessioncb_lookup_duration_seconds_bucket{le="0.05"} 3
sessioncb_lookup_duration_seconds_bucket{le="0.1"} 3
sessioncb_lookup_duration_seconds_bucket{le="0.25"} 3
sessioncb_lookup_duration_seconds_bucket{le="0.5"} 3
sessioncb_lookup_duration_seconds_bucket{le="1"} 3
sessioncb_lookup_duration_seconds_bucket{le="+Inf"} 4
sessioncb_lookup_duration_seconds_sum 2.004
sessioncb_lookup_duration_seconds_count 4
`
		if err := testutil.CollectAndCompare(New(s.cache, nil), strings.NewReader(want), "sessioncb_lookup_duration_seconds"); err != nil {
			t.Error(err)
		}
	})
}
