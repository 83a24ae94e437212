package redisstore

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // it tells of each connection that fails, and here many do
	os.Exit(m.Run())
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

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

// conformance runs the suite with four clients of one store, and a server
// that hangs.
func conformance(t *testing.T, o Options, connect func(t testing.TB) redis.UniversalClient, pause, resume func() error) {
	open := func(t *testing.T) sessioncb.Store { return store(t, connect(t), o) }
	storetest.RunWith(t, storetest.Options{
		Open:        open,
		OpenAnother: func(t *testing.T, _ sessioncb.Store) sessioncb.Store { return open(t) },
		Hang: func(t *testing.T, _ sessioncb.Store) func() {
			if err := pause(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := resume(); err != nil {
					t.Error(err)
				}
			}
		},
	})
}

func TestSingle(t *testing.T) {
	server := testserver.Redis(t)
	conformance(t, Options{}, func(t testing.TB) redis.UniversalClient {
		return client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}})
	}, server.Pause, server.Resume)
}

func TestSentinel(t *testing.T) {
	set := testserver.Sentinel(t)
	conformance(t, Options{WaitReplicas: 1, WaitTimeout: time.Second}, func(t testing.TB) redis.UniversalClient {
		return client(t, redis.UniversalOptions{MasterName: testserver.MasterName, Addrs: set.Addrs()})
	}, set.Pause, set.Resume)
}

func TestCluster(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 1)
	conformance(t, Options{WaitReplicas: 1, WaitTimeout: time.Second}, func(t testing.TB) redis.UniversalClient {
		return client(t, redis.UniversalOptions{Addrs: cluster.Addrs()})
	}, cluster.Pause, cluster.Resume)
}
