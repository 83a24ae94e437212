package redisstore

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

// client makes one as the package's doc has it, closed with the test.
func client(t testing.TB, o redis.UniversalOptions) redis.UniversalClient {
	t.Helper()
	o.ContextTimeoutEnabled = true
	c := redis.NewUniversalClient(&o)
	t.Cleanup(func() { c.Close() })
	return c
}

func store(t testing.TB, c redis.UniversalClient, o Options) *Store {
	t.Helper()
	s, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSingle(t *testing.T) {
	server := testserver.Redis(t)
	storetest.Run(t, func(t *testing.T) sessioncb.Store {
		return store(t, client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}}), Options{})
	})
}

func TestCluster(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 1)
	storetest.Run(t, func(t *testing.T) sessioncb.Store {
		return store(t, client(t, redis.UniversalOptions{Addrs: cluster.Addrs()}), Options{WaitReplicas: 1})
	})
}
