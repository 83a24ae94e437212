package ssl

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// What a connection costs its store: the numbers of docs/fleet.md. The tables
// there are the log of
//
//	go test -v -run 'TestStoreOperations|TestStoredBytes' ./ssl

// storeCalls are the calls that reached a store.
type storeCalls struct{ Gets, Claims, Puts, Deletes int }

// countingStore counts the calls, and keeps the lengths of what was put.
type countingStore struct {
	*memstore.Store
	mu    sync.Mutex
	calls storeCalls
	sizes []int
}

func newCountingStore(t testing.TB) *countingStore {
	t.Helper()
	m, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &countingStore{Store: m}
}

func (s *countingStore) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *countingStore) Get(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.note(func() { s.calls.Gets++ })
	return s.Store.Get(ctx, key)
}

func (s *countingStore) Claim(ctx context.Context, key sessioncb.Key) ([]byte, error) {
	s.note(func() { s.calls.Claims++ })
	return s.Store.Claim(ctx, key)
}

func (s *countingStore) Put(ctx context.Context, key sessioncb.Key, value []byte, ttl time.Duration) error {
	s.note(func() { s.calls.Puts++; s.sizes = append(s.sizes, len(value)) })
	return s.Store.Put(ctx, key, value, ttl)
}

func (s *countingStore) Delete(ctx context.Context, key sessioncb.Key) error {
	s.note(func() { s.calls.Deletes++ })
	return s.Store.Delete(ctx, key)
}

// take returns what was counted since the last take.
func (s *countingStore) take() (calls storeCalls, sizes []int) {
	s.note(func() {
		calls, sizes = s.calls, s.sizes
		s.calls, s.sizes = storeCalls{}, nil
	})
	return calls, sizes
}

func cacheOver(t testing.TB, store sessioncb.Store, o sessioncb.CacheOptions) *sessioncb.Cache {
	t.Helper()
	o.Keys = sessioncb.ProcessKey()
	cache, err := sessioncb.NewCache(store, o)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// visit connects once, offering session, and returns whether the server resumed.
func visit(t testing.TB, server, client *Context, session *Session) bool {
	t.Helper()
	s, c := connect(t, server, client, &ClientOptions{Session: session}, nil)
	exchange(t, s, c)
	resumed := s.ConnectionState().DidResume
	s.Close()
	c.Close()
	return resumed
}

// Each kind of handshake makes exactly these calls of the store.
func TestStoreOperations(t *testing.T) {
	tests := []struct {
		name          string
		version       uint16
		cache         sessioncb.CacheOptions
		full, resumed storeCalls
	}{
		{"TLS 1.2", tls.VersionTLS12, sessioncb.CacheOptions{},
			storeCalls{Puts: 1}, storeCalls{Gets: 1}},
		{"TLS 1.3", tls.VersionTLS13, sessioncb.CacheOptions{},
			storeCalls{Puts: 1}, storeCalls{Gets: 1, Puts: 1}},
		{"TLS 1.2, single use", tls.VersionTLS12, sessioncb.CacheOptions{SingleUse: true},
			storeCalls{Puts: 1}, storeCalls{Gets: 1}},
		{"TLS 1.3, single use", tls.VersionTLS13, sessioncb.CacheOptions{SingleUse: true},
			storeCalls{Puts: 1}, storeCalls{Claims: 1, Puts: 1}},
		{"TLS 1.2, near cache of the same node", tls.VersionTLS12, sessioncb.CacheOptions{NearBytes: 1 << 20},
			storeCalls{Puts: 1}, storeCalls{}},
		{"TLS 1.3, near cache of the same node", tls.VersionTLS13, sessioncb.CacheOptions{NearBytes: 1 << 20},
			storeCalls{Puts: 1}, storeCalls{Puts: 1}},
		{"TLS 1.3, tagged ids", tls.VersionTLS13, sessioncb.CacheOptions{TagIDs: true},
			storeCalls{Puts: 1}, storeCalls{Gets: 1, Puts: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			st := newCountingStore(t)
			cfg := serverConfig()
			cfg.SessionCache = cacheOver(t, st, test.cache)
			server := newContext(t, cfg)
			client, got := newClient(t, test.version)

			if visit(t, server, client, nil) {
				t.Fatal("the first visit resumed")
			}
			full, _ := st.take()
			if diff := cmp.Diff(test.full, full); diff != "" {
				t.Errorf("full handshake (-want +got):\n%s", diff)
			}
			if !visit(t, server, client, got.last(t)) {
				t.Fatalf("the second visit did not resume: %+v", server.HandlerStats())
			}
			resumed, _ := st.take()
			if diff := cmp.Diff(test.resumed, resumed); diff != "" {
				t.Errorf("resumption (-want +got):\n%s", diff)
			}
			t.Logf("full %+v, resumed %+v", full, resumed)
		})
	}
}

// A server limited to TLS 1.2 looks up the random id of each new client that
// speaks TLS 1.3 too (R35), unless its own ids are tagged.
func TestStoreOperationsOfACompatibilityID(t *testing.T) {
	for _, test := range []struct {
		cache sessioncb.CacheOptions
		want  storeCalls
	}{
		{sessioncb.CacheOptions{}, storeCalls{Gets: 1, Puts: 1}},
		{sessioncb.CacheOptions{TagIDs: true}, storeCalls{Puts: 1}},
	} {
		st := newCountingStore(t)
		cfg := serverConfig()
		cfg.MaxVersion = tls.VersionTLS12
		cfg.SessionCache = cacheOver(t, st, test.cache)
		server := newContext(t, cfg)
		if visit(t, server, newContext(t, clientConfig()), nil) {
			t.Fatal("a first visit resumed")
		}
		calls, _ := st.take()
		if diff := cmp.Diff(test.want, calls); diff != "" {
			t.Errorf("TagIDs %v: full handshake of a client of both versions (-want +got):\n%s", test.cache.TagIDs, diff)
		}
		if n := cfg.SessionCache.Stats().Lookups.Offered(); n != 1 {
			t.Errorf("TagIDs %v: %d ids were offered, want the random one: this shows nothing", test.cache.TagIDs, n)
		}
	}
}

// How long the stored values are. The bounds are wide: a signature in a
// certificate has one byte more or less.
func TestStoredBytes(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	identities := []struct {
		name        string
		certificate func(testing.TB) []Certificate
		least, most int // bytes of a value
	}{
		{"no client certificate", func(testing.TB) []Certificate { return nil }, 250, 330},
		{"P-256 leaf", func(t testing.TB) []Certificate { return issueFor(t, ecKey) }, 550, 900},
		{"RSA 2048 leaf", func(t testing.TB) []Certificate { return issueFor(t, rsaKey) }, 800, 1300},
	}
	for _, who := range identities {
		t.Run(who.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				st := newCountingStore(t)
				cfg := serverConfig()
				cfg.Verify, cfg.CAFile = VerifyPeer, cert("ca.pem")
				cfg.SessionCache = cacheOver(t, st, sessioncb.CacheOptions{})
				cfg.NextProtos = []string{"http/1.1"}
				server := newContext(t, cfg)
				got := &clientSessions{}
				t.Cleanup(got.close)
				client := clientConfig()
				client.MinVersion, client.MaxVersion = version, version
				client.Certificates = who.certificate(t)
				client.NextProtos = cfg.NextProtos
				client.SessionCallbacks.New = got
				clientContext := newContext(t, client)

				visit(t, server, clientContext, nil)
				_, sizes := st.take()
				if !visit(t, server, clientContext, got.last(t)) {
					t.Fatalf("did not resume: %+v", server.HandlerStats())
				}
				_, again := st.take()
				sizes = append(sizes, again...)
				for _, n := range sizes {
					if n < who.least || n > who.most {
						t.Errorf("a value of %d bytes, not %d to %d", n, who.least, who.most)
					}
				}
				t.Logf("values of %v bytes; %d of them are the envelope", sizes, 77+len(server.SessionIDContext()))
			})
		})
	}
}

// issueFor makes a client certificate of testdata's CA for key.
func issueFor(t testing.TB, key crypto.Signer) []Certificate {
	t.Helper()
	issuer, err := tls.X509KeyPair(readCert(t, "ca.pem"), readCert(t, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{Organization: []string{"Example"}, CommonName: "client-0001.example.test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  clientUse,
		DNSNames:     []string{"client-0001.example.test"},
	}, issuer.Leaf, key.Public(), issuer.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return []Certificate{{
		ChainPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}),
		KeyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}}
}
