package redisstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// The rights that docs/fleet.md gives a node's user, and its tool's.
const (
	nodeRights    = "+get +set +del +getdel +wait"
	clusterRights = nodeRights + " +cluster|slots +command +asking"
	toolRights    = " +scan +pttl"
)

// A node needs these rights and no others, on the keys of its prefix.
func TestLeastRights(t *testing.T) {
	ctx := context.Background()
	one, cluster := testserver.Redis(t), testserver.RedisCluster(t, 3, 1)
	tests := []struct {
		name, rights string
		addrs        []string
		options      Options
		walks        bool
	}{
		{"one server", nodeRights, []string{one.Addr()}, Options{}, false},
		{"one server, for a tool", nodeRights + toolRights, []string{one.Addr()}, Options{}, true},
		{"cluster", clusterRights, cluster.Addrs(), Options{WaitReplicas: 1, WaitTimeout: time.Second}, false},
		{"cluster, for a tool", clusterRights + toolRights, cluster.Addrs(), Options{WaitReplicas: 1, WaitTimeout: time.Second}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, addr := range test.addrs {
				admin := redis.NewClient(&redis.Options{Addr: addr})
				rule := []any{"acl", "setuser", "node", "reset", "on", ">secret", "~" + DefaultPrefix + "*"}
				for right := range strings.FieldsSeq(test.rights) {
					rule = append(rule, right)
				}
				if err := admin.Do(ctx, rule...).Err(); err != nil {
					t.Fatal(err)
				}
				admin.Close()
			}
			c := client(t, redis.UniversalOptions{Addrs: test.addrs, Username: "node", Password: "secret", ReadTimeout: 5 * time.Second})
			s := store(t, c, test.options)
			key := sessioncb.Key{ID: []byte("an id of the node's")}
			if err := s.Put(ctx, key, []byte("value"), time.Hour); err != nil {
				t.Error(err)
			}
			if v, err := s.Get(ctx, key); string(v) != "value" {
				t.Errorf("get: %q, %v", v, err)
			}
			if v, err := s.Claim(ctx, key); string(v) != "value" {
				t.Errorf("claim: %q, %v", v, err)
			}
			if err := s.Delete(ctx, key); err != nil {
				t.Error(err)
			}
			err := s.ForEach(ctx, func(sessioncb.Key, []byte, time.Time) error { return nil })
			if (err == nil) != test.walks {
				t.Errorf("walk: %v", err)
			}
			other := store(t, c, Options{Prefix: "other:"})
			if err := other.Put(ctx, key, []byte("value"), time.Hour); err == nil || !strings.Contains(err.Error(), "NOPERM") {
				t.Errorf("put under another prefix: %v, want NOPERM", err)
			}
		})
	}
}
