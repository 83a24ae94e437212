package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/sessioncb/livestore"
	"github.com/sessioncb/openssl/sessioncb/memcachestore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
)

// openStore is a store with what the command does beside the Cache.
type openStore struct {
	sessioncb.Store
	close func() error
	// each walks over the sessions; nil: this kind cannot list.
	each func(ctx context.Context, f func(key sessioncb.Key, value []byte, expires time.Time) error) error
}

// access is what a store is opened for.
type access int

const (
	toServe access = iota // a bolt file that is not there is made
	toRead                // a bolt file is opened read-only
	toRemove
)

// open opens the store. A shared one need not be reachable yet.
func (s storeSpec) open(a access) (*openStore, error) {
	switch s.kind {
	case "memory":
		store, err := memstore.New(memstore.Options{})
		if err != nil {
			return nil, err
		}
		return &openStore{Store: store, close: func() error { return nil }}, nil
	case "live":
		store, err := livestore.New(livestore.Options{})
		if err != nil {
			return nil, err
		}
		return &openStore{Store: store, close: store.Close}, nil
	case "bolt":
		return s.openBolt(a)
	case "memcache":
		return s.openMemcache()
	}
	client, err := s.redisClient()
	if err != nil {
		return nil, err
	}
	store, err := redisstore.New(client, redisstore.Options{Prefix: s.prefix, WaitReplicas: s.waitReplicas})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &openStore{Store: store, close: client.Close, each: store.ForEach}, nil
}

func (s storeSpec) openBolt(a access) (*openStore, error) {
	if a == toRemove { // a wrong path makes no file
		if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	store, err := boltstore.Open(s.path, boltstore.Options{ReadOnly: a == toRead})
	if err != nil {
		return nil, err
	}
	each := func(ctx context.Context, f func(sessioncb.Key, []byte, time.Time) error) error {
		return store.ForEach(func(key sessioncb.Key, value []byte, expires time.Time) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(key, value, expires)
		})
	}
	return &openStore{Store: store, close: store.Close, each: each}, nil
}

func (s storeSpec) openMemcache() (*openStore, error) {
	var servers memcache.ServerList
	if err := servers.SetServers(s.hosts...); err != nil {
		return nil, fmt.Errorf("memcache: %w", err)
	}
	client := memcache.NewFromSelector(&servers)
	client.Timeout = sharedTimeout
	client.MaxIdleConns = 32
	store, err := memcachestore.New(client, memcachestore.Options{Prefix: s.prefix})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &openStore{Store: store, close: client.Close}, nil
}
