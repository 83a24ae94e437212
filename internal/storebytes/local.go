package main

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
)

func measureMem(n, length int) ([]float64, error) {
	before := heap()
	store, err := memstore.New(memstore.Options{MaxBytes: 1 << 40, MaxEntries: 1 << 40})
	if err != nil {
		return nil, err
	}
	if err := fill(store, 4, 0, n, length); err != nil {
		return nil, err
	}
	grown := heap() - before
	of := float64(store.Len())
	return []float64{float64(store.Bytes()) / of, float64(grown) / of}, nil
}

// heap is what is alive.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one found unreachable and swept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func measureBolt(n, length int) ([]float64, error) {
	dir, err := os.MkdirTemp("", "storebytes")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sessions.bolt")
	store, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	const step = 1000 // that many wait for one commit
	size := func() float64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return float64(info.Size()) / float64(n)
	}
	if err := fill(store, step, 0, n, length); err != nil {
		return nil, err
	}
	filled := size()
	// A lifetime later all of these have gone and as many have come, a few at a time.
	for at := n; at < 4*n; at += step {
		if err := fill(store, step, at, min(at+step, 4*n), length); err != nil {
			return nil, err
		}
		if err := empty(store, step, at-n, min(at-n+step, 3*n)); err != nil {
			return nil, err
		}
	}
	return []float64{filled, size()}, nil
}
