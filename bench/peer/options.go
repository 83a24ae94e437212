package peer

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options are the command line that all servers of the benchmark have.
type Options struct {
	Work        string // handshake, echo, source or sink
	Version     uint16 // tls.VersionTLS12 or tls.VersionTLS13, the only one
	CertFile    string // PEM, leaf first
	KeyFile     string // PEM
	ClientCA    string // PEM; not empty: a client certificate is required
	Store       string // where sessions are kept; "none": nowhere
	MaxSessions int    // bound of the store
	LookupDelay time.Duration

	maxProcs          int
	cpuProfile, trace string
}

// ErrNotHad is what Program.New wraps for a combination of options that its
// library has not; the program exits with 2, as for a wrong command line.
var ErrNotHad = errors.New("this peer does not have that")

// versions are the values of -version.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// parse reads args. stores are the values of -store that the peer has, and
// more, unless nil, adds flags of its own.
func parse(fs *flag.FlagSet, args []string, stores []string, more func(*flag.FlagSet)) (*Options, error) {
	o := &Options{}
	var version string
	fs.StringVar(&o.Work, "work", "handshake", "what a connection does: "+strings.Join(workNames(), ", "))
	fs.StringVar(&version, "version", "1.3", "the TLS version, 1.2 or 1.3")
	fs.StringVar(&o.CertFile, "cert", "", "`file` of the certificate chain, PEM")
	fs.StringVar(&o.KeyFile, "key", "", "`file` of the private key, PEM")
	fs.StringVar(&o.ClientCA, "client-ca", "", "`file` of the CA of client certificates, PEM; they are required then")
	fs.StringVar(&o.Store, "store", "none", "where sessions are kept: "+strings.Join(stores, ", "))
	fs.IntVar(&o.MaxSessions, "max-sessions", 100_000, "how many sessions the store keeps")
	fs.DurationVar(&o.LookupDelay, "lookup-delay", 0, "how long a lookup in the external store takes")
	fs.IntVar(&o.maxProcs, "gomaxprocs", 0, "GOMAXPROCS; 0 is the runtime's choice")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "`file` for a CPU profile of the whole run")
	fs.StringVar(&o.trace, "trace", "", "`file` for an execution trace of the whole run")
	if more != nil {
		more(fs)
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	o.Version = versions[version]
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case works[o.Work] == nil:
		return nil, fmt.Errorf("-work %q: it is one of %s", o.Work, strings.Join(workNames(), ", "))
	case o.Version == 0:
		return nil, fmt.Errorf("-version %q: it is 1.2 or 1.3", version)
	case o.CertFile == "" || o.KeyFile == "":
		return nil, errors.New("-cert and -key are needed")
	case !slices.Contains(stores, o.Store):
		return nil, fmt.Errorf("-store %s: %w; it has %s", o.Store, ErrNotHad, strings.Join(stores, ", "))
	case o.MaxSessions < 1:
		return nil, fmt.Errorf("-max-sessions %d: it is 1 or more", o.MaxSessions)
	case o.LookupDelay < 0:
		return nil, fmt.Errorf("-lookup-delay %v is negative", o.LookupDelay)
	case o.maxProcs < 0:
		return nil, fmt.Errorf("-gomaxprocs %d is negative", o.maxProcs)
	}
	return o, nil
}
