package memcachestore

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// BenchmarkStore: a session is put and got, or put and claimed, on loopback.
func BenchmarkStore(b *testing.B) {
	s := store(b, testserver.Memcached(b).Addr())
	value := make([]byte, 300)
	var n atomic.Int64
	for _, step := range []string{"Put", "PutGet", "PutClaim"} {
		for _, goroutines := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/%d", step, goroutines), func(b *testing.B) {
				b.SetParallelism(goroutines)
				run := func(next func() bool) {
					for next() {
						k := sessioncb.Key{ID: fmt.Append(nil, n.Add(1))}
						err := s.Put(b.Context(), k, value, time.Minute)
						switch {
						case err != nil:
						case step == "PutGet":
							_, err = s.Get(b.Context(), k)
						case step == "PutClaim":
							_, err = s.Claim(b.Context(), k)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				}
				if goroutines == 1 {
					run(b.Loop)
					return
				}
				b.RunParallel(func(pb *testing.PB) { run(pb.Next) })
			})
		}
	}
}
