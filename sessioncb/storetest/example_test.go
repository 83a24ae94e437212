package storetest_test

import (
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/sessioncb/storetest"
)

// The whole test of a Store; put your own in the place of memstore.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestStore(t *testing.T)
		storetest.Run(t, func(t *testing.T) sessioncb.Store {
			s, err := memstore.New(memstore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	}
}

// The whole test of a LiveStore; put your own in the place of livestore.
func ExampleRunLive() {
	_ = func(t *testing.T) { // func TestStore(t *testing.T)
		storetest.RunLive(t, func(t *testing.T) sessioncb.LiveStore {
			s, err := livestore.New(livestore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	}
}
