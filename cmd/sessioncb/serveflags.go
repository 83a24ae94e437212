package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	addr, cert, key string
	hosts           []string

	store, keyFile    string
	near, writeBehind int64
	singleUse, tagIDs bool
	earlyData         uint32

	clientCA, clientAuth string
	name, idContext      string
	epoch                uint64
	timeout, maxAge      time.Duration
	grace                time.Duration
	metrics              string

	spec         storeSpec     // of store
	virtualHosts []virtualHost // of hosts
	id           []byte        // of idContext
	metricsAddr  string        // of metrics, with a host
}

// flags names them all; each help is one line.
func (o *serveOptions) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.addr, "addr", "localhost:8443", "listen on `HOST:PORT`; port 0 takes a free one")
	f.StringVar(&o.cert, "cert", "", "`FILE` with the certificate chain in PEM; without it a self-signed one is made at start")
	f.StringVar(&o.key, "key", "", "`FILE` with the private key in PEM (default: in the file of --cert)")
	f.StringArrayVar(&o.hosts, "host", nil, "a virtual host, `NAME[=CERT[,KEY]]`, with a certificate of its own; may be given several times")
	f.StringVar(&o.store, "store", "memory", "keep sessions in `STORE`: memory, live, bolt:PATH, a URL or env:NAME, see above")
	f.StringVar(&o.keyFile, "key-file", "", "`FILE` with the keys that seal the sessions, made if there is none, and followed when it changes (bolt: default PATH.keys)")
	f.Int64Var(&o.near, "near", 0, "keep `BYTES` of sessions in memory in front of the store")
	f.Int64Var(&o.writeBehind, "write-behind", 0, "let up to `N` new sessions wait to be stored, in place of the handshake")
	f.BoolVar(&o.singleUse, "single-use", false, "let no TLS 1.3 session be resumed twice in the whole fleet")
	f.BoolVar(&o.tagIDs, "tag-ids", false, "mark session ids with a key, so that made-up ones cost no call to the store")
	f.Uint32Var(&o.earlyData, "early-data", 0, "accept up to `BYTES` of TLS 1.3 early data; implies --single-use")
	f.StringVar(&o.clientCA, "client-ca", "", "`FILE` with the CA certificates in PEM that clients' certificates are verified against")
	f.StringVar(&o.clientAuth, "client-auth", "", "`request or require` a client's certificate (default with --client-ca: require)")
	f.StringVar(&o.name, "name", "", "`NAME` of this virtual host: sessions of one name are not resumed under another")
	f.Uint64Var(&o.epoch, "epoch", 0, "a `number`: sessions of one epoch are not resumed in another")
	f.StringVar(&o.idContext, "id-context", "", "session id context, `text or hex:DIGITS`, at most 32 bytes (default: derived from the configuration)")
	f.DurationVar(&o.timeout, "timeout", 2*time.Hour, "how long a session may be resumed, in whole seconds")
	f.DurationVar(&o.maxAge, "max-age", 0, "how long a client may go on resuming after a full handshake (default 24h, or --timeout if that is longer)")
	f.DurationVar(&o.grace, "grace", 5*time.Second, "how long running requests may take after a signal")
	f.StringVar(&o.metrics, "metrics", "", "serve Prometheus metrics on plain HTTP at `[HOST:]PORT` (default host: 127.0.0.1)")
}

// maxEarlyData is the most that ssl.Config.MaxEarlyData takes.
const maxEarlyData = 1 << 20

// check finds what is wrong before anything is opened.
func (o *serveOptions) check() (err error) {
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	if o.spec, err = parseStore(o.store); err != nil {
		return fmt.Errorf("--store %w", err)
	}
	if o.id, err = parseIDContext(o.idContext); err != nil {
		return err
	}
	if o.metricsAddr, err = parseMetrics(o.metrics); err != nil {
		return err
	}
	if o.virtualHosts, err = parseHosts(o.hosts); err != nil {
		return err
	}
	switch {
	case o.key != "" && o.cert == "":
		return errors.New("--key without --cert")
	case o.timeout < time.Second || o.timeout%time.Second != 0:
		return fmt.Errorf("--timeout %v is not a number of whole seconds above zero", o.timeout)
	case o.maxAge < 0 || o.maxAge%time.Second != 0:
		return fmt.Errorf("--max-age %v is not a number of whole seconds above zero", o.maxAge)
	case o.maxAge > 0 && o.maxAge < o.timeout:
		return fmt.Errorf("--max-age %v is shorter than --timeout %v", o.maxAge, o.timeout)
	case o.earlyData > maxEarlyData:
		return fmt.Errorf("--early-data %d is more than %d: each connection may keep as much", o.earlyData, maxEarlyData)
	case o.grace < 0:
		return fmt.Errorf("--grace %v is negative", o.grace)
	case o.metrics != "" && o.metricsAddr == o.addr && !strings.HasSuffix(o.addr, ":0"):
		return fmt.Errorf("--metrics and --addr are both %s", o.addr)
	}
	if o.maxAge == 0 {
		o.maxAge = max(24*time.Hour, o.timeout)
	}
	for _, check := range []func() error{o.checkStore, o.checkTrust} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkStore finds what does not fit the kind of store.
func (o *serveOptions) checkStore() error {
	memory := o.spec.inProcess()
	switch {
	case o.keyFile != "" && memory:
		return fmt.Errorf("--key-file with --store %v: what ends with the process needs no keys that outlive it", o.spec)
	case o.keyFile == "" && o.spec.shared():
		return fmt.Errorf("--store %v without --key-file: the servers that share it need the same keys", o.spec)
	case o.near != 0 && o.near < minNear:
		return fmt.Errorf("--near %d is less than %d: no session fits", o.near, minNear)
	case o.near > 0 && memory:
		return fmt.Errorf("--near with --store %v: it is in memory already", o.spec)
	case o.writeBehind < 0:
		return fmt.Errorf("--write-behind %d is negative", o.writeBehind)
	case o.writeBehind > maxWriteBehind:
		return fmt.Errorf("--write-behind %d is more than %d", o.writeBehind, maxWriteBehind)
	case o.writeBehind > 0 && memory:
		return fmt.Errorf("--write-behind with --store %v: there is nothing to wait for", o.spec)
	case o.spec.waitReplicas > 0 && !o.singleUse && o.earlyData == 0:
		return errors.New("--store with wait-replicas, without --single-use: only sessions that are taken out wait")
	}
	if o.spec.kind == "bolt" && o.keyFile == "" {
		o.keyFile = o.spec.path + ".keys"
	}
	return nil
}

// minNear is the least that sessioncb.CacheOptions.NearBytes takes.
const minNear = 4 << 10

// maxWriteBehind keeps a store that hangs from taking all memory.
const maxWriteBehind = 1 << 20

// checkTrust finds what does not fit whom the server trusts.
func (o *serveOptions) checkTrust() error {
	switch o.clientAuth {
	case "":
		o.clientAuth = "require"
	case "request", "require":
		if o.clientCA == "" {
			return errors.New("--client-auth without --client-ca")
		}
	default:
		return fmt.Errorf("--client-auth %q is neither request nor require", o.clientAuth)
	}
	switch {
	case len(o.id) > 0 && o.name != "":
		return errors.New("--id-context with --name: the name is a part of the derived context only")
	case len(o.id) > 0 && o.epoch != 0:
		return errors.New("--id-context with --epoch: the epoch is a part of the derived context only")
	case len(o.id) > 0 && len(o.virtualHosts) > 0:
		return errors.New("--id-context with --host: sessions of one host would be resumed under another")
	}
	for _, h := range o.virtualHosts {
		if h.name == o.name {
			return fmt.Errorf("--host %s with the same --name: the default host would resume its sessions", h.name)
		}
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

// parseMetrics completes [HOST:]PORT: whoever wants the metrics on all
// addresses says so.
func parseMetrics(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil && !strings.Contains(s, ":") {
		host, port = "", s
	} else if err != nil {
		return "", fmt.Errorf("--metrics: %w", err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("--metrics %s: the port is not 0 to 65535", s)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
