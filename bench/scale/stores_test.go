package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// A store of each kind at its first point: what was put is what is looked up.
func TestStores(t *testing.T) {
	for _, open := range []func() (*filled, error){openMem, openBolt, openRedis} {
		f, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		f.gets = 100
		before, err := f.bytes()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.fill(context.Background(), 0, 1000); err != nil {
			t.Fatal(err)
		}
		after, err := f.bytes()
		if err != nil || after-before < 1000*valueBytes {
			t.Errorf("%s: from %d to %d bytes by 1,000 values, %v", f.name, before, after, err)
		}
		own, server, err := f.look(context.Background(), 1000)
		if err != nil || own <= 0 || (server > 0) != (f.server != 0) {
			t.Errorf("%s: %v and %v µs, %v", f.name, own, server, err)
		}
		if _, err := f.store.Get(context.Background(), keyOf(1000)); !errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("%s: what was not put: %v", f.name, err)
		}
	}
}

type broken struct{ sessioncb.Store }

var errBroken = errors.New("broken")

func (broken) Put(context.Context, sessioncb.Key, []byte, time.Duration) error { return errBroken }
func (broken) Get(context.Context, sessioncb.Key) ([]byte, error)              { return nil, errBroken }

func TestStoreFails(t *testing.T) {
	f := &filled{name: "a store", store: broken{}, writers: 3, gets: 10}
	if err := f.fill(context.Background(), 0, 10); !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "a store: ") {
		t.Errorf("fill: %v", err)
	}
	if _, _, err := f.look(context.Background(), 10); !errors.Is(err, errBroken) {
		t.Errorf("look: %v", err)
	}
}
