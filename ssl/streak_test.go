package ssl

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// Others are to run after so many records, however many of them a crossing moved.
func TestStreak(t *testing.T) {
	for _, bytes := range []int{0, 1, maxRecord - 1, maxRecord, 10 * maxRecord, mostWritten} {
		var s streak
		records, over := 0, false
		for !over && records < 2*longestStreak {
			records += 1 + bytes/maxRecord
			over = s.add(bytes)
		}
		if !over || records < longestStreak || records >= longestStreak+1+bytes/maxRecord {
			t.Errorf("%d bytes a crossing: over after %d records: %v", bytes, records, over)
		}
		if s != 0 {
			t.Errorf("%d bytes a crossing: the next streak begins at %d", bytes, s)
		}
	}
}

// A Read and a Write let others run after a streak, with no lock held.
func TestStreakYields(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s, c := connect(t, newContext(t, serverConfig()), newContext(t, clientConfig()), nil, nil)
	exchange(t, s, c)
	for _, op := range []struct {
		name   string
		do     func() error
		streak *streak
	}{
		{"Write", func() error { _, err := s.Write([]byte("x")); return err }, &s.wr.streak},
		{"Read", func() error { _, err := s.Read(make([]byte, 1)); return err }, &s.rd.streak},
	} {
		t.Run(op.name, func(t *testing.T) {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			// The scheduler takes the one that yielded first once in 61 times, and not twice.
			yielded := 0
			for range 10 {
				*op.streak = longestStreak - 1
				ran := make(chan struct{})
				go close(ran)
				if op.name == "Read" {
					if _, err := c.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				if err := op.do(); err != nil {
					t.Fatal(err)
				}
				select {
				case <-ran:
					yielded++
				default:
				}
			}
			if yielded < 5 || *op.streak != 0 {
				t.Errorf("others ran in %d of 10 streaks; the next begins at %d", yielded, *op.streak)
			}
		})
	}
}

const mostWritten = 1 << 20 // in a crossing, MOST_WRITTEN of cshim

// A Write that the peer reads as fast as it comes is made of crossings that end,
// so that others have their turn with the SSL.
func TestWriteHasTurns(t *testing.T) {
	for _, row := range []struct {
		name    string
		version uint16
		cipher  string
	}{
		{"1.3", only13, ""},
		{"1.2", only12, "ECDHE-ECDSA-AES128-GCM-SHA256"},
		{"1.2 CBC", only12, "ECDHE-ECDSA-AES128-SHA"}, // many records in one SSL_write
	} {
		for _, tr := range transports {
			t.Run(row.name+"/"+tr.name, func(t *testing.T) { writeHasTurns(t, row.version, row.cipher, tr.wrap) })
		}
	}
}

func writeHasTurns(t *testing.T, version uint16, cipher string, wrap func(net.Conn) net.Conn) {
	balanced(t)
	cfg := serverConfig()
	cfg.MinVersion, cfg.MaxVersion, cfg.CipherList = version, version, cipher
	a, b := sockets(t)
	s, err := Server(wrap(b), newContext(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// Of crypto/tls, which does not offer encrypt-then-MAC: OpenSSL then writes CBC records by the dozen.
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}})
	limit := time.Now().Add(20 * time.Second)
	s.SetDeadline(limit)
	c.SetDeadline(limit)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 20*mostWritten/16+3)
	received := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(c, int64(len(sent))))
		received <- b
	}()
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	crossings, most, kept := 0, 0, 0
	aroundSteps(s, func(step *toWrite, tr cshim.IO) (wait bool, in, out int) {
		wait, in, out = step.try(tr)
		crossings++
		most, kept = max(most, s.wr.result.N), max(kept, s.wr.result.Pending)
		return wait, in, out
	})
	if n, err := s.Write(sent); n != len(sent) || err != nil {
		t.Errorf("Write: %d, %v; want %d", n, err, len(sent))
		a.Close()
	}
	if !bytes.Equal(<-received, sent) {
		t.Error("other bytes came")
	}
	if most > mostWritten || crossings <= 20 || kept > mostUnsent {
		t.Errorf("%d crossings, of %d bytes at most, with %d that the transport did not take", crossings, most, kept)
	}
}

// What one SSL_write makes at most (MULTI_BLOCK of cshim), encrypted.
const mostUnsent = 8*maxRecord + 8*256
