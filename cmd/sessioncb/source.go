package main

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/ssl"
)

// A source gives the sessions of a file.
type source struct {
	format string // "PEM", "DER" or "bolt file"
	each   func(f func(*entry) error) error
	close  func() error
}

// An entry is one session of a source.
type entry struct {
	id      []byte
	session *ssl.Session // nil: sealed, or not readable
	err     error        // why it is not readable

	// Of a store only:
	storedBytes int
	storedUntil time.Time // zero: it says none
	sealedBy    string    // the id of the key, "" if the value is not sealed
	idContext   []byte    // as the envelope has it
}

func (e *entry) close() {
	if e.session != nil {
		e.session.Close()
	}
}

// maxInput bounds PEM and DER: a session has some kilobytes.
const maxInput = 16 << 20

// source opens o.file and finds out what it is.
func (o *inspectOptions) source(stdin io.Reader) (*source, error) {
	if o.file == "-" {
		return o.encoded(stdin, "stdin")
	}
	// Looked at first: a bolt file of many gigabytes is not read whole, and
	// opening a FIFO is left to who names one.
	f, err := os.Open(o.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := make([]byte, boltMagicAt+4)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if isBolt(start[:n]) {
		f.Close()
		return o.bolt()
	}
	return o.encoded(io.MultiReader(bytes.NewReader(start[:n]), f), o.file)
}

// bbolt's file begins with a page header of 16 bytes, then its magic number in
// the order of the machine that made it.
const (
	boltMagicAt = 16
	boltMagic   = 0xED0CDAED
)

func isBolt(start []byte) bool {
	return len(start) >= boltMagicAt+4 && binary.NativeEndian.Uint32(start[boltMagicAt:]) == boltMagic
}

// encoded reads PEM or DER.
func (o *inspectOptions) encoded(r io.Reader, name string) (*source, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxInput:
		return nil, fmt.Errorf("%s: more than %d MiB: no session in PEM or DER", name, maxInput>>20)
	case len(data) == 0:
		return nil, fmt.Errorf("%s: empty", name)
	case isBolt(data):
		return nil, fmt.Errorf("%s: a bolt file: give its path, it cannot be read from a stream", name)
	case o.keyFile != "":
		return nil, fmt.Errorf("%s: --key-file is for a bolt file, and this is none", name)
	}
	format, ders := "DER", [][]byte{data}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		format, ders = "PEM", nil
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == sessionPEM {
				ders = append(ders, block.Bytes)
			}
		}
		if len(ders) == 0 {
			return nil, fmt.Errorf("%s: PEM without a block of type %s", name, sessionPEM)
		}
	} else if data[0] != 0x30 { // SEQUENCE
		return nil, fmt.Errorf("%s: neither PEM nor DER nor a bolt file", name)
	}
	return &source{format: format, close: func() error { return nil }, each: func(f func(*entry) error) error {
		for i, der := range ders {
			s, err := ssl.ParseSession(der)
			if err != nil && len(ders) > 1 {
				err = fmt.Errorf("block %d: %w", i+1, err)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := f(&entry{id: s.ID(), session: s}); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// sessionPEM is what the openssl command calls a session.
const sessionPEM = "SSL SESSION PARAMETERS"

// bolt opens a session store to read it; with keys the sessions are unsealed.
func (o *inspectOptions) bolt() (*source, error) {
	keys, err := loadKeys(o.keyFile)
	if err != nil {
		return nil, err
	}
	store, err := boltstore.Open(o.file, boltstore.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return &source{format: "bolt file", close: store.Close, each: func(f func(*entry) error) error {
		return store.ForEach(func(key sessioncb.Key, value []byte, expires time.Time) error {
			e := storedEntry(key, value, expires)
			e.unseal(keys, value)
			return f(e)
		})
	}}, nil
}

// loadKeys loads a key file, or nothing if path is "".
func loadKeys(path string) (*sessioncb.KeyRing, error) {
	if path == "" {
		return nil, nil
	}
	return sessioncb.LoadKeyFile(path)
}

// storedEntry is what a value of a store says of itself. Without a time of
// expiry from the store, that of the envelope is taken.
func storedEntry(key sessioncb.Key, value []byte, expires time.Time) *entry {
	e := &entry{id: key.ID, storedBytes: len(value), storedUntil: expires}
	if envelope, err := sessioncb.ParseEnvelope(value); err == nil {
		e.sealedBy, e.idContext = envelope.KeyID, envelope.IDContext
		if expires.IsZero() {
			e.storedUntil = envelope.Expires
		}
	}
	return e
}

// unseal opens the value, with keys if it is sealed. It uses its memory.
func (e *entry) unseal(keys *sessioncb.KeyRing, value []byte) {
	codec := sessioncb.InsecurePlaintext()
	if e.sealedBy != "" {
		if keys == nil {
			return
		}
		codec = keys.Codec()
	}
	switch r, err := codec.Decode(sessioncb.Key{ID: e.id}, value); {
	case err != nil:
		e.err = err
	case !r.Expires.IsZero() && time.Now().After(r.Expires):
		e.err = errors.New("expired")
	default:
		e.session, e.err = ssl.ParseSession(r.DER)
	}
}
