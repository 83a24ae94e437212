package memcachestore

import (
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

func TestStore(t *testing.T) {
	server := testserver.Memcached(t)
	storetest.Run(t, func(t *testing.T) sessioncb.Store {
		c := memcache.New(server.Addr())
		c.MaxIdleConns = 64
		t.Cleanup(func() { c.Close() })
		s, err := New(c, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
