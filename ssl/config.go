package ssl

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// VerifyMode says what a context asks of the peer's certificate.
type VerifyMode int

const (
	// VerifyDefault: a client verifies the server, a server asks for nothing.
	VerifyDefault VerifyMode = iota
	// VerifyNone: nothing is asked or verified (SSL_VERIFY_NONE). A client is
	// then open to anybody in the middle.
	VerifyNone
	// VerifyPeer: a server asks for a certificate and verifies it if there is
	// one (SSL_VERIFY_PEER).
	VerifyPeer
	// VerifyRequired: a server also refuses a client that has none
	// (SSL_VERIFY_FAIL_IF_NO_PEER_CERT).
	VerifyRequired
)

// TicketMode says what a server's tickets are.
type TicketMode int

const (
	// TicketsDefault: stateful with a SessionCache, else stateless.
	TicketsDefault TicketMode = iota
	// TicketsStateless: the session travels in the ticket, sealed by OpenSSL
	// under a key of this SSL_CTX; no callback is asked for it.
	TicketsStateless
	// TicketsStateful: no tickets in TLS 1.2, and in TLS 1.3 tickets that are
	// keys of a lookup (SSL_OP_NO_TICKET).
	TicketsStateful
)

// CacheMode is the session cache mode of an SSL_CTX (SSL_CTX_set_session_cache_mode).
type CacheMode int

const (
	// CacheDefault: server sessions, and with a New handler client sessions
	// too, in the internal cache; with a SessionCache CacheExternal.
	CacheDefault CacheMode = iota
	// CacheOff: SSL_SESS_CACHE_OFF. The Get callback is still asked.
	CacheOff
	// CacheInternal: the internal cache, for both sides.
	CacheInternal
	// CacheExternal: only the callbacks (SSL_SESS_CACHE_NO_INTERNAL), for both sides.
	CacheExternal
	// CacheExternalLookup: sessions are also kept in the internal cache, but
	// found by the callback (SSL_SESS_CACHE_NO_INTERNAL_LOOKUP).
	CacheExternalLookup
)

// Certificate is a certificate chain with its key, PEM in bytes or in files.
type Certificate struct {
	ChainPEM  []byte // leaf first; or
	ChainFile string
	KeyPEM    []byte // or
	KeyFile   string // both empty: the key is in the same place as the chain
	// Passphrase opens an encrypted key. Without one such a key is an error:
	// nothing is ever asked on a terminal.
	Passphrase []byte
}

// Config configures a [Context]. The zero value is a client that trusts
// nobody. NewContext copies what it needs; a Config may be changed afterwards.
type Config struct {
	// Name tells virtual hosts apart: it is part of the derived session id
	// context, and what handlers see as Context.Name.
	Name string

	// Certificates are this side's, one of each key type at the most
	// (SSL_CTX_use_certificate, SSL_CTX_use_PrivateKey).
	Certificates []Certificate

	// The CA certificates that a peer's certificate is verified against, all
	// that are given. A server names those of CAPEM and CAFile to its clients.
	CAPEM  []byte
	CAFile string
	// CADir is a hashed directory, see openssl-rehash(1). OpenSSL reads it when
	// it verifies, but the derived session id context is of what NewContext
	// found: make a new Context when a CA was removed.
	CADir     string
	SystemCAs bool // SSL_CTX_set_default_verify_paths
	Verify    VerifyMode
	// VerifyDepth bounds the chain (SSL_CTX_set_verify_depth); 0 leaves OpenSSL's 100.
	VerifyDepth int
	// TrustLabel and TrustEpoch are part of the derived session id context.
	// Change the epoch, and no session made before is resumed.
	TrustLabel string
	TrustEpoch uint64

	// MinVersion and MaxVersion are tls.VersionTLS12 or tls.VersionTLS13; 0 is
	// TLS 1.2 and the newest.
	MinVersion, MaxVersion uint16
	// CipherList is for TLS 1.2 (SSL_CTX_set_cipher_list), CipherSuites for TLS 1.3
	// (SSL_CTX_set_ciphersuites), Groups for both (SSL_CTX_set1_groups_list),
	// in OpenSSL's notation; "" leaves its default.
	CipherList, CipherSuites, Groups string
	// NextProtos are the ALPN protocols in order of preference. A client that
	// offers none of them is refused with no_application_protocol.
	NextProtos []string

	// SessionCache keeps server sessions in a store, and implies all that
	// makes it work: TicketsStateful, CacheExternal, one ticket a handshake.
	// A field that says otherwise is an error, as are SessionCallbacks beside it.
	SessionCache *sessioncb.Cache
	// SessionCallbacks are the handlers themselves.
	SessionCallbacks sessioncb.Callbacks
	SessionCacheMode CacheMode
	// SessionCacheSize bounds the internal cache (SSL_CTX_sess_set_cache_size,
	// which holds one less); 0 leaves 20,480.
	SessionCacheSize int
	// SessionTimeout is a session's lifetime (SSL_CTX_set_timeout), in whole
	// seconds; 0 leaves 7,200 s. A SessionCache keeps a session as long.
	SessionTimeout time.Duration
	// MaxResumptionAge bounds how long a client can go on resuming after a
	// full handshake: in TLS 1.3 each resumption makes a new session, and each
	// of them is given a lifetime that ends no later than this after the full
	// handshake that it goes back to. In whole seconds; 0 is 24 h, a negative
	// value no bound. A longer SessionTimeout is an error.
	MaxResumptionAge time.Duration
	// SessionIDContext separates sessions (SSL_CTX_set_session_id_context), at
	// most 32 bytes. Set it to share sessions with C servers; by default it is
	// derived from the verification, the CA certificates, Name, TrustLabel and
	// TrustEpoch, so that a session is resumed only where it would be made.
	SessionIDContext []byte
	Tickets          TicketMode
	// NumTickets is how many a TLS 1.3 server sends (SSL_CTX_set_num_tickets);
	// 0 leaves OpenSSL's 2, a negative number is none.
	NumTickets int

	// GetConfigForClient chooses, for a server, the Context of each connection
	// by its ClientHello: virtual hosts. It has the sense of the field of this
	// name of crypto/tls; nil, and the Context that accepted the connection,
	// mean that one. All that the Config of the chosen Context says is in force,
	// its certificate and its session id context too, but for what is of the
	// Context that accepted: the session callbacks and all bounds on handlers,
	// SessionCacheMode and SessionCacheSize, HandshakeTimeout, and whether there
	// is early data at all. A chosen Context is refused if it has no
	// certificate, SessionCallbacks of its own or another SessionCache, and if
	// it verifies clients otherwise than another that a user gave the same
	// SessionIDContext. Where OpenSSL's internal cache is used, its
	// MaxResumptionAge bounds new sessions only.
	//
	// It is asked once for each connection, concurrently, outside OpenSSL,
	// within LookupTimeout; an error, a panic and a late answer end the handshake
	// with internal_error. The info's Context method does not work. The chosen
	// Context must not be closed before it is returned.
	GetConfigForClient func(*tls.ClientHelloInfo) (*Context, error)
	// MaxEarlyData makes a server accept that many bytes of TLS 1.3 early data
	// (0-RTT) from a client that resumes, at most 1 MiB; 0 is none
	// (SSL_CTX_set_max_early_data). Early data can be replayed by whoever recorded
	// it, so a session must be good for one use in the whole fleet: the
	// GetHandler must be a sessioncb.SingleUser that says so. It implies
	// TicketsStateful and CacheExternal; a field that says otherwise is an
	// error. A connection keeps up to that many bytes until its handshake is
	// done. A client needs no setting, see Conn.WriteEarlyData.
	MaxEarlyData uint32
	// AllowEarlyData is asked once for each connection whose early data could
	// be accepted, when the session was found; false refuses it, and the client
	// resumes without. nil allows all. ctx ends as that of a GetHandler; a panic,
	// a Goexit and an answer too late refuse. It is called concurrently
	// (SSL_CTX_set_allow_early_data_cb).
	AllowEarlyData func(ctx context.Context, c sessioncb.Conn) bool

	// HandshakeTimeout bounds a server's handshake that no context bounds; 0
	// is 10 s, a negative value no bound.
	HandshakeTimeout time.Duration
	// LookupTimeout bounds a GetHandler and GetConfigForClient, StoreTimeout a New- or RemoveHandler;
	// 0 is 2 s each.
	LookupTimeout, StoreTimeout time.Duration
	// SlowPrivateKey is for a key in an HSM: handshakes neither pass the gate
	// that keeps at most GOMAXPROCS of them inside OpenSSL, nor use the threads
	// that make those of the other Contexts.
	SlowPrivateKey bool
	// OnHandlerPanic is told of each panic or Goexit of a handler; nil logs it with slog.
	OnHandlerPanic func(*HandlerPanicError)
}

// check reports what contradicts itself, before anything is made.
func (cfg *Config) check() error {
	cb := cfg.SessionCallbacks
	any := cb.New != nil || cb.Get != nil || cb.Remove != nil
	switch {
	case cfg.SessionCache != nil && any:
		return errors.New("SessionCache and SessionCallbacks: set one of them")
	case cfg.SessionCache != nil && cfg.Tickets == TicketsStateless:
		return errors.New("SessionCache implies TicketsStateful, but Tickets is TicketsStateless")
	case cfg.SessionCache != nil && cfg.SessionCacheMode != CacheDefault && cfg.SessionCacheMode != CacheExternal:
		return errors.New("SessionCache implies CacheExternal, but SessionCacheMode says otherwise")
	case cfg.SessionCache != nil && cfg.NumTickets != 0 && cfg.NumTickets != 1:
		return fmt.Errorf("SessionCache implies one ticket a handshake, but NumTickets is %d", cfg.NumTickets)
	case cfg.SessionCache != nil && cfg.SessionCacheSize != 0:
		return errors.New("SessionCache uses no internal cache, but SessionCacheSize is set")
	case cfg.SessionCache != nil && len(cfg.Certificates) == 0:
		return errors.New("SessionCache keeps the sessions of a server, but there is no certificate")
	case cb.New != nil && cfg.SessionCacheMode == CacheOff:
		return errors.New("a New handler is never told with CacheOff")
	case cfg.SessionCacheSize != 0 && (cfg.SessionCacheMode == CacheOff || cfg.SessionCacheMode == CacheExternal):
		return errors.New("SessionCacheSize is set, but SessionCacheMode uses no internal cache")
	case cb.Get != nil && cfg.MinVersion == tls.VersionTLS13 && cfg.Tickets != TicketsStateful && cfg.MaxEarlyData == 0:
		return errors.New("a Get handler is never asked with TLS 1.3 and stateless tickets: set Tickets to TicketsStateful")
	case cfg.Tickets == TicketsStateful && cfg.SessionCache == nil && cb.Get == nil &&
		(cfg.SessionCacheMode == CacheOff || cfg.SessionCacheMode == CacheExternal || cfg.SessionCacheMode == CacheExternalLookup):
		return errors.New("TicketsStateful without an internal cache and without a Get handler: no session could be found again")
	case cfg.Tickets < TicketsDefault || cfg.Tickets > TicketsStateful:
		return fmt.Errorf("Tickets: unknown mode %d", cfg.Tickets)
	case cfg.SessionCacheMode < CacheDefault || cfg.SessionCacheMode > CacheExternalLookup:
		return fmt.Errorf("SessionCacheMode: unknown mode %d", cfg.SessionCacheMode)
	case cfg.Verify < VerifyDefault || cfg.Verify > VerifyRequired:
		return fmt.Errorf("Verify: unknown mode %d", cfg.Verify)
	case cfg.Verify >= VerifyPeer && !cfg.trusts():
		return errors.New("Verify asks for certificates, but no CA certificates are given (CAPEM, CAFile, CADir, SystemCAs)")
	case cfg.VerifyDepth < 0 || cfg.VerifyDepth > 1000:
		return fmt.Errorf("VerifyDepth of %d is not 0 to 1000", cfg.VerifyDepth)
	case cfg.SessionCacheSize < 0:
		return fmt.Errorf("SessionCacheSize is negative: %d", cfg.SessionCacheSize)
	case cfg.SessionTimeout < 0 || cfg.SessionTimeout%time.Second != 0:
		return fmt.Errorf("SessionTimeout must be a number of whole seconds, not %v", cfg.SessionTimeout)
	case cfg.SessionTimeout > 366*24*time.Hour:
		return fmt.Errorf("SessionTimeout of %v is longer than a year", cfg.SessionTimeout)
	case cfg.MaxResumptionAge > 0 && cfg.MaxResumptionAge%time.Second != 0:
		return fmt.Errorf("MaxResumptionAge must be a number of whole seconds, not %v", cfg.MaxResumptionAge)
	case cfg.MaxResumptionAge >= 0 && cfg.SessionTimeout > cfg.maxAge():
		return fmt.Errorf("SessionTimeout of %v is longer than MaxResumptionAge of %v: set both", cfg.SessionTimeout, cfg.maxAge())
	case len(cfg.SessionIDContext) > 32:
		return fmt.Errorf("SessionIDContext has %d bytes, 32 are the most", len(cfg.SessionIDContext))
	case cfg.LookupTimeout < 0 || cfg.StoreTimeout < 0:
		return errors.New("LookupTimeout or StoreTimeout is negative")
	case cfg.NumTickets > 100:
		return fmt.Errorf("NumTickets of %d is more than 100", cfg.NumTickets)
	}
	for _, v := range []uint16{cfg.MinVersion, cfg.MaxVersion} {
		if v != 0 && v != tls.VersionTLS12 && v != tls.VersionTLS13 {
			return fmt.Errorf("version %#04x: only TLS 1.2 and TLS 1.3 are supported", v)
		}
	}
	if err := cfg.checkEarlyData(); err != nil {
		return err
	}
	if cfg.MaxVersion != 0 && cfg.MinVersion > cfg.MaxVersion {
		return errors.New("MinVersion is above MaxVersion")
	}
	wire := 0
	for _, p := range cfg.NextProtos {
		if len(p) == 0 || len(p) > 255 {
			return fmt.Errorf("NextProtos: a protocol has 1 to 255 bytes, not %d", len(p))
		}
		wire += 1 + len(p)
	}
	if wire > 1<<15 {
		return fmt.Errorf("NextProtos has %d bytes, more than a ClientHello should carry", wire)
	}
	for _, x := range []struct{ name, value string }{
		{"CipherList", cfg.CipherList}, {"CipherSuites", cfg.CipherSuites}, {"Groups", cfg.Groups},
	} {
		if strings.ContainsRune(x.value, 0) {
			return fmt.Errorf("%s has a NUL", x.name)
		}
	}
	return nil
}

func (cfg *Config) trusts() bool {
	return len(cfg.CAPEM) > 0 || cfg.CAFile != "" || cfg.CADir != "" || cfg.SystemCAs
}

// apply configures c; the caller throws c away when it fails.
func (cfg *Config) apply(c *cshim.Context) (sidCtx []byte, trust [32]byte, err error) {
	min := cfg.MinVersion
	if min == 0 {
		min = tls.VersionTLS12
	}
	if q, ok := c.SetVersions(min, cfg.MaxVersion); !ok {
		return nil, trust, opError("new context: versions", q)
	}
	if err := cfg.applyCiphers(c); err != nil {
		return nil, trust, err
	}
	kinds := map[x509.PublicKeyAlgorithm]bool{}
	for i := range cfg.Certificates {
		if err := cfg.Certificates[i].apply(c, kinds); err != nil {
			return nil, trust, err
		}
	}
	t, trust, err := cfg.applyTrust(c)
	if err != nil {
		return nil, trust, err
	}
	sidCtx = cfg.SessionIDContext
	if len(sidCtx) == 0 {
		sidCtx = t.Sum(nil)
	}
	if q, ok := c.SetSessionIDContext(sidCtx); !ok {
		return nil, trust, opError("new context: SessionIDContext", q)
	}
	if len(cfg.NextProtos) > 0 {
		var wire []byte
		for _, p := range cfg.NextProtos {
			wire = append(append(wire, byte(len(p))), p...)
		}
		if q, ok := c.SetALPN(wire); !ok {
			return nil, trust, opError("new context: NextProtos", q)
		}
	}
	cfg.plan().apply(c)
	return slices.Clone(sidCtx), trust, nil
}

func (cfg *Config) applyCiphers(c *cshim.Context) error {
	const op = "new context: "
	if q, ok := c.SetCiphers(cfg.CipherList, "", ""); !ok {
		return opError(op+"CipherList", q)
	}
	if cfg.CipherSuites != "" {
		// libssl passes over a name that it does not know, if it knows another.
		for name := range strings.SplitSeq(cfg.CipherSuites, ":") {
			if name == "" {
				return &Error{Op: op + "CipherSuites", Err: errors.New("an empty name in the list")}
			}
			if q, ok := c.SetCiphers("", name, ""); !ok {
				return opError(op+"CipherSuites", q)
			}
		}
	}
	if q, ok := c.SetCiphers("", cfg.CipherSuites, ""); !ok {
		return opError(op+"CipherSuites", q)
	}
	if q, ok := c.SetCiphers("", "", cfg.Groups); !ok {
		return opError(op+"Groups", q)
	}
	return nil
}

// apply sets the certificate and its key. kinds are the keys seen so far:
// libssl holds one certificate of each, and a second would replace the first.
func (k *Certificate) apply(c *cshim.Context, kinds map[x509.PublicKeyAlgorithm]bool) error {
	chain, err := pemOf(k.ChainPEM, k.ChainFile)
	if err != nil {
		return &Error{Op: "new context: certificate", Err: err}
	}
	defer clear(chain) // the key may stand in it
	if len(chain) == 0 {
		return &Error{Op: "new context: certificate", Err: errors.New("no ChainPEM and no ChainFile")}
	}
	key, err := pemOf(k.KeyPEM, k.KeyFile)
	if err != nil {
		return &Error{Op: "new context: private key", Err: err}
	}
	defer func() { clear(key) }()
	if len(key) == 0 {
		key = slices.Clone(chain)
	}
	if q, ok := c.UseChain(chain); !ok {
		return opError("new context: certificate", q)
	}
	if kind := leafKind(chain); kind != x509.UnknownPublicKeyAlgorithm {
		if kinds[kind] {
			return &Error{Op: "new context: certificate", Err: fmt.Errorf("a second certificate with a key of type %v", kind)}
		}
		kinds[kind] = true
	}
	if q, ok := c.UseKey(key, k.Passphrase); !ok {
		return opError("new context: private key", q)
	}
	return nil
}

// leafKind returns the type of the first certificate's key, unknown if Go
// cannot read it.
func leafKind(chain []byte) x509.PublicKeyAlgorithm {
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if !isCertificate(block) {
			continue
		}
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			return leaf.PublicKeyAlgorithm
		}
		break
	}
	return x509.UnknownPublicKeyAlgorithm
}

// isCertificate knows the names that OpenSSL takes for a certificate.
func isCertificate(block *pem.Block) bool {
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return true
	}
	return false
}

// pemOf returns a copy, which the caller may clear.
func pemOf(data []byte, file string) ([]byte, error) {
	switch {
	case len(data) > 0 && file != "":
		return nil, fmt.Errorf("both PEM bytes and the file %s are given", file)
	case file != "":
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	default:
		data = slices.Clone(data)
	}
	if len(data) > mostPEM {
		return nil, fmt.Errorf("%d bytes of PEM are more than %d", len(data), mostPEM)
	}
	return data, nil
}

// mostPEM is far above any bundle, and below the int of OpenSSL's memory BIO.
const mostPEM = 64 << 20

// applyTrust loads the CA certificates and sets the verification, and hashes
// all that decides whom this context trusts, and apart from it the verification.
func (cfg *Config) applyTrust(c *cshim.Context) (all hash.Hash, verification [32]byte, err error) {
	var set [][32]byte
	if ca, err := pemOf(cfg.CAPEM, ""); err != nil {
		return nil, verification, &Error{Op: "new context: CAPEM", Err: err}
	} else if len(ca) > 0 {
		if q, ok := c.TrustPEM(ca, true); !ok {
			return nil, verification, opError("new context: CAPEM", q)
		}
		set = append(set, cshim.CertDigests(ca)...)
	}
	if cfg.CAFile != "" {
		ca, err := pemOf(nil, cfg.CAFile)
		if err != nil {
			return nil, verification, &Error{Op: "new context: CAFile", Err: err}
		}
		if q, ok := c.TrustPEM(ca, true); !ok {
			return nil, verification, opError("new context: CAFile "+cfg.CAFile, q)
		}
		set = append(set, cshim.CertDigests(ca)...)
	}
	if cfg.CADir != "" {
		if set, err = appendDirDigests(set, cfg.CADir); err != nil {
			return nil, verification, &Error{Op: "new context: CADir", Err: err}
		}
		if q, ok := c.TrustDir(cfg.CADir); !ok {
			return nil, verification, opError("new context: CADir "+cfg.CADir, q)
		}
	}
	if cfg.SystemCAs {
		if q, ok := c.TrustSystem(); !ok {
			return nil, verification, opError("new context: SystemCAs", q)
		}
		file, dirs := cshim.DefaultCAPaths()
		if ca, err := os.ReadFile(file); err == nil { // need not exist
			set = append(set, cshim.CertDigests(ca)...)
		}
		for _, dir := range dirs {
			set, _ = appendDirDigests(set, dir)
		}
	}
	depth := -1
	if cfg.VerifyDepth > 0 {
		depth = cfg.VerifyDepth
	}
	mode := cshim.SSL_VERIFY_NONE
	switch cfg.Verify {
	case VerifyPeer:
		mode = cshim.SSL_VERIFY_PEER
	case VerifyRequired:
		mode = cshim.SSL_VERIFY_PEER | cshim.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	}
	c.SetVerify(mode, depth)

	h := sha256.New()
	h.Write([]byte("sessioncb trust 1\x00"))
	// libssl's mode is none for VerifyDefault too, with which a client verifies.
	writeInt(h, uint64(cfg.Verify))
	writeInt(h, uint64(mode))
	writeInt(h, uint64(cfg.VerifyDepth))
	slices.SortFunc(set, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	set = slices.Compact(set)
	writeInt(h, uint64(len(set)))
	for _, d := range set {
		h.Write(d[:])
	}
	verification = [32]byte(h.Sum(nil))
	for _, s := range []string{cfg.Name, cfg.TrustLabel} {
		writeInt(h, uint64(len(s)))
		h.Write([]byte(s))
	}
	writeInt(h, cfg.TrustEpoch)
	return h, verification, nil
}

func writeInt(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

// appendDirDigests adds the certificates of all files in dir.
func appendDirDigests(set [][32]byte, dir string) ([][32]byte, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return set, err
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil { // a sub-directory or a dangling link is nothing to OpenSSL either
			set = append(set, cshim.CertDigests(data)...)
		}
	}
	return set, nil
}
