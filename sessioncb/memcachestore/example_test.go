package memcachestore_test

import (
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memcachestore"
)

// A fleet's cache in two memcacheds. Every server of the fleet has the same
// list, in the same order, and the same keys.
func ExampleNew() {
	client := memcache.New("10.0.0.1:11211", "10.0.0.2:11211")
	client.Timeout = 200 * time.Millisecond
	client.MaxIdleConns = 64 // as many as calls at once
	defer client.Close()     // after the last connection

	store, err := memcachestore.New(client, memcachestore.Options{Prefix: "shop:tls:"})
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

// What memcached would refuse later is refused at once.
func ExampleOptions() {
	_, err := memcachestore.New(memcache.New("127.0.0.1:11211"), memcachestore.Options{Prefix: "my sessions"})
	fmt.Println(err)
	// Output: memcachestore: Prefix "my sessions": memcached takes no spaces or control characters in a key
}
