package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sessioncb/openssl/sessioncb/collector"
)

// handshakeCounters count what the log has a line for.
type handshakeCounters struct {
	done   *prometheus.CounterVec
	failed prometheus.Counter
}

func newHandshakeCounters() *handshakeCounters {
	return &handshakeCounters{
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sessioncb_serve_handshakes_total",
			Help: "Handshakes by version and by the way of resumption; no is a full handshake.",
		}, []string{"version", "resumed"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sessioncb_serve_handshakes_failed_total",
			Help: "Handshakes that failed, those of clients that went away included.",
		}),
	}
}

// serveMetrics serves /metrics and /explain on a listener of their own, if
// --metrics says so, until stop is called.
func (o *serveOptions) serveMetrics(conns *conns, contexts *contexts, log *slog.Logger) (stop func(), err error) {
	if o.metricsAddr == "" {
		return func() {}, nil
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		conns.count.done, conns.count.failed,
		collector.New(conns.cache, prometheus.Labels{"store": o.spec.kind}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, contexts.standard.Explain())
		for _, c := range contexts.all {
			if c != contexts.standard {
				fmt.Fprintf(w, "host %s: the same handlers, under the session id context %x\n", c.Name(), c.SessionIDContext())
			}
		}
	})
	l, err := net.Listen("tcp", o.metricsAddr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	log.Info("serving metrics", "url", "http://"+l.Addr().String()+"/metrics")
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go server.Serve(l)
	return func() { server.Close() }, nil
}
