package memcachestore

import (
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

// store makes one over a client of its own.
func store(t testing.TB, servers ...string) *Store {
	t.Helper()
	c := memcache.New(servers...)
	c.MaxIdleConns = 64
	t.Cleanup(func() { c.Close() })
	s, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOneServer(t *testing.T) {
	server := testserver.Memcached(t)
	open := func(t *testing.T) sessioncb.Store { return store(t, server.Addr()) }
	storetest.RunWith(t, storetest.Options{
		Open:        open,
		OpenAnother: func(t *testing.T, _ sessioncb.Store) sessioncb.Store { return open(t) },
		Hang: func(t *testing.T, _ sessioncb.Store) func() {
			if err := server.Pause(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := server.Resume(); err != nil {
					t.Error(err)
				}
			}
		},
	})
}

func TestTwoServers(t *testing.T) {
	a, b := testserver.Memcached(t), testserver.Memcached(t)
	open := func(t *testing.T) sessioncb.Store { return store(t, a.Addr(), b.Addr()) }
	storetest.RunWith(t, storetest.Options{
		Open:        open,
		OpenAnother: func(t *testing.T, _ sessioncb.Store) sessioncb.Store { return open(t) },
	})
}
