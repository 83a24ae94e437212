package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// connKey is where a request's context has its *conn.
type connKey struct{}

func connOf(r *http.Request) *conn { return r.Context().Value(connKey{}).(*conn) }

func newServer(spec storeSpec, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { answer(w, r, spec) })
	return &http.Server{
		Handler:           notTooEarly(mux),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateActive {
				c.(*conn).markActive()
			}
		},
	}
}

// answer says what the log says, one "name: value" a line. What the client
// chose is quoted if it is not plain.
func answer(w http.ResponseWriter, r *http.Request, spec storeSpec) {
	report := connOf(r).reported()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, line := range [][2]string{
		{"version", tls.VersionName(report.state.Version)},
		{"suite", tls.CipherSuiteName(report.state.CipherSuite)},
		{"server name", printable(report.state.ServerName)},
		{"host", report.host},
		{"client", printable(report.client)},
		{"resumed", report.resumed},
		{"early data", report.early},
		{"offered", report.offered},
		{"session", report.session},
		{"store", spec.kind},
	} {
		if line[1] == "" {
			line[1] = "-"
		}
		fmt.Fprintf(w, "%s: %s\n", line[0], line[1])
	}
}
