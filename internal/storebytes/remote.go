package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb/memcachestore"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
)

// connections are open to a server at once.
const connections = 32

func measureRedis(n, length int) ([]float64, error) {
	server, err := testserver.StartRedis(testserver.Options{})
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, PoolSize: 1})
	defer client.Close()
	before, err := usedMemory(ctx, client)
	if err != nil {
		return nil, err
	}
	if err := fillRedis(server.Addr(), n, length); err != nil {
		return nil, err
	}
	after, err := usedMemory(ctx, client)
	if err != nil {
		return nil, err
	}
	var usage int64
	const samples = 100
	for range samples {
		key, err := client.RandomKey(ctx).Result()
		if err != nil {
			return nil, err
		}
		bytes, err := client.MemoryUsage(ctx, key).Result()
		if err != nil {
			return nil, err
		}
		usage += bytes
	}
	return []float64{float64(usage) / samples, float64(after-before) / float64(n)}, nil
}

// fillRedis closes its connections in the end: the server keeps buffers for
// each, and gives them back after seconds.
func fillRedis(addr string, n, length int) error {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, PoolSize: connections})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		return err
	}
	return fill(store, connections, 0, n, length)
}

// usedMemory waits until client's own connection is the only one.
func usedMemory(ctx context.Context, client *redis.Client) (int64, error) {
	for range 1000 {
		info, err := client.Info(ctx).Result()
		if err != nil {
			return 0, err
		}
		connected, err := infoNumber(info, "connected_clients")
		if err != nil {
			return 0, err
		}
		if connected == 1 {
			return infoNumber(info, "used_memory")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, fmt.Errorf("the connections that filled it do not end")
}

func infoNumber(info, name string) (int64, error) {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("INFO shows no %s", name)
}

func measureMemcached(n, length int) ([]float64, error) {
	server, err := testserver.StartMemcached(testserver.Options{Args: []string{"-m", "4096"}})
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	client := memcache.New(server.Addr())
	client.MaxIdleConns = connections
	defer client.Close()
	store, err := memcachestore.New(client, memcachestore.Options{})
	if err != nil {
		return nil, err
	}
	if err := fill(store, connections, 0, n, length); err != nil {
		return nil, err
	}
	general, err := memcachedStats(server.Addr(), "stats")
	if err != nil {
		return nil, err
	}
	if general["evictions"] != 0 || general["curr_items"] != int64(n) {
		return nil, fmt.Errorf("%d of %d items are there", general["curr_items"], n)
	}
	slabs, err := memcachedStats(server.Addr(), "stats slabs")
	if err != nil {
		return nil, err
	}
	for name, used := range slabs {
		class, what, _ := strings.Cut(name, ":")
		if what == "used_chunks" && used >= int64(n) {
			return []float64{float64(slabs[class+":chunk_size"]), float64(general["bytes"]) / float64(n)}, nil
		}
	}
	return nil, fmt.Errorf("no slab class has all items: %v", slabs)
}

// memcachedStats returns the numbers of a stats command.
func memcachedStats(addr, command string) (map[string]int64, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		return nil, err
	}
	stats := map[string]int64{}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "STAT" {
			if v, err := strconv.ParseInt(fields[2], 10, 64); err == nil {
				stats[fields[1]] = v
			}
		} else if len(fields) == 1 && fields[0] == "END" {
			return stats, nil
		}
	}
	return nil, fmt.Errorf("%s: the answer has no end: %v", command, lines.Err())
}
