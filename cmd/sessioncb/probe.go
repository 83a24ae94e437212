package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// probeOptions are the flags of probe.
type probeOptions struct {
	address    string
	n          int
	versions   []string
	ca         string
	insecure   bool
	serverName string
	timeout    time.Duration
	ticketWait time.Duration
	require    bool

	wanted []uint16 // of versions
}

func newProbe() *cobra.Command {
	var o probeOptions
	cmd := &cobra.Command{
		Use:   "probe HOST:PORT",
		Short: "See whether a server resumes sessions",
		Long: `See whether a server resumes sessions: for TLS 1.2 and for TLS 1.3 a full
handshake, then resumptions, each on a connection of its own with the newest
session that the server gave. No application data is sent.

A version that the server does not speak is no failure, unless it speaks none.
A resumption that did not happen is one with --require-resumption.

` + exitCodes,
		Example: `  sessioncb probe localhost:8443 --insecure
  sessioncb probe www.example.com:443 -n 5 --require-resumption`,
		Args: cobra.ExactArgs(1),
		RunE: operation(func(args []string) error { return o.check(args[0]) }, func(cmd *cobra.Command) error {
			return o.probe(cmd.Context(), cmd.OutOrStdout())
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVarP(&o.n, "resumptions", "n", 3, "`number` of resumptions for each version")
	f.StringSliceVar(&o.versions, "tls", []string{"1.2", "1.3"}, "TLS `versions`")
	f.StringVar(&o.ca, "ca", "", "`FILE` with the CA certificates in PEM (default: the system's)")
	f.BoolVar(&o.insecure, "insecure", false, "do not verify the server's certificate")
	f.StringVar(&o.serverName, "server-name", "", "`NAME` to ask for and to verify (default: HOST)")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long one connection and its handshake may take")
	f.DurationVar(&o.ticketWait, "ticket-wait", 2*time.Second, "how long to wait for a TLS 1.3 server's ticket")
	f.BoolVar(&o.require, "require-resumption", false, "exit with 1 if a resumption did not happen")
	cmd.MarkFlagsMutuallyExclusive("ca", "insecure")
	return cmd
}

func (o *probeOptions) check(address string) error {
	o.address = address
	if _, _, err := net.SplitHostPort(address); err != nil {
		return err
	}
	for _, v := range o.versions {
		switch strings.TrimSpace(v) {
		case "1.2":
			o.wanted = append(o.wanted, tls.VersionTLS12)
		case "1.3":
			o.wanted = append(o.wanted, tls.VersionTLS13)
		default:
			return fmt.Errorf("--tls: no such version: %q (1.2, 1.3)", v)
		}
	}
	switch {
	case len(o.wanted) == 0:
		return errors.New("--tls: no version")
	case o.n < 0:
		return fmt.Errorf("-n %d is negative", o.n)
	case o.timeout <= 0:
		return fmt.Errorf("--timeout %v is not above zero", o.timeout)
	case o.ticketWait <= 0:
		return fmt.Errorf("--ticket-wait %v is not above zero", o.ticketWait)
	}
	return nil
}

// probe prints a line for each handshake, then fails if one did not go as it
// should.
func (o *probeOptions) probe(ctx context.Context, stdout io.Writer) error {
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tHANDSHAKE\tSUITE\tRESUMED\tTIME")
	var failures []error
	spoken := 0
	for _, v := range o.wanted {
		newest := &newestSession{}
		client, err := o.newClient(v, newest)
		if err != nil {
			return err // and so for every version
		}
		missed, err := o.version(ctx, table, client, newest)
		client.Close()
		newest.close()
		switch {
		case isNotSpoken(err):
			fmt.Fprintf(table, "%s\tnot spoken by the server\t-\t-\t-\n", tls.VersionName(v))
		case isUnreachable(err) && spoken == 0:
			return err // and so for every version
		case err != nil:
			fmt.Fprintf(table, "%s\tfailed\t-\t-\t-\n", tls.VersionName(v))
			failures = append(failures, fmt.Errorf("%s: %w", tls.VersionName(v), err))
		default:
			spoken++
			if o.require && missed > 0 {
				failures = append(failures, fmt.Errorf("%s: %d of %d resumptions did not happen", tls.VersionName(v), missed, o.n))
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if spoken == 0 && len(failures) == 0 {
		return errors.New("the server speaks none of these versions")
	}
	return errors.Join(failures...)
}

// newClient makes a Context for one version, whose sessions newest keeps.
func (o *probeOptions) newClient(version uint16, newest *newestSession) (*ssl.Context, error) {
	cfg := ssl.Config{
		CAFile: o.ca, SystemCAs: o.ca == "" && !o.insecure,
		MinVersion: version, MaxVersion: version,
		SessionCallbacks: sessioncb.Callbacks{New: newest},
		SessionCacheMode: ssl.CacheExternal,
	}
	if o.insecure {
		cfg.Verify = ssl.VerifyNone
	}
	return ssl.NewContext(cfg)
}

// version makes the handshakes of one version, and counts those that should
// have been resumptions and were not.
func (o *probeOptions) version(ctx context.Context, table io.Writer, client *ssl.Context, newest *newestSession) (missed int, err error) {
	for i := range o.n + 1 {
		h, err := o.handshake(ctx, client, newest)
		if err != nil {
			return missed, err
		}
		name := fmt.Sprintf("resumption %d", i)
		switch {
		case i == 0:
			name, h.resumed = "full", "-"
		case !h.state.DidResume:
			missed++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f ms\n", tls.VersionName(h.state.Version), name,
			tls.CipherSuiteName(h.state.CipherSuite), h.resumed, float64(h.took.Microseconds())/1000)
	}
	return missed, nil
}

// handshake is what one connection came to.
type handshake struct {
	state   tls.ConnectionState
	resumed string
	took    time.Duration
}

// handshake connects with the newest session, if there is one, and stays
// until there is a newer one or none is to be expected.
func (o *probeOptions) handshake(ctx context.Context, client *ssl.Context, newest *newestSession) (h handshake, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", o.address)
	if err != nil {
		return h, err
	}
	name := o.serverName
	if name == "" {
		name, _, _ = net.SplitHostPort(o.address)
	}
	offer := newest.take()
	if offer != nil {
		defer offer.Close()
	}
	c, err := ssl.Client(nc, client, &ssl.ClientOptions{ServerName: name, Session: offer})
	if err != nil {
		nc.Close()
		return h, err
	}
	defer c.Close()
	began := time.Now()
	if err := c.HandshakeContext(ctx); err != nil {
		return h, err
	}
	h.took = time.Since(began)
	h.state = c.ConnectionState()
	h.resumed = "no"
	switch {
	case h.state.DidResume && offer.HasTicket():
		h.resumed = "ticket"
	case h.state.DidResume:
		h.resumed = "session id"
	case offer == nil:
		h.resumed = "no: the server gave no session"
	}
	if h.state.Version == tls.VersionTLS13 {
		newest.await(ctx, c, o.ticketWait)
	}
	// A server may give nothing new with a resumption: the session stays good.
	if h.state.DidResume {
		newest.putBack(offer)
	}
	return h, nil
}

// isUnreachable says whether there was no connection at all.
func isUnreachable(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial"
}

// isNotSpoken says whether the server refused the version.
func isNotSpoken(err error) bool {
	var e *ssl.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, q := range e.Queue {
		switch q.Code & 0x7fffff { // ERR_GET_REASON
		case reasonProtocolVersion, reasonUnsupportedProtocol:
			return q.Library == "SSL routines"
		}
	}
	return false
}

// Reasons of OpenSSL's error queue (openssl/sslerr.h).
const (
	reasonUnsupportedProtocol = 258  // SSL_R_UNSUPPORTED_PROTOCOL
	reasonProtocolVersion     = 1070 // SSL_R_TLSV1_ALERT_PROTOCOL_VERSION
)

// newestSession is the NewHandler that keeps the session which came last.
type newestSession struct {
	mu    sync.Mutex
	s     *ssl.Session
	heard chan struct{} // closed with the next session
}

// NewSession keeps s if a server could resume it.
func (n *newestSession) NewSession(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	session := s.(*ssl.Session)
	if !session.Resumable() || len(session.ID()) == 0 && !session.HasTicket() {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.s != nil {
		n.s.Close()
	}
	n.s = session
	if n.heard != nil {
		close(n.heard)
		n.heard = nil
	}
	return true
}

// take gives the session away, or nil.
func (n *newestSession) take() *ssl.Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.s
	n.s = nil
	return s
}

// putBack keeps a copy of s if nothing newer came.
func (n *newestSession) putBack(s *ssl.Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.s == nil {
		if d, err := s.Dup(); err == nil {
			n.s = d
		}
	}
}

func (n *newestSession) close() {
	if s := n.take(); s != nil {
		s.Close()
	}
}

// await reads, for tickets come with reads, until there is a session or none
// came in time. What a server sends unasked is dropped.
func (n *newestSession) await(ctx context.Context, c *ssl.Conn, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n.mu.Lock()
	if n.s != nil {
		n.mu.Unlock()
		return
	}
	heard := make(chan struct{})
	n.heard = heard
	n.mu.Unlock()
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(io.Discard, c) // ends with the deadline below, or with the connection
	}()
	select {
	case <-heard:
	case <-ctx.Done():
	case <-read:
	}
	c.SetReadDeadline(time.Unix(1, 0))
	<-read
	n.mu.Lock()
	n.heard = nil
	n.mu.Unlock()
}
