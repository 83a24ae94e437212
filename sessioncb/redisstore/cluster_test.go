package redisstore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// direct returns a client of one server, whatever the cluster thinks of it.
func direct(t testing.TB, s *testserver.Server) *redis.Client {
	t.Helper()
	return client(t, redis.UniversalOptions{Addrs: []string{s.Addr()}}).(*redis.Client)
}

// eventually waits for what takes a server some time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestClaimGoesToTheMaster, also of a client whose reads go to replicas.
func TestClaimGoesToTheMaster(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 1)
	getdels := func() map[string]string {
		n := map[string]string{}
		for _, s := range cluster.Servers {
			n[s.Addr()] = stat(t, direct(t, s), "getdel")
		}
		return n
	}
	replicas := map[string]*redis.Client{}
	for i := range 100 {
		_, of, err := cluster.Owner(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		replicas[of[0].Addr()] = direct(t, of[0])
	}
	gets := func() (n int) {
		for _, r := range replicas {
			n += atoi(t, stat(t, r, "get"))
		}
		return n
	}
	for _, test := range []struct {
		why string
		o   redis.ClusterOptions
	}{
		{"ReadOnly", redis.ClusterOptions{ReadOnly: true}},
		{"RouteByLatency", redis.ClusterOptions{RouteByLatency: true}},
		{"RouteRandomly", redis.ClusterOptions{RouteRandomly: true}},
	} {
		for _, so := range []Options{{}, {WaitReplicas: 1, WaitTimeout: time.Second}} {
			t.Run(fmt.Sprintf("%s/%d replicas", test.why, so.WaitReplicas), func(t *testing.T) {
				if raceEnabled && test.o.RouteByLatency {
					t.Skip("go-redis v9.23.0 has a race of its own here: a node's first ping reads Client.himport while NewClusterClient's OnNewNode sets it")
				}
				o := test.o
				o.Addrs, o.ContextTimeoutEnabled = cluster.Addrs(), true
				c := redis.NewClusterClient(&o)
				defer c.Close()
				s := store(t, c, so)
				const sessions = 50
				fill(t, s, sessions)
				before, read := getdels(), gets()
				for i := range sessions {
					k := sessioncb.Key{ID: fmt.Appendf(nil, "\x00%d\xff", i)}
					eventually(t, "each server that is read from has it", func() bool {
						_, err := s.Get(t.Context(), k)
						return err == nil
					})
					if v, err := s.Claim(t.Context(), k); err != nil || string(v) != fmt.Sprint("value ", i) {
						t.Fatalf("claim %d: %q, %v", i, v, err)
					}
				}
				claimed := 0
				for addr, n := range getdels() {
					here := atoi(t, n) - atoi(t, before[addr])
					if _, isReplica := replicas[addr]; isReplica && here > 0 {
						t.Errorf("%d claims came to a replica", here)
					}
					claimed += here
				}
				if claimed != sessions {
					t.Errorf("the servers saw %d claims, want %d", claimed, sessions)
				}
				// Latencies on loopback are alike, so of RouteByLatency it is not known.
				if test.why != "RouteByLatency" && gets() == read {
					t.Error("no read went to a replica: the client's option was not seen")
				}
			})
		}
	}
}

func TestForEachOfACluster(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 0)
	s := store(t, client(t, redis.UniversalOptions{Addrs: cluster.Addrs()}), Options{})
	want := fill(t, s, 3*walkStep)
	if diff := cmp.Diff(want, walk(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClaimFollowsASlot that moves from one master to another, also over the
// connection that WAIT needs.
func TestClaimFollowsASlot(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 1)
	const tag = "{moves}" // in the ids: all have one slot
	key := func(i int) sessioncb.Key { return sessioncb.Key{ID: fmt.Appendf(nil, "%s%d", tag, i)} }
	from, _, err := cluster.Owner(tag)
	if err != nil {
		t.Fatal(err)
	}
	to := cluster.Servers[0]
	if to == from {
		to = cluster.Servers[1]
	}
	source, target := direct(t, from), direct(t, to)
	do := func(c *redis.Client, args ...any) string {
		t.Helper()
		v, err := c.Do(t.Context(), args...).Result()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return fmt.Sprint(v)
	}
	slot := do(source, "cluster", "keyslot", tag)
	fromID, toID := do(source, "cluster", "myid"), do(target, "cluster", "myid")

	stores := []*Store{}
	for _, o := range []Options{{}, {WaitReplicas: 1, WaitTimeout: time.Second}} {
		stores = append(stores, store(t, client(t, redis.UniversalOptions{Addrs: cluster.Addrs()}), o))
	}
	for i := range 8 {
		if err := stores[0].Put(t.Context(), key(i), []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(when string, i int) {
		t.Helper()
		s := stores[i%2]
		if v, err := s.Claim(t.Context(), key(i)); err != nil || string(v) != "v" {
			t.Errorf("%s, %d replicas: %q, %v", when, s.wait.replicas, v, err)
		}
		if _, err := s.Claim(t.Context(), key(i)); !errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("%s, claimed again: %v", when, err)
		}
	}
	claim("before", 0)
	claim("before", 1)
	do(target, "cluster", "setslot", slot, "importing", fromID)
	do(source, "cluster", "setslot", slot, "migrating", toID)
	for i := 4; i < 8; i++ {
		do(source, "migrate", "127.0.0.1", to.Port(), DefaultPrefix+string(key(i).ID), 0, 5000)
	}
	if err := source.Get(t.Context(), DefaultPrefix+string(key(4).ID)).Err(); !isAsk(err) {
		t.Fatalf("the slot does not move: %v", err)
	}
	claim("not moved yet", 2)
	claim("not moved yet", 3)
	claim("moved already", 4)
	claim("moved already", 5)
	do(target, "cluster", "setslot", slot, "node", toID)
	do(source, "cluster", "setslot", slot, "node", toID)
	claim("moved, and the client does not know", 6)
	claim("moved, and the client does not know", 7)
}

func isAsk(err error) bool { _, ok := redis.IsAskError(err); return ok }

// TestFailover is what WAIT is for. A replica is behind when its master dies,
// and becomes master: a session that was claimed without WAIT is there again
// and is claimed a second time. With WAIT the first claim had failed, so the
// second is the only one.
func TestFailover(t *testing.T) {
	cluster := testserver.RedisCluster(t, 3, 1)
	c := client(t, redis.UniversalOptions{Addrs: cluster.Addrs(), ReadTimeout: 500 * time.Millisecond})
	plain := store(t, c, Options{})
	waits := store(t, c, Options{WaitReplicas: 1, WaitTimeout: 50 * time.Millisecond})
	const tag = "{slot}" // in the ids, so that all are with one master
	a, b := sessioncb.Key{ID: []byte(tag + "a")}, sessioncb.Key{ID: []byte(tag + "b")}
	master, replicas, err := cluster.Owner(tag)
	if err != nil {
		t.Fatal(err)
	}
	replica := replicas[0]
	for _, k := range []sessioncb.Key{a, b} {
		if err := plain.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	onReplica := direct(t, replica)
	eventually(t, "the replica has both", func() bool { return onReplica.DBSize(t.Context()).Val() == 2 })

	// The replica stops reading. What fits into the sockets' buffers it will
	// read later, master or not, so these are filled first.
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	filler := make([]byte, 1<<20)
	for i := range 24 {
		k := DefaultPrefix + tag + "filler " + fmt.Sprint(i)
		if err := c.Set(t.Context(), k, filler, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := plain.Claim(t.Context(), a); err != nil || string(v) != "v" {
		t.Fatalf("the first claim without WAIT: %q, %v", v, err)
	}
	v, err := waits.Claim(t.Context(), b)
	var few *ReplicasError
	if !errors.As(err, &few) || *few != (ReplicasError{Want: 1}) || v != nil {
		t.Fatalf("the first claim with WAIT: %q, %v, want a ReplicasError", v, err)
	}
	for _, k := range []sessioncb.Key{a, b} {
		if _, err := plain.Claim(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("claimed again, from the same master: %v", err)
		}
	}
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	eventually(t, "the replica takes over", func() bool {
		now, _, err := cluster.Owner(tag)
		return err == nil && now == replica
	})
	eventually(t, "the client has found it", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return plain.Put(ctx, sessioncb.Key{ID: []byte(tag + "c")}, []byte("v"), time.Hour) == nil
	})
	t.Logf("%v from the master's death to the first Put", time.Since(died).Round(100*time.Millisecond))
	if v, err := plain.Claim(t.Context(), a); err != nil || string(v) != "v" {
		t.Errorf("without WAIT: %q, %v; it should be back, or this test does not show what WAIT is for", v, err)
	}
	if v, err := plain.Claim(t.Context(), b); err != nil || string(v) != "v" {
		t.Errorf("with WAIT: %q, %v; it is back too, to be claimed for the first time", v, err)
	}
}
