package main

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/sessioncb/openssl/sessioncb"
)

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
