package memstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// A cache in memory: 32 MiB, about twenty thousand sessions without client
// certificates.
func ExampleNew() {
	store, err := memstore.New(memstore.Options{MaxBytes: 32 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = cache // ssl.Config{SessionCache: cache}
	fmt.Println(store.Len(), "sessions")
	// Output: 0 sessions
}

func ExampleStore_Claim() {
	store, _ := memstore.New(memstore.Options{})
	ctx, key := context.Background(), sessioncb.Key{ID: []byte("an id")}
	store.Put(ctx, key, []byte("used once"), time.Hour)
	for range 2 {
		value, err := store.Claim(ctx, key)
		fmt.Printf("%q %v\n", value, err)
	}
	// Output:
	// "used once" <nil>
	// "" sessioncb: session not found
}
