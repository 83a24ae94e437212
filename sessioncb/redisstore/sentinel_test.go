package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// TestSentinelFailover: the same client goes on with the new master. With one
// replica that took over and none left, a claim that waits fails closed.
func TestSentinelFailover(t *testing.T) {
	set := testserver.Sentinel(t)
	c := client(t, redis.UniversalOptions{MasterName: testserver.MasterName, Addrs: set.Addrs(), ReadTimeout: 500 * time.Millisecond})
	s := store(t, c, Options{WaitReplicas: 1, WaitTimeout: 200 * time.Millisecond})
	k, claimed := sessioncb.Key{ID: []byte("k")}, sessioncb.Key{ID: []byte("claimed")}
	for _, k := range []sessioncb.Key{k, claimed} {
		if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	master, replica, err := set.Master()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Claim(t.Context(), claimed); err != nil || string(v) != "v" {
		t.Fatalf("Claim: %q, %v", v, err)
	}
	// The claim is on the replica when Claim has returned, and k was put before it.
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	eventually(t, "the client has found the new master", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return s.Put(ctx, sessioncb.Key{ID: []byte("new")}, []byte("v"), time.Hour) == nil
	})
	t.Logf("%v from the master's death to the first Put", time.Since(died).Round(100*time.Millisecond))
	eventually(t, "the sentinel says that the replica is the master", func() bool {
		now, _, err := set.Master()
		return err == nil && now == replica
	})
	if _, err := s.Claim(t.Context(), claimed); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("what was claimed before the failover: %v", err)
	}
	if v, err := s.Get(t.Context(), k); err != nil || string(v) != "v" {
		t.Errorf("what was put before the failover: %q, %v", v, err)
	}
	var few *ReplicasError
	if v, err := s.Claim(t.Context(), k); v != nil || !errors.As(err, &few) {
		t.Errorf("a claim without a replica: %q, %v", v, err)
	}
	if _, err := s.Get(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("and it is gone: %v", err)
	}
}
