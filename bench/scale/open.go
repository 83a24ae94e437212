package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
)

// memBytes is what a session in memory needs at most, with what the collector
// wants beside it.
const memBytes = 1200

func openMem() (*filled, error) {
	store, err := memstore.New(memstore.Options{MaxBytes: 1 << 40, MaxEntries: 1 << 40})
	if err != nil {
		return nil, err
	}
	f := &filled{name: "memstore", store: store, most: 10_000_000, writers: 2, gets: 20_000, bytes: heap, close: func() {}}
	for free := freeMemory(); f.most > 1_000_000 && int64(f.most)*memBytes > free; {
		f.most /= 10
	}
	return f, nil
}

// heap is what is alive.
func heap() (int64, error) {
	runtime.GC()
	runtime.GC() // what the first one found unreachable and swept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), nil
}

// freeMemory is what the machine has to give, page cache included, in bytes.
func freeMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// openBolt has more writers than one commit takes ops, as each waits for its own.
func openBolt() (*filled, error) {
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "sessions.bolt")
	store, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	size := func() (int64, error) {
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		return st.Size, err
	}
	return &filled{name: "boltstore", store: store, most: 1_000_000, writers: 1000, gets: 20_000, bytes: size, close: func() {
		store.Close()
		os.RemoveAll(dir)
	}}, nil
}

func openRedis() (*filled, error) {
	server, err := testserver.StartRedis(testserver.Options{})
	if err != nil {
		return nil, err
	}
	const connections = 32
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, PoolSize: connections})
	stop := func() {
		client.Close()
		server.Stop()
	}
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		stop()
		return nil, err
	}
	used := func() (int64, error) {
		info, err := client.Info(context.Background(), "memory").Result()
		if err != nil {
			return 0, fmt.Errorf("redis: %w", err)
		}
		for line := range strings.Lines(info) {
			if value, ok := strings.CutPrefix(line, "used_memory:"); ok {
				return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			}
		}
		return 0, errors.New("redis: INFO shows no used_memory")
	}
	return &filled{
		name: "Redis", store: store, most: 1_000_000, writers: connections, gets: 5_000,
		bytes: used, server: server.Pid(), close: stop,
	}, nil
}
