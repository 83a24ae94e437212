package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

// storeSpec is the value of --store.
type storeSpec struct {
	path string // of the bolt file; "" is memory
}

func parseStore(s string) (storeSpec, error) {
	if s == "memory" {
		return storeSpec{}, nil
	}
	if path, ok := strings.CutPrefix(s, "bolt:"); ok && path != "" {
		return storeSpec{path}, nil
	}
	return storeSpec{}, fmt.Errorf("--store %q is neither memory nor bolt:PATH", s)
}

func (s storeSpec) String() string {
	if s.path == "" {
		return "memory"
	}
	return "bolt:" + s.path
}

// keyFile is where the keys are if --key-file does not say.
func (s storeSpec) keyFile() string { return s.path + ".keys" }

// storeTimeout bounds one write to the store, and lookupTimeout one lookup. A
// file on a busy disk is slow at times, and here it is better to wait for it
// than to miss.
const (
	storeTimeout  = 5 * time.Second
	lookupTimeout = time.Second
)

// open opens the store with its keys, and makes both if they are not there.
// The caller must call close.
func (s storeSpec) open(keyFile string, log *slog.Logger) (cache *sessioncb.Cache, close func() error, err error) {
	var store sessioncb.Store
	var keys *sessioncb.KeyRing
	close = func() error { return nil }
	if s.path == "" {
		keys = sessioncb.ProcessKey()
		if store, err = memstore.New(memstore.Options{}); err != nil {
			return nil, nil, err
		}
	} else {
		bolt, err := boltstore.Open(s.path, boltstore.Options{})
		if err != nil {
			return nil, nil, err
		}
		// Keys come second: a file in use by another server is left with its own.
		if keys, err = loadOrMakeKeys(keyFile, log); err != nil {
			bolt.Close()
			return nil, nil, err
		}
		store, close = bolt, bolt.Close
	}
	cache, err = sessioncb.NewCache(store, sessioncb.CacheOptions{
		Keys: keys, LookupTimeout: lookupTimeout, PutTimeout: storeTimeout, Logger: log,
	})
	if err != nil {
		close()
		return nil, nil, err
	}
	return cache, close, nil
}

// loadOrMakeKeys makes the file if there is none. Of several processes that
// do so at once one makes it, and all load the same.
func loadOrMakeKeys(path string, log *slog.Logger) (*sessioncb.KeyRing, error) {
	keys, err := sessioncb.LoadKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	switch err := sessioncb.WriteKeyFile(path); {
	case err == nil:
		log.Info("made a key file", "path", path)
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	return sessioncb.LoadKeyFile(path)
}
