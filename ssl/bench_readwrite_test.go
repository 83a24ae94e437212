package ssl

import (
	"crypto/tls"
	"io"
	"runtime"
	"testing"
)

// sizes are what is read and written at once.
var sizes = []struct {
	name string
	n    int
}{
	{"64B", 64},
	{"16KiB", 16 << 10},
}

// eachSize runs f with a server of each size on each transport. The client is
// one of crypto/tls, which makes no crossing.
func eachSize[T interface {
	testing.TB
	Run(string, func(T)) bool
}](t T, f func(t T, s *Conn, c *tls.Conn, size int)) {
	for _, size := range sizes {
		for _, tr := range transports {
			t.Run(size.name+"/"+tr.name, func(t T) {
				s, c := crossingPairOver(t, tls.VersionTLS13, tr.wrap)
				f(t, s, c, size.n)
			})
		}
	}
}

// BenchmarkRead has data ready most of the time.
func BenchmarkRead(b *testing.B) {
	eachSize(b, func(b *testing.B, s *Conn, c *tls.Conn, size int) {
		go func() {
			for buf := make([]byte, size); ; {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}()
		buf := make([]byte, size)
		measure(b, size, func() {
			if _, err := io.ReadFull(s, buf); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkWrite has a peer that reads all.
func BenchmarkWrite(b *testing.B) {
	eachSize(b, func(b *testing.B, s *Conn, c *tls.Conn, size int) {
		go io.Copy(io.Discard, drained{c})
		buf := make([]byte, size)
		measure(b, size, func() {
			if _, err := s.Write(buf); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// drained reads below TLS: the peer's decrypting is not measured.
type drained struct{ c *tls.Conn }

func (d drained) Read(b []byte) (int, error) { return d.c.NetConn().Read(b) }

// measure reports the crossings, and fails the benchmark if f allocates. What the
// whole process allocates now and then is less than one an operation.
func measure(b *testing.B, size int, f func()) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	f()
	b.ResetTimer()
	var before, after runtime.MemStats
	made := cost(&before, &after, func() {
		for range b.N {
			f()
		}
	})
	b.ReportMetric(float64(made.Crossings)/float64(b.N), "crossings/op")
	if n := made.Allocs / int64(b.N); b.N >= 100 && n > 0 {
		b.Errorf("%d allocations an operation", n)
	}
}
