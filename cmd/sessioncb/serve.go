package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve HTTPS with the sessions kept in a store",
		Long: `Serve HTTPS with the sessions kept in a store: by session id in TLS 1.2, by
stateful ticket in TLS 1.3. In a bolt file they outlive the process; the others
but memory and live are shared by a fleet, whose servers resume each other's sessions:

` + storeHelp + `

The first line on stdout is 'listening on ADDRESS'. Each handshake is logged on
stderr, with whether and how it was a resumption; GET / answers the same.

SIGINT and SIGTERM stop it: it accepts no more, finishes the requests that run
for as long as --grace says, closes the store and exits 0. A second signal ends
it at once.

` + exitCodes,
		Example: `  sessioncb serve
  sessioncb serve --addr :8443 --cert chain.pem --key key.pem --store bolt:sessions.bolt
  sessioncb serve --store redis-cluster://10.0.0.1:7000,10.0.0.2:7000 --key-file fleet.keys --metrics 9100`,
		Args: cobra.NoArgs,
		RunE: operation(func([]string) error { return o.check() }, func(cmd *cobra.Command) error {
			return o.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		}),
	}
	o.flags(cmd.Flags())
	return cmd
}

// serve runs until ctx ends or a signal comes.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second signal kills

	log := slog.New(slog.NewTextHandler(stderr, nil))
	slog.SetDefault(log) // where packages write that have no Logger
	cache, closeCache, err := o.openCache(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeCache()) }()

	conns := newConns(cache, log)
	conns.earlyData = o.earlyData > 0
	contexts, err := o.newContexts(conns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, contexts.release()) }()

	inner, err := ssl.Listen("tcp", o.addr, contexts.standard)
	if err != nil {
		return err
	}
	stopMetrics, err := o.serveMetrics(conns, contexts, log)
	if err != nil {
		inner.Close()
		return err
	}
	defer stopMetrics()
	if _, err := fmt.Fprintf(stdout, "listening on %s\n", inner.Addr()); err != nil {
		inner.Close()
		return err
	}
	o.logStart(log)

	server := newServer(o.spec, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener{inner, conns}) }()
	select {
	case err = <-served:
		server.Close()
	case <-ctx.Done():
		o.shutDown(server, conns, log)
		<-served
	}
	var s ssl.Stats
	for _, c := range contexts.all {
		one := c.Stats()
		s.AcceptGood += one.AcceptGood
		s.Hits += one.Hits
	}
	log.Info("stopped", "handshakes", s.AcceptGood, "resumed", s.Hits)
	return err
}

// logStart says what is served, as far as it is not the default.
func (o *serveOptions) logStart(log *slog.Logger) {
	cert := o.cert
	if cert == "" {
		cert = "self-signed, made for this run: clients must be told not to verify it"
	}
	attrs := []any{"store", o.spec.String(), "session_lifetime", o.timeout, "certificate", cert}
	for _, h := range o.virtualHosts {
		attrs = append(attrs, "host", h.name)
	}
	log.Info("serving", attrs...)
}

// newContext makes the one that accepts. Its handlers are the Cache's, with the
// lookups noted.
func (o *serveOptions) newContext(conns *conns, cert ssl.Certificate, choose func(*tls.ClientHelloInfo) (*ssl.Context, error)) (*ssl.Context, error) {
	cfg := o.config(conns.cache, o.name, cert)
	cfg.GetConfigForClient = choose
	c, err := ssl.NewContext(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.SetSessionCallbacks(conns.callbacks()); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// config is what they have in common.
func (o *serveOptions) config(cache *sessioncb.Cache, name string, cert ssl.Certificate) ssl.Config {
	cfg := ssl.Config{
		Name:             name,
		Certificates:     []ssl.Certificate{cert},
		NextProtos:       []string{"http/1.1"},
		SessionCache:     cache,
		MaxEarlyData:     o.earlyData,
		SessionTimeout:   o.timeout,
		MaxResumptionAge: o.maxAge,
		SessionIDContext: o.id,
		TrustEpoch:       o.epoch,
		// After those of the Cache, which counts what was late.
		LookupTimeout: lookupTimeout + time.Second,
		StoreTimeout:  storeTimeout + time.Second,
	}
	if o.clientCA != "" {
		cfg.CAFile, cfg.Verify = o.clientCA, ssl.VerifyRequired
		if o.clientAuth == "request" {
			cfg.Verify = ssl.VerifyPeer
		}
	}
	return cfg
}

// shutDown lets running requests finish, within the grace.
func (o *serveOptions) shutDown(server *http.Server, conns *conns, log *slog.Logger) {
	log.Info("stopping", "grace", o.grace)
	ctx, cancel := context.WithTimeout(context.Background(), o.grace)
	defer cancel()
	conns.stop()
	if err := server.Shutdown(ctx); err != nil {
		log.Warn("requests were cut off", "error", err)
		server.Close()
	}
}

// releaseTimeout is how long connections may take to end after they were closed.
const releaseTimeout = 10 * time.Second

// release closes the contexts and waits until nothing uses the store any more.
func (cs *contexts) release() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	for _, c := range cs.all {
		c.Close()
	}
	for _, c := range cs.all {
		if waitErr := c.Wait(ctx); waitErr != nil {
			err = fmt.Errorf("connections did not end: %w", waitErr)
		}
	}
	return err
}
