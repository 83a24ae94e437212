package ssl

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/sessioncb/openssl/cshim"
)

// A goroutine that never waits lets others run after so many records, however
// many of them a crossing moved.
func TestStreak(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, bytes := range []int{0, 1, maxRecord - 1, maxRecord, 10 * maxRecord, mostWritten} {
		ran := make(chan struct{})
		go close(ran)
		var s streak
		for records := 0; records < longestStreak; records += 1 + bytes/maxRecord {
			if s < 0 || s >= longestStreak {
				t.Fatalf("%d bytes a crossing: the streak is at %d", bytes, s)
			}
			s.add(bytes)
		}
		if s != 0 {
			t.Errorf("%d bytes a crossing: the streak goes on, at %d", bytes, s)
		}
		select {
		case <-ran:
		default:
			t.Errorf("%d bytes a crossing: nobody else ran", bytes)
		}
	}
}

const mostWritten = 1 << 20 // in a crossing, MOST_WRITTEN of cshim

// A Write that the peer reads as fast as it comes is made of crossings that end,
// so that others have their turn with the SSL.
func TestWriteHasTurns(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		balanced(t)
		ccfg := clientConfig()
		ccfg.MinVersion, ccfg.MaxVersion = version, version
		s, c := connect(t, newContext(t, serverConfig()), newContext(t, ccfg), nil, wrap)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 20*mostWritten/16+3)
		crossings, most := 0, 0
		run := s.wr.run
		s.wr.run = func(tr cshim.IO) (wait bool, in, out int) {
			wait, in, out = run(tr)
			crossings++
			most = max(most, s.wr.result.N)
			return wait, in, out
		}
		received := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(io.LimitReader(c, int64(len(sent))))
			received <- b
		}()
		if n, err := s.Write(sent); n != len(sent) || err != nil {
			t.Errorf("Write: %d, %v; want %d", n, err, len(sent))
			s.Close()
		}
		if !bytes.Equal(<-received, sent) {
			t.Error("other bytes came")
		}
		if most > mostWritten || crossings <= 20 {
			t.Errorf("%d crossings, of %d bytes at most", crossings, most)
		}
	})
}
