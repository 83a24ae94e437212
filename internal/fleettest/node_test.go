package fleettest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memcachestore"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
	"github.com/sessioncb/openssl/ssl"
)

// A nodeSetup says how a node is made: the store that it shares, its Cache, and
// the Contexts that use it. All but store crosses to another process.
type nodeSetup struct {
	store     sessioncb.Store // in this process; nil: one of the two below
	Redis     string          // address
	Memcached string
	Prefix    string   // of its keys
	Keys      [][]byte // of its ring
	Plaintext bool     // no ring: InsecurePlaintext

	Near               int64 // bytes
	SingleUse, TagIDs  bool
	ClaimsNot          bool // Claim is a Get: what a store must not do
	MissTTL            time.Duration
	RemoveFaultsAlways bool // what RemoveOn is there to prevent

	// Each host has a Context, and a listener of its own; with Virtual all
	// are behind the first listener, chosen by their Name.
	Hosts   []host
	Virtual bool
}

// A host is what a Context is made of, beside the Cache.
type host struct {
	Name      string
	Cert      string // files without their ends; "": server
	CA        string // file; "": trusts nobody
	Verify    ssl.VerifyMode
	Epoch     uint64
	IDContext string
	Protos    []string
	Groups    string
	EarlyData uint32
	Timeout   time.Duration
	MaxAge    time.Duration
}

// noClaim gives every claimant the same session.
type noClaim struct{ sessioncb.Store }

func (s noClaim) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	return s.Get(ctx, key)
}

// A report is what a server saw of one connection.
type report struct {
	Host       string
	Err        string // of the handshake
	Version    uint16
	Resumed    bool
	ServerName string
	ALPN       string
	Peer       [][]byte // DER, leaf first
	Chains     int      // of VerifiedChains
	OCSP       []byte
	Session    []byte // its DER
	ID         []byte // of the session
	Timeout    time.Duration
	Accepted   bool     // early data
	Early      []byte   // what of it was read
	Handlers   []string // errors of them
}

// A node is a server of the fleet: a Cache in front of the shared store, and
// listeners. Each connection gets a byte and must send one.
type node struct {
	cache     *sessioncb.Cache
	contexts  []*ssl.Context
	listeners []net.Listener
	release   []func()

	mu      sync.Mutex
	reports []report
	more    chan struct{}
	running sync.WaitGroup
}

// startNode makes a node in this process.
func startNode(s nodeSetup) (_ *node, err error) {
	n := &node{more: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	store, err := n.open(s)
	if err != nil {
		return nil, err
	}
	if s.ClaimsNot {
		store = noClaim{store}
	}
	o := sessioncb.CacheOptions{
		NearBytes: s.Near, SingleUse: s.SingleUse, TagIDs: s.TagIDs, MissTTL: s.MissTTL,
		LookupTimeout: patience, PutTimeout: patience, // a busy machine is no miss
		Logger: slog.New(slog.DiscardHandler),
	}
	if s.Plaintext {
		o.Codec = sessioncb.InsecurePlaintext()
	} else if o.Keys, err = sessioncb.NewKeyRing(s.Keys...); err != nil {
		return nil, err
	}
	if s.RemoveFaultsAlways {
		o.RemoveOn = sessioncb.DefaultRemovals().With(sessioncb.Faulty)
	}
	if n.cache, err = sessioncb.NewCache(store, o); err != nil {
		return nil, err
	}
	for _, h := range s.Hosts {
		ctx, err := ssl.NewContext(h.config(n.cache))
		if err != nil {
			return nil, err
		}
		n.contexts = append(n.contexts, ctx)
	}
	if s.Virtual {
		byName := map[string]*ssl.Context{}
		for i, h := range s.Hosts {
			byName[h.Name] = n.contexts[i]
		}
		cfg := host{Name: "front"}.config(n.cache)
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*ssl.Context, error) { return byName[h.ServerName], nil }
		front, err := ssl.NewContext(cfg)
		if err != nil {
			return nil, err
		}
		n.contexts = append(n.contexts, front)
		return n, n.listen(front)
	}
	return n, n.listen(n.contexts...)
}

func (h host) config(cache *sessioncb.Cache) ssl.Config {
	cfg := ssl.Config{
		Name:             h.Name,
		Certificates:     serverConfig().Certificates,
		Verify:           h.Verify,
		TrustEpoch:       h.Epoch,
		SessionIDContext: []byte(h.IDContext),
		NextProtos:       h.Protos,
		Groups:           h.Groups,
		MaxEarlyData:     h.EarlyData,
		SessionTimeout:   h.Timeout,
		MaxResumptionAge: h.MaxAge,
		SessionCache:     cache,
		HandshakeTimeout: patience,
		LookupTimeout:    patience,
		StoreTimeout:     patience,
	}
	if h.CA != "" {
		cfg.CAFile = cert(h.CA)
	}
	if h.Cert != "" {
		cfg.Certificates = []ssl.Certificate{{ChainFile: cert(h.Cert + ".pem"), KeyFile: cert(h.Cert + "-key.pem")}}
	}
	return cfg
}

// open connects to the store.
func (n *node) open(s nodeSetup) (sessioncb.Store, error) {
	switch {
	case s.store != nil:
		return s.store, nil
	case s.Redis != "":
		client := redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs: []string{s.Redis}, ContextTimeoutEnabled: true, ReadTimeout: patience, DialTimeout: patience,
		})
		n.release = append(n.release, func() { client.Close() })
		return redisstore.New(client, redisstore.Options{Prefix: s.Prefix})
	case s.Memcached != "":
		client := memcache.New(s.Memcached)
		client.Timeout, client.MaxIdleConns = patience, 16
		n.release = append(n.release, func() { client.Close() })
		return memcachestore.New(client, memcachestore.Options{Prefix: s.Prefix})
	}
	return nil, errors.New("the node has no store")
}

func (n *node) listen(contexts ...*ssl.Context) error {
	for _, ctx := range contexts {
		l, err := ssl.Listen("tcp", "127.0.0.1:0", ctx)
		if err != nil {
			return err
		}
		n.listeners = append(n.listeners, l)
		n.running.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				n.running.Go(func() { n.serve(c.(*ssl.Conn)) })
			}
		})
	}
	return nil
}

// serve reports what it sees before the client can see the end of it.
func (n *node) serve(c *ssl.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	var r report
	if e, err := c.EarlyData(context.Background()); err == nil {
		r.Accepted = c.EarlyDataAccepted()
		r.Early, _ = io.ReadAll(e)
	}
	err := c.Handshake()
	if err != nil {
		r.Err = err.Error()
	}
	state := c.ConnectionState()
	r.Host, r.Version, r.Resumed = c.HostContext().Name(), state.Version, state.DidResume
	r.ServerName, r.ALPN, r.OCSP = state.ServerName, state.NegotiatedProtocol, state.OCSPResponse
	r.Chains = len(state.VerifiedChains)
	for _, cert := range state.PeerCertificates {
		r.Peer = append(r.Peer, cert.Raw)
	}
	for _, err := range c.HandlerErrors() {
		r.Handlers = append(r.Handlers, err.Error())
	}
	if s := c.Session(); s != nil {
		r.Session, _ = s.MarshalBinary()
		r.ID, r.Timeout = s.ID(), s.Timeout()
		s.Close()
	}
	n.mu.Lock()
	n.reports = append(n.reports, r)
	n.mu.Unlock()
	select {
	case n.more <- struct{}{}:
	default:
	}
	if err == nil {
		c.Write([]byte("x"))
		io.ReadFull(c, make([]byte, 1))
	}
}

// addrs are those of the listeners, in the order of the hosts.
func (n *node) addrs() (list []string) {
	for _, l := range n.listeners {
		list = append(list, l.Addr().String())
	}
	return list
}

// take waits for the reports of count connections, and forgets them.
func (n *node) take(count int) ([]report, error) {
	late := time.After(patience)
	for {
		n.mu.Lock()
		if len(n.reports) >= count {
			r := slices.Clone(n.reports[:count])
			n.reports = n.reports[count:]
			n.mu.Unlock()
			return r, nil
		}
		have := len(n.reports)
		n.mu.Unlock()
		select {
		case <-n.more:
		case <-late:
			return nil, fmt.Errorf("%d connections ended, want %d", have, count)
		}
	}
}

// counters adds up what the binding did about answers of the Cache.
func (n *node) counters() counters {
	c := counters{Cache: n.cache.Stats()}
	sum := &c.Refused
	for _, ctx := range n.contexts {
		s := ctx.HandlerStats()
		sum.Malformed += s.Malformed
		sum.Expired += s.Expired
		sum.WrongContext += s.WrongContext
		sum.NoPeerCertificate += s.NoPeerCertificate
		sum.Errors += s.Errors
	}
	return c
}

// stop ends the node and waits until nothing of it is left. A second call does
// nothing.
func (n *node) stop() error {
	for _, l := range n.listeners {
		l.Close()
	}
	n.running.Wait()
	var failures []error
	for _, c := range n.contexts {
		failures = append(failures, closeContext(c))
	}
	for _, f := range n.release {
		f()
	}
	n.listeners, n.contexts, n.release = nil, nil, nil
	return errors.Join(failures...)
}
