package boltstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
)

// Sessions that survive a restart: a file, and the keys beside it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	store, err := boltstore.Open(filepath.Join(dir, "sessions.bolt"), boltstore.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close() // after the last connection

	ctx, key := context.Background(), sessioncb.Key{ID: []byte("an id")}
	if err := store.Put(ctx, key, []byte("on disk when Put returns"), time.Hour); err != nil {
		fmt.Println(err)
		return
	}
	value, err := store.Get(ctx, key)
	fmt.Printf("%s, %v\n", value, err)
	// Output: on disk when Put returns, <nil>
}

// A look into the file of a server that does not run.
func ExampleStore_ForEach() {
	store, err := boltstore.Open("/no/such/sessions.bolt", boltstore.Options{ReadOnly: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	store.ForEach(func(key sessioncb.Key, value []byte, expires time.Time) error {
		fmt.Println(key.Hex(), len(value), "bytes until", expires)
		return nil
	})
	// Output: boltstore: open /no/such/sessions.bolt: open /no/such/sessions.bolt: no such file or directory
}
