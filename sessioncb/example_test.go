package sessioncb_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// Sessions that survive a restart: a bolt file, and beside it the keys that
// seal what is in it.
func ExampleNewCache() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	keyFile := filepath.Join(dir, "session.keys")
	if err := sessioncb.WriteKeyFile(keyFile); err != nil && !errors.Is(err, fs.ErrExist) {
		log.Fatal(err)
	}
	keys, err := sessioncb.LoadKeyFile(keyFile)
	if err != nil {
		log.Fatal(err)
	}
	store, err := boltstore.Open(filepath.Join(dir, "sessions.bolt"), boltstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	_ = cache // ssl.Config{SessionCache: cache}
	fmt.Println(cache.Stats().Lookups.Hit, "hits")
	// Output: 0 hits
}

// A cache that dies with the process needs no key file.
func ExampleProcessKey() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	fmt.Println(err)
	// Output: <nil>
}

// A new key, while connections come in: it seals from now on, and what the
// old one sealed still opens.
func ExampleKeyRing_Rotate() {
	old, young := sessioncb.GenerateKey(), sessioncb.GenerateKey()
	ring, err := sessioncb.NewKeyRing(old)
	if err != nil {
		log.Fatal(err)
	}
	oldID := ring.IDs()[0]
	if err := ring.Rotate(young); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ring.IDs()), "keys; the old one is second:", ring.IDs()[1] == oldID)
	// Output: 2 keys; the old one is second: true
}

func ExampleNewKeyRing() {
	_, err := sessioncb.NewKeyRing([]byte("too short"))
	fmt.Println(err)
	// Output: sessioncb: key ring: key 1 of 1: a key has 32 bytes, not 9
}

func ExampleParseKeys() {
	keys, err := sessioncb.ParseKeys([]byte(`
# newest first; the id before the colon may be left out
07c40dcafffe9ce6:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=
YW5vdGhlciAzMi1ieXRlIGtleSBmb3IgdGhlIHJpbmc=
`))
	fmt.Println(len(keys), err)
	// Output: 2 <nil>
}

// A service that reloads its keys, on a signal, say: connections notice
// nothing.
func ExampleKeyRing_Replace() {
	ring := sessioncb.ProcessKey()
	text := []byte("07c40dcafffe9ce6:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=\n")
	keys, err := sessioncb.ParseKeys(text)
	if err != nil {
		log.Fatal(err)
	}
	if err := ring.Replace(keys...); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ring)
	// Output: KeyRing(07c40dcafffe9ce6)
}

// Sessions of a client that vanished are deleted too, and those that a fatal
// alert ended are kept.
func ExampleRemovalSet() {
	set := sessioncb.DefaultRemovals().With(sessioncb.UncleanClose).Without(sessioncb.Faulty)
	fmt.Println(set)
	// Output: explicit, unclean close, single use
}

// A store that C servers share holds plain DER.
func ExampleInsecurePlaintext() {
	store, err := memstore.New(memstore.Options{}) // theirs, in truth
	if err != nil {
		log.Fatal(err)
	}
	_, err = sessioncb.NewCache(store, sessioncb.CacheOptions{Codec: sessioncb.InsecurePlaintext()})
	fmt.Println(err)
	// Output: <nil>
}

// A lookup of one's own, in the place of a Cache.
func ExampleGetHandlerFunc() {
	sessions := map[string][]byte{} // by id; DER
	callbacks := sessioncb.Callbacks{
		Get: sessioncb.GetHandlerFunc(func(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.DER(sessions[string(id)]), nil // nil is a miss
		}),
	}
	answer, err := callbacks.Get.GetSession(context.Background(), nil, []byte("unknown"))
	fmt.Println(answer.Encoded() == nil, err)
	// Output: true <nil>
}

// A Cache in front of a store that is far, all that it can do turned on, and
// its end.
func ExampleCache_Close() {
	store, err := memstore.New(memstore.Options{}) // a remote one, in truth
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{
		Keys:        sessioncb.ProcessKey(),
		NearBytes:   64 << 20,
		WriteBehind: 10_000,
		SingleUse:   true,
		TagIDs:      true,
	})
	if err != nil {
		log.Fatal(err)
	}
	// When the last connection is closed, and before the store is:
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(cache.Close(ctx))
	// Output: <nil>
}

// Package ssl asks for the ids of new sessions; a lookup knows them again.
func ExampleCache_NewSessionID() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey(), TagIDs: true})
	if err != nil {
		log.Fatal(err)
	}
	_, ok := cache.NewSessionID()
	_, err = cache.GetSession(context.Background(), nil, make([]byte, 32)) // an id that a stranger made up
	fmt.Println(ok, err, cache.Stats().Lookups.Junk)
	// Output: true <nil> 1
}

func ExampleCache_SingleUse() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey(), SingleUse: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.SingleUse()) // ssl.Config.MaxEarlyData needs it
	// Output: true
}

// The counters of a Cache, for a monitoring system that package collector does
// not serve.
func ExampleCache_Stats() {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		log.Fatal(err)
	}
	s := cache.Stats()
	fmt.Println(s.Lookups.Offered(), "offered,", s.Lookups.Hit, "hits;", s.Puts.Offered(), "new;", s.LookupTime.Count(), "timed")
	fmt.Println("the breaker for gets is open:", s.Breakers.Get.State == sessioncb.BreakerOpen)
	// Output:
	// 0 offered, 0 hits; 0 new; 0 timed
	// the breaker for gets is open: false
}

// Keys that come from elsewhere, a secret manager, say, and change there.
func ExampleKeyRing_Follow() {
	secrets := func(ctx context.Context) ([][]byte, error) {
		return [][]byte{sessioncb.GenerateKey()}, nil // newest first
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // the keys stay as they are then
	ring := new(sessioncb.KeyRing)
	if err := ring.Follow(ctx, time.Minute, secrets); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ring.IDs()), "key")
	// Output: 1 key
}

// A key file that is replaced while the server runs.
func ExampleFollowKeyFile() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "session.keys")
	if err := sessioncb.WriteKeyFile(path); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ring, err := sessioncb.FollowKeyFile(ctx, path, time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ring.IDs()), "key")
	// Output: 1 key
}
