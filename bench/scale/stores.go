package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/sessioncb"
)

var stores = &curve{
	name: "stores", title: "Sessions in a store", x: "sessions",
	how: "Each store is filled with values of 316 bytes, as a sealed session of TLS 1.3 has, through this module's own adapter; " +
		"at each power of ten, 20,000 of them (Redis: 5,000) are looked up at random by one goroutine, five times. Processor time " +
		"of a lookup, with that of Redis beside that of its client; and the bytes of a session: of the Go heap, of bolt's file, of " +
		"Redis's `used_memory`. Memstore goes to 10^7, which takes several GB, where there is memory for it; bolt and Redis go to " +
		"10^6, as filling them takes minutes beyond.",
	charts: []chart{
		{name: "time", title: "Processor time of a lookup", y: "µs of CPU per lookup", digs: 2, logX: true, logY: true},
		{name: "bytes", title: "Bytes of a session", y: "bytes per session", logX: true},
	},
	measure: func(ctx context.Context, b *bench, r *result) error {
		defer debug.FreeOSMemory()
		for _, open := range []func() (*filled, error){openMem, openBolt, openRedis} {
			if err := grow(ctx, b, r, open); err != nil {
				return err
			}
		}
		return nil
	},
}

const (
	valueBytes    = 316
	sessionsTTL   = 2 * time.Hour
	storePatience = 180 * time.Second // to fill one store
)

// A filled store is one that is filled and asked.
type filled struct {
	name    string
	store   sessioncb.Store
	most    int // sessions
	writers int // goroutines that fill it
	gets    int // lookups of a measurement
	bytes   func() (int64, error)
	server  int // its process, 0: none
	close   func()
}

// grow fills a store to one power of ten after the other, and looks at it there.
func grow(ctx context.Context, b *bench, r *result, open func() (*filled, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.close()
	if f.server != 0 {
		// What connections and their buffers take is not of the sessions.
		if err := f.fill(ctx, -2*f.writers, 0); err != nil {
			return err
		}
	}
	empty, err := f.bytes()
	if err != nil {
		return err
	}
	begin, from := time.Now(), 0
	for n := 1000; n <= f.most; n *= 10 {
		// Ten times as many take ten times as long as what there is.
		if spent := time.Since(begin); n > 100_000 && 9*spent > storePatience {
			r.fact("%s was filled to %s sessions: more would have taken longer than %v.", f.name, number(float64(from), 0), storePatience)
			break
		}
		if err := f.fill(ctx, from, n); err != nil {
			return err
		}
		from = n
		size, err := f.bytes()
		if err != nil {
			return err
		}
		r.add("bytes", f.name, float64(n), float64(size-empty)/float64(n))
		for range 5 {
			own, server, err := f.look(ctx, n)
			if err != nil {
				return err
			}
			r.add("time", f.name, float64(n), own)
			if f.server != 0 {
				r.add("time", f.name+", the server", float64(n), server)
			}
		}
		b.say("%s, %8d sessions: %.2f µs a lookup, %.0f bytes a session", f.name, n, r.at("time", f.name, float64(n)), r.at("bytes", f.name, float64(n)))
	}
	return nil
}

// fill puts the sessions from to to-1.
func (f *filled) fill(ctx context.Context, from, to int) error {
	var next atomic.Int64
	next.Store(int64(from))
	errs := make(chan error, f.writers)
	var wg sync.WaitGroup
	for range f.writers {
		wg.Go(func() {
			value := make([]byte, valueBytes)
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				rand.Read(value) // nothing compresses
				err := ctx.Err()
				if err == nil {
					err = f.store.Put(ctx, keyOf(i), value, sessionsTTL)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil { // nil when none was sent
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

// look looks up sessions of the first n, and returns the processor time of a
// lookup in µs: of this process, and of the server.
func (f *filled) look(ctx context.Context, n int) (own, server float64, err error) {
	runtime.GC() // what filling left is not of the lookups
	begin, serverBegin, err := f.clocks()
	if err != nil {
		return 0, 0, err
	}
	for range f.gets {
		value, err := f.store.Get(ctx, keyOf(mrand.IntN(n)))
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", f.name, err)
		}
		if len(value) != valueBytes {
			return 0, 0, fmt.Errorf("%s: a value of %d bytes", f.name, len(value))
		}
	}
	end, serverEnd, err := f.clocks()
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(f.gets) }
	return each(end - begin), each(serverEnd - serverBegin), err
}

func (f *filled) clocks() (own, server time.Duration, err error) {
	if f.server != 0 {
		if server, err = host.CPUTime(f.server); err != nil {
			return 0, 0, err
		}
	}
	own, err = host.CPUTime(os.Getpid())
	return own, server, err
}

// keyOf is the i-th id: 32 bytes, spread.
func keyOf(i int) sessioncb.Key {
	id := make([]byte, 32)
	binary.BigEndian.PutUint64(id, uint64(i)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	return sessioncb.Key{ID: id}
}
