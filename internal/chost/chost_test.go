package chost

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"testing"
)

const certs = "../../testdata/certs/"

func newServer(t *testing.T, o Options) *Server {
	t.Helper()
	o.ChainFile, o.KeyFile = certs+"server.pem", certs+"server-key.pem"
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// client makes a client of crypto/tls, which resumes with tickets only.
func client(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(certs + "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// visit makes a connection, sends a byte and gets it back.
func visit(s *Server, cfg *tls.Config) (resumed bool, err error) {
	nc, err := s.Dial()
	if err != nil {
		return false, err
	}
	c := tls.Client(nc, cfg)
	defer c.Close()
	b := []byte("x")
	if _, err := c.Write(b); err != nil {
		return false, err
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return false, err
	}
	if b[0] != 'x' {
		return false, fmt.Errorf("echo of %q", b)
	}
	return c.ConnectionState().DidResume, nil
}

// The C program resumes from its own store, whatever its callbacks do with
// references, and owns none too many and none too few at the end.
func TestOwnStore(t *testing.T) {
	for _, keep := range []Keep{References, DER} {
		for _, cp := range []Copy{Copy0, Copy1, CopyUnwritten} {
			for _, threads := range []int{0, 4} {
				t.Run(fmt.Sprintf("keep%d/copy%d/threads%d", keep, cp, threads), func(t *testing.T) {
					before := Violations()
					s := newServer(t, Options{
						Version: tls.VersionTLS13, CacheMode: NoInternal, Callbacks: All,
						Keep: keep, Copy: cp, Threads: threads, SessionIDContext: "box",
					})
					if err := s.Start(); err != nil {
						t.Fatal(err)
					}
					cfg := client(t)
					for i := range 4 {
						resumed, err := visit(s, cfg)
						if err != nil {
							t.Fatalf("visit %d: %v; the server says %q", i, err, s.LastError())
						}
						if resumed != (i > 0) {
							t.Errorf("visit %d: resumed is %v", i, resumed)
						}
					}
					s.Stop()
					c := s.Counts()
					if c.New != 2+3 || c.Get != 3 || c.Accepted != 4 || c.Resumed != 3 || c.Failed != 0 || c.Dirty != 0 {
						t.Errorf("counts: %+v", c)
					}
					if n := Violations() - before; n != 0 {
						t.Errorf("%d sessions were destroyed under their owner", n)
					}
				})
			}
		}
	}
}

// The ledger sees a free too many before anything touches freed memory.
func TestLedgerSeesDoubleFree(t *testing.T) {
	for name, fault := range map[string]Fault{"store": StoreDoubleFrees, "connection": ConnectionDoubleFrees} {
		t.Run(name, func(t *testing.T) {
			before := Violations()
			s := newServer(t, Options{
				Version: tls.VersionTLS13, CacheMode: NoInternal, Callbacks: New | Get, Copy: Copy0, Fault: fault,
			})
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			cfg := client(t)
			for range 2 {
				if _, err := visit(s, cfg); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			if n := Violations() - before; n != 1 {
				t.Errorf("%d violations, want 1", n)
			}
		})
	}
}
