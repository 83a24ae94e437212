package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sessioncb/openssl/internal/testserver"
)

// sharedStores are the stores of a fleet, each started for the test.
var sharedStores = []struct {
	name  string
	start func(t *testing.T) (url string)
}{
	{"redis", func(t *testing.T) string {
		return fmt.Sprintf("redis://:%s@%s/2?prefix=a%%3A", password, testserver.Redis(t, "--requirepass", password).Addr())
	}},
	{"redis with TLS", func(t *testing.T) string {
		s := testserver.RedisWith(t, testserver.Options{
			TLS:  &testserver.TLS{CertFile: absolute(t, "server.pem"), KeyFile: absolute(t, "server-key.pem"), CAFile: absolute(t, "ca.pem")},
			Args: []string{"--tls-auth-clients", "yes"},
		})
		return fmt.Sprintf("rediss://%s?ca=%s&cert=%s&key=%s", s.Addr(), cert("ca.pem"), cert("client.pem"), cert("client-key.pem"))
	}},
	{"redis cluster", func(t *testing.T) string {
		return "redis-cluster://" + testserver.RedisCluster(t, 3, 0).Addrs()[0] // it finds the others
	}},
	{"redis sentinel", func(t *testing.T) string {
		return fmt.Sprintf("redis-sentinel://%s@%s", testserver.MasterName, strings.Join(testserver.Sentinel(t).Addrs(), ","))
	}},
	{"memcached", func(t *testing.T) string {
		return fmt.Sprintf("memcache://%s,%s", testserver.Memcached(t).Addr(), testserver.Memcached(t).Addr())
	}},
}

const password = "s3cret-of-the-store"

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(cert(name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Two processes that share a store resume each other's sessions, and the log
// of the second says that it found what the first one had stored.
func TestSharedStores(t *testing.T) {
	for _, s := range sharedStores {
		t.Run(s.name, func(t *testing.T) {
			url, dir := s.start(t), t.TempDir()
			// The password is not among the arguments, and shows nowhere else.
			t.Setenv("SESSIONCB_TEST_STORE", url)
			flags := []string{"--store", "env:SESSIONCB_TEST_STORE", "--key-file", filepath.Join(dir, "fleet.keys")}
			a, b := serve(t, flags...), serve(t, flags...)
			eachWay(t, func(t *testing.T, w way) {
				first, second := filepath.Join(dir, w.flag+"1.pem"), filepath.Join(dir, w.flag+"2.pem")
				made := w.handshake(t, a, "", first, false)
				there := w.handshake(t, b, first, second, true)
				if want := made["session"] + " (found)"; there["offered"] != want {
					t.Errorf("offered %s, want %s", there["offered"], want)
				}
				if w.resumed == bySessionID {
					second = first // a resumption makes no new session
				}
				back := w.handshake(t, a, second, "", true)
				if want := there["session"] + " (found)"; back["offered"] != want {
					t.Errorf("offered %s, want %s", back["offered"], want)
				}
			})
			for _, p := range []*process{a, b} {
				p.stop(t, syscall.SIGINT)
				if strings.Contains(p.log.String(), password) {
					t.Errorf("the log shows the password:\n%s", p.log)
				}
			}
		})
	}
}

// With its own keys a server resumes nothing of the others; what a wrong
// password or a dead store costs is full handshakes, no more.
func TestSharedStoreFaults(t *testing.T) {
	redis := testserver.Redis(t, "--requirepass", password)
	dir := t.TempDir()
	flags := func(pass, keys string) []string {
		return []string{"--store", fmt.Sprintf("redis://:%s@%s", pass, redis.Addr()), "--key-file", filepath.Join(dir, keys)}
	}
	const wrong = "s3cret-that-is-wrong"
	good := serve(t, flags(password, "fleet.keys")...)
	other := serve(t, flags(password, "other.keys")...)
	outside := serve(t, flags(wrong, "fleet.keys")...)
	eachWay(t, func(t *testing.T, w way) {
		session := filepath.Join(t.TempDir(), "session.pem")
		w.handshake(t, good, "", session, false)
		if answer := w.handshake(t, other, session, "", false); !strings.Contains(answer["offered"], "not in the ring") {
			t.Errorf("other keys: offered %s", answer["offered"])
		}
		if answer := w.handshake(t, outside, session, "", false); !strings.Contains(answer["offered"], "WRONGPASS") {
			t.Errorf("wrong password: offered %s", answer["offered"])
		}
		if answer := w.handshake(t, good, session, "", true); !strings.Contains(answer["offered"], "found") {
			t.Errorf("offered %s", answer["offered"])
		}
	})
	outside.awaitLog(t, 1, "level=WARN", "WRONGPASS")
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, w way) {
		session := filepath.Join(t.TempDir(), "session.pem")
		w.handshake(t, good, "", session, false)
		if answer := w.handshake(t, good, session, "", false); !strings.Contains(answer["offered"], "connection refused") {
			t.Errorf("dead store: offered %s", answer["offered"])
		}
	})
	for _, p := range []*process{good, other, outside} {
		p.stop(t, syscall.SIGINT)
		if log := p.log.String(); strings.Contains(log, "s3cret") || !strings.Contains(log, "redis://:xxxxx@"+redis.Addr()) {
			t.Errorf("the log shows a password, or not the store:\n%s", log)
		}
	}
}

// Each --store gets its own Redis errors in the tools too, without passwords.
func TestToolsHidePasswords(t *testing.T) {
	redis := testserver.Redis(t, "--requirepass", password)
	const wrong = "s3cret-that-is-wrong"
	id := strings.Repeat("00", 32)
	for _, args := range [][]string{
		{"store", "ls"}, {"store", "stats"}, {"store", "get", id}, {"store", "rm", id}, {"store", "rm", "--all", "--yes"},
	} {
		url := fmt.Sprintf("redis://u:%s@%s", wrong, redis.Addr())
		args = append(args[:2:2], append([]string{url}, args[2:]...)...)
		r := command(t, "", args...)
		if r.code != exitFailed || !strings.Contains(r.stderr, "WRONGPASS") || strings.Contains(r.stdout+r.stderr, "s3cret") {
			t.Errorf("%v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}
}
