package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// storeTimeout bounds one write to the store, and lookupTimeout one lookup. A
// busy disk or network is slow at times, and here it is better to wait for it
// than to miss; one that hangs is left alone by the Cache's circuit breaker.
const (
	storeTimeout  = 5 * time.Second
	lookupTimeout = time.Second
)

// openCache opens the store with its keys, and makes both if they are not
// there. The caller must call close.
func (o *serveOptions) openCache(log *slog.Logger) (cache *sessioncb.Cache, close func() error, err error) {
	store, err := o.spec.open(toServe)
	if err != nil {
		return nil, nil, err
	}
	// Keys come second: a file in use by another server is left with its own.
	keys := sessioncb.ProcessKey()
	unfollow := func() {}
	if o.keyFile != "" {
		if keys, unfollow, err = followKeys(o.keyFile, log); err != nil {
			return nil, nil, errors.Join(err, store.close())
		}
	}
	putTimeout := storeTimeout
	if o.spec.shared() {
		putTimeout = sharedTimeout // a second write would not be worth more of the client's time
	}
	options := sessioncb.CacheOptions{
		Keys:          keys,
		LookupTimeout: lookupTimeout,
		PutTimeout:    putTimeout,
		Logger:        log,
		NearBytes:     o.near,
		WriteBehind:   int(o.writeBehind),
		SingleUse:     o.singleUse || o.earlyData > 0,
		TagIDs:        o.tagIDs,
	}
	if o.spec.kind == "live" { // it seals nothing and never waits
		options.LookupTimeout, options.PutTimeout = 0, 0
		if !o.tagIDs {
			options.Keys = nil
		}
	}
	cache, err = sessioncb.NewCache(store.Store, options)
	if err != nil {
		unfollow()
		return nil, nil, errors.Join(err, store.close())
	}
	return cache, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		err := cache.Close(ctx)
		if err != nil {
			err = fmt.Errorf("sessions were not stored: %w", err)
		}
		unfollow()
		return errors.Join(err, store.close())
	}, nil
}
