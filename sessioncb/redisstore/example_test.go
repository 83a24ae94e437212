package redisstore_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
)

// A fleet's cache in Redis. Every server of the fleet has the same keys.
func ExampleNew() {
	client := redis.NewClient(&redis.Options{
		Addr:                  "redis.example:6380",
		TLSConfig:             &tls.Config{},
		Username:              "sessions",
		Password:              "from a secret store",
		ContextTimeoutEnabled: true, // a lookup's deadline reaches the connection
		DialTimeout:           500 * time.Millisecond,
		ReadTimeout:           500 * time.Millisecond,
		MaxRetries:            1,
	})
	defer client.Close() // after the last connection

	store, err := redisstore.New(client, redisstore.Options{Prefix: "shop:tls:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := sessioncb.LoadKeyFile("/no/such/session.keys")
	if err != nil {
		fmt.Println(err)
		return
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = cache // ssl.Config{SessionCache: cache}
}

// A cluster whose sessions are used once, failover or not: a claim counts when
// both replicas of the master have it.
func ExampleOptions_waitReplicas() {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                 []string{"redis-1.example:6379", "redis-2.example:6379", "redis-3.example:6379"},
		ContextTimeoutEnabled: true,
		ReadTimeout:           500 * time.Millisecond,
	})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Options{WaitReplicas: 2, WaitTimeout: 20 * time.Millisecond})
	fmt.Println(store != nil, err)
	// Output: true <nil>
}

// A client as go-redis makes it waits for its own ReadTimeout of five seconds,
// whatever deadline the lookup has. That is an error at once.
func ExampleNew_clientOptions() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer client.Close()
	_, err := redisstore.New(client, redisstore.Options{})
	fmt.Println(err)
	// Output: redisstore: ContextTimeoutEnabled of the client is false: deadlines would not reach its connections
}

// What a fleet keeps, by expiry: for a tool.
func ExampleStore_ForEach() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true, MaxRetries: -1})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sessions := 0
	err = store.ForEach(ctx, func(key sessioncb.Key, value []byte, expires time.Time) error {
		fmt.Println(key.Hex(), len(value), "bytes until", expires)
		sessions++
		return nil
	})
	fmt.Println(sessions, "sessions, error:", err != nil)
	// Output: 0 sessions, error: true
}
