package redisstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// certificate writes one for 127.0.0.1, signed by itself.
func certificate(t testing.TB) (files testserver.TLS, pool *x509.CertPool) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	files.CertFile, files.KeyFile = write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
	files.CAFile = files.CertFile
	cert, err := x509.ParseCertificate(der)
	check(err)
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return files, pool
}

// TestTLSAndUser: a server that speaks TLS only, and a user who may do no more
// than this package does, under its prefix.
func TestTLSAndUser(t *testing.T) {
	files, pool := certificate(t)
	server := testserver.RedisWith(t, testserver.Options{TLS: &files, Args: []string{
		"--user", "default", "off",
		"--user", "sessions", "on", ">secret", "~sessioncb:*", "+get", "+set", "+del", "+getdel", "+scan", "+pttl", "+wait",
	}})
	o := redis.UniversalOptions{
		Addrs: []string{server.Addr()}, TLSConfig: &tls.Config{RootCAs: pool},
		Username: "sessions", Password: "secret",
	}
	s := store(t, client(t, o), Options{})
	want := fill(t, s, 10)
	if got := walk(t, s); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("there are %s", got)
	}
	k := sessioncb.Key{ID: []byte("\x000\xff")}
	if v, err := s.Claim(t.Context(), k); err != nil || string(v) != "value 0" {
		t.Errorf("Claim: %q, %v", v, err)
	}
	if err := s.Delete(t.Context(), k); err != nil {
		t.Errorf("Delete: %v", err)
	}
	other := store(t, client(t, o), Options{Prefix: "other:"})
	if err := other.Put(t.Context(), k, []byte("v"), time.Hour); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("under another prefix: %v", err)
	}
	o.Password = "wrong"
	if _, err := store(t, client(t, o), Options{}).Get(t.Context(), k); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v", err)
	}
	o.TLSConfig = nil
	if _, err := store(t, client(t, o), Options{}).Get(t.Context(), k); err == nil {
		t.Error("without TLS")
	}
}

// TestUserOfACluster: what a user needs there, as docs/stores.md has it.
func TestUserOfACluster(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 1, "--user", "sessions", "on", ">secret", "~sessioncb:*",
		"+get", "+set", "+del", "+getdel", "+wait", "+scan", "+pttl", "+cluster|slots", "+command")
	s := store(t, client(t, redis.UniversalOptions{Addrs: cluster.Addrs(), Username: "sessions", Password: "secret"}),
		Options{WaitReplicas: 1, WaitTimeout: time.Second})
	want := fill(t, s, 50)
	if got := walk(t, s); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("there are %s", got)
	}
	for i := range 50 {
		k := sessioncb.Key{ID: fmt.Appendf(nil, "\x00%d\xff", i)}
		if v, err := s.Claim(t.Context(), k); err != nil || string(v) != fmt.Sprint("value ", i) {
			t.Errorf("Claim: %q, %v", v, err)
		}
		if err := s.Delete(t.Context(), k); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
}
