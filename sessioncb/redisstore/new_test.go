package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/sessioncb"
)

// wrapped is a client that is none of go-redis's own.
type wrapped struct{ redis.UniversalClient }

func TestNewRefuses(t *testing.T) {
	single := func(o redis.Options) redis.UniversalClient {
		o.Addr = "127.0.0.1:1"
		return redis.NewClient(&o)
	}
	good := single(redis.Options{ContextTimeoutEnabled: true})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}, ContextTimeoutEnabled: true})
	failover := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	for _, test := range []struct {
		why    string
		client redis.UniversalClient
		o      Options
		want   string // begins the error; empty: none
	}{
		{"nothing wrong", good, Options{}, ""},
		{"a cluster", cluster, Options{WaitReplicas: 1}, ""},
		{"a ring", ring, Options{WaitReplicas: 1}, ""},
		{"Sentinel", failover, Options{WaitReplicas: 2, WaitTimeout: time.Second}, ""},
		{"somebody's wrapper", wrapped{good}, Options{}, ""},
		{"braces in a prefix, one server", good, Options{Prefix: "{a}"}, ""},
		{"half a hash tag", cluster, Options{Prefix: "{a"}, ""},
		{"an empty hash tag", cluster, Options{Prefix: "{}a"}, ""},

		{"no client", nil, Options{}, "the client is nil"},
		{"a typed nil", (*redis.Client)(nil), Options{}, "the client is nil"},
		{"a typed nil of a cluster", (*redis.ClusterClient)(nil), Options{}, "the client is nil"},
		{"a typed nil of a ring", (*redis.Ring)(nil), Options{}, "the client is nil"},
		{"go-redis's default", single(redis.Options{}), Options{}, "ContextTimeoutEnabled"},
		{"the same of a cluster", redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}), Options{}, "ContextTimeoutEnabled"},
		{"no end of reading", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: -1}), Options{}, "ReadTimeout"},
		{"no deadlines at all", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: -2}), Options{}, "ReadTimeout"},
		{"the same of a cluster", redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true, ReadTimeout: -1}), Options{}, "ReadTimeout"},
		{"copies in the client", single(redis.Options{ContextTimeoutEnabled: true, ClientSideCacheConfig: &redis.ClientSideCacheConfig{}}), Options{}, "ClientSideCache"},
		{"a hash tag", cluster, Options{Prefix: "tls:{a}:"}, "Prefix"},
		{"negative replicas", good, Options{WaitReplicas: -1}, "WaitReplicas"},
		{"negative wait", good, Options{WaitReplicas: 1, WaitTimeout: -1}, "WaitTimeout"},
		{"a wait for nothing", good, Options{WaitTimeout: time.Second}, "WaitTimeout"},
		{"a wait that the client ends", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: time.Second}), Options{WaitReplicas: 1, WaitTimeout: time.Second}, "WaitTimeout"},
		{"the default wait that the client ends", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: time.Millisecond}), Options{WaitReplicas: 1}, "WaitTimeout"},
		{"WAIT over somebody's wrapper", wrapped{good}, Options{WaitReplicas: 1}, "WaitReplicas"},
	} {
		s, err := New(test.client, test.o)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.why, err)
		case test.want != "" && (err == nil || s != nil || !strings.HasPrefix(err.Error(), "redisstore: "+test.want)):
			t.Errorf("%s: %v, want redisstore: %s...", test.why, err, test.want)
		}
	}
}

// TestWrapper: a client of another type does for all but WAIT.
func TestWrapper(t *testing.T) {
	s := store(t, wrapped{redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})}, Options{})
	if _, err := s.Get(t.Context(), sessioncb.Key{ID: []byte("k")}); err == nil || !strings.HasPrefix(err.Error(), "redisstore: get: ") {
		t.Error(err)
	}
}
