package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// keyInterval is how often a key file is looked at.
const keyInterval = 2 * time.Second

// followKeys loads the keys, and makes the file if there is none; of several
// processes that do so at once one makes it, and all load the same. It follows
// the file until stop is called.
func followKeys(path string, log *slog.Logger) (keys *sessioncb.KeyRing, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	keys, err = sessioncb.FollowKeyFile(ctx, path, keyInterval)
	if errors.Is(err, fs.ErrNotExist) {
		switch err = sessioncb.WriteKeyFile(path); {
		case err == nil:
			log.Info("made a key file", "path", path)
		case !errors.Is(err, fs.ErrExist):
			cancel()
			return nil, nil, err
		}
		keys, err = sessioncb.FollowKeyFile(ctx, path, keyInterval)
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return keys, cancel, nil
}
