package livestore_test

import (
	"fmt"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
)

// A cache of live sessions. It has nothing to seal, so it needs no keys.
func ExampleNew() {
	store, err := livestore.New(livestore.Options{MaxSessions: 5_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close() // after the last Context that uses it
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = cache // ssl.Config{SessionCache: cache}
	fmt.Println(store.Len(), "sessions; lookups wait:", !cache.Immediate())
	// Output: 0 sessions; lookups wait: false
}
