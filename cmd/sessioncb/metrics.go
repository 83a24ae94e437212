package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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

// serveMetrics serves /metrics on a listener of their own, if
// --metrics says so, until stop is called.
func (o *serveOptions) serveMetrics(conns *conns, log *slog.Logger) (stop func(), err error) {
	if o.metricsAddr == "" {
		return func() {}, nil
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		conns.count.done, conns.count.failed,
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
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
