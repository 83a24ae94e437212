package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sessioncb/openssl/ssl"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	addr, cert, key, store, keyFile, name, idContext string
	timeout, grace                                   time.Duration

	spec storeSpec // of store
	id   []byte    // of idContext
}

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve HTTPS with the sessions kept in a store",
		Long: `Serve HTTPS with the sessions kept in a store: by session id in TLS 1.2, by
stateful ticket in TLS 1.3. With a bolt file they outlive the process.

The first line on stdout is 'listening on ADDRESS'. Each handshake is logged on
stderr, with whether and how it was a resumption; GET / answers the same.

SIGINT and SIGTERM stop it: it accepts no more, finishes the requests that run
for as long as --grace says, closes the store and exits 0. A second signal ends
it at once.

` + exitCodes,
		Example: `  sessioncb serve
  sessioncb serve --addr :8443 --cert chain.pem --key key.pem --store bolt:sessions.bolt`,
		Args: cobra.NoArgs,
		RunE: operation(func([]string) error { return o.check() }, func(cmd *cobra.Command) error {
			return o.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.addr, "addr", "localhost:8443", "listen on `HOST:PORT`; port 0 takes a free one")
	f.StringVar(&o.cert, "cert", "", "`FILE` with the certificate chain in PEM; without it a self-signed one is made at start")
	f.StringVar(&o.key, "key", "", "`FILE` with the private key in PEM (default: in the file of --cert)")
	f.StringVar(&o.store, "store", "memory", "keep sessions in `memory or bolt:PATH`")
	f.StringVar(&o.keyFile, "key-file", "", "`FILE` with the keys that seal the sessions of a bolt store, made if there is none (default PATH.keys)")
	f.StringVar(&o.name, "name", "", "`NAME` of this virtual host: sessions of one name are not resumed under another")
	f.StringVar(&o.idContext, "id-context", "", "session id context, `text or hex:DIGITS`, at most 32 bytes (default: derived from the configuration)")
	f.DurationVar(&o.timeout, "timeout", 2*time.Hour, "how long a session may be resumed, in whole seconds")
	f.DurationVar(&o.grace, "grace", 5*time.Second, "how long running requests may take after a signal")
	return cmd
}

// check finds what is wrong before anything is opened.
func (o *serveOptions) check() (err error) {
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	if o.spec, err = parseStore(o.store); err != nil {
		return err
	}
	if o.id, err = parseIDContext(o.idContext); err != nil {
		return err
	}
	switch {
	case o.key != "" && o.cert == "":
		return errors.New("--key without --cert")
	case o.keyFile != "" && o.spec.path == "":
		return errors.New("--key-file is for a bolt store: what is in memory is sealed with a key of the process")
	case o.timeout < time.Second || o.timeout%time.Second != 0:
		return fmt.Errorf("--timeout %v is not a number of whole seconds above zero", o.timeout)
	case o.grace < 0:
		return fmt.Errorf("--grace %v is negative", o.grace)
	}
	if o.keyFile == "" {
		o.keyFile = o.spec.keyFile()
	}
	return nil
}

func parseIDContext(s string) ([]byte, error) {
	id := []byte(s)
	if digits, ok := strings.CutPrefix(s, "hex:"); ok {
		var err error
		if id, err = hex.DecodeString(digits); err != nil || len(id) == 0 {
			return nil, fmt.Errorf("--id-context %q: what follows hex: must be pairs of hexadecimal digits", s)
		}
	}
	if len(id) > 32 {
		return nil, fmt.Errorf("--id-context has %d bytes, 32 are the most", len(id))
	}
	return id, nil
}

// serve runs until ctx ends or a signal comes.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second signal kills

	log := slog.New(slog.NewTextHandler(stderr, nil))
	cache, closeStore, err := o.spec.open(o.keyFile, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()

	conns := newConns(cache, log)
	tlsContext, err := o.newContext(conns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release(tlsContext)) }()

	inner, err := ssl.Listen("tcp", o.addr, tlsContext)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "listening on %s\n", inner.Addr()); err != nil {
		inner.Close()
		return err
	}
	log.Info("serving", "store", o.spec.String(), "session_lifetime", o.timeout, "certificate", o.certificate())

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
	s := tlsContext.Stats()
	log.Info("stopped", "handshakes", s.AcceptGood, "resumed", s.Hits)
	return err
}

// newContext implies what Config.SessionCache would: the handlers are not the
// Cache alone, because the lookups are noted.
func (o *serveOptions) newContext(conns *conns) (*ssl.Context, error) {
	certificate := ssl.Certificate{ChainFile: o.cert, KeyFile: o.key}
	if o.cert == "" {
		host, _, _ := net.SplitHostPort(o.addr)
		var err error
		if certificate, err = selfSigned(host); err != nil {
			return nil, err
		}
	}
	return ssl.NewContext(ssl.Config{
		Name:             o.name,
		Certificates:     []ssl.Certificate{certificate},
		NextProtos:       []string{"http/1.1"},
		SessionCallbacks: conns.callbacks(),
		SessionCacheMode: ssl.CacheExternal,
		Tickets:          ssl.TicketsStateful,
		NumTickets:       1,
		SessionTimeout:   o.timeout,
		SessionIDContext: o.id,
		// After those of the Cache, which counts what was late.
		LookupTimeout: lookupTimeout + time.Second,
		StoreTimeout:  storeTimeout + time.Second,
	})
}

func (o *serveOptions) certificate() string {
	if o.cert == "" {
		return "self-signed, made for this run: clients must be told not to verify it"
	}
	return o.cert
}

// connKey is where a request's context has its *conn.
type connKey struct{}

func newServer(spec storeSpec, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { answer(w, r, spec) })
	return &http.Server{
		Handler:           mux,
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
	report := &r.Context().Value(connKey{}).(*conn).report
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	kind, _, _ := strings.Cut(spec.String(), ":")
	for _, line := range [][2]string{
		{"version", tls.VersionName(report.state.Version)},
		{"suite", tls.CipherSuiteName(report.state.CipherSuite)},
		{"server name", printable(report.state.ServerName)},
		{"resumed", report.resumed},
		{"offered", report.offered},
		{"session", report.session},
		{"store", kind},
	} {
		if line[1] == "" {
			line[1] = "-"
		}
		fmt.Fprintf(w, "%s: %s\n", line[0], line[1])
	}
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

// release closes the Context and waits until nothing uses the store any more.
func release(c *ssl.Context) error {
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		return fmt.Errorf("connections did not end: %w", err)
	}
	return nil
}
