package sessioncb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Follow fills the ring from source at once, and again each time that every
// has passed, until ctx ends: keys change without a restart. It returns when
// the first keys are in the ring, or with the error that kept them out, and
// then follows nothing.
//
// source returns keys under the rules of NewKeyRing, the one that seals first;
// the ring copies them. An error of a later call, a panic in it and keys that
// break the rules leave the ring as it is; slog.Default is told when that
// begins and when it is over, and of new keys, by their ids. A call that
// hangs delays the next one. ctx is the source's too.
//
// A ring that follows should not be changed by other means: the next call of
// source undoes it.
func (r *KeyRing) Follow(ctx context.Context, every time.Duration, source func(context.Context) ([][]byte, error)) error {
	if source == nil {
		return errors.New("sessioncb: follow keys: the source is nil")
	}
	return r.follow(ctx, every, source, false)
}

// FollowKeyFile makes a ring of a key file, as LoadKeyFile does, and reads the
// file again each time that every has passed, as KeyRing.Follow does, until
// ctx ends. Write the new file beside the old one and rename it.
func FollowKeyFile(ctx context.Context, path string, every time.Duration) (*KeyRing, error) {
	r := new(KeyRing)
	read := func(context.Context) ([][]byte, error) { return loadKeys(path) }
	if err := r.follow(ctx, every, read, true); err != nil {
		return nil, err
	}
	return r, nil
}

// follow is Follow; it clears keys that are its own.
func (r *KeyRing) follow(ctx context.Context, every time.Duration, source func(context.Context) ([][]byte, error), ours bool) error {
	if every <= 0 {
		return fmt.Errorf("sessioncb: follow keys: the time between two looks is %v", every)
	}
	look := func() error {
		keys, err := keysOf(ctx, source)
		if err != nil {
			return fmt.Errorf("sessioncb: follow keys: %w", err)
		}
		if ours {
			defer func() {
				for _, key := range keys {
					clear(key)
				}
			}()
		}
		return r.Replace(keys...)
	}
	if err := look(); err != nil {
		return err
	}
	go func() {
		state := health{bad: "session keys cannot be read: the last ones stay", good: "session keys can be read again"}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			before := r.IDs()
			err := look()
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				state.failed(slog.Default(), time.Now(), err)
				continue
			}
			state.worked(slog.Default(), time.Now())
			if ids := r.IDs(); !slices.Equal(before, ids) {
				slog.Default().Info("sessioncb: session keys changed", "ids", ids)
			}
		}
	}()
	return nil
}

// keysOf calls source, and makes an error of a panic in it.
func keysOf(ctx context.Context, source func(context.Context) ([][]byte, error)) (keys [][]byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source panicked: %v", p)
		}
	}()
	return source(ctx)
}
