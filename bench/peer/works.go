package peer

import (
	"maps"
	"slices"
	"sync"
)

// A record of TLS carries this much, and so does a buffer here.
const bufferSize = 16 << 10

// buffers keeps those of connections that ended, as C keeps one for all.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// zeros is what a source sends; nobody writes into it.
var zeros [bufferSize]byte

// works are what a connection does between its handshake and its Close, which
// sends close_notify.
var works = map[string]func(Conn){
	"handshake": workHandshake,
	"echo":      workEcho,
	"source":    workSource,
	"sink":      workSink,
}

func workNames() []string { return slices.Sorted(maps.Keys(works)) }

// workHandshake reads until the peer ends. No data is expected, so the buffer is
// small: that of a connection that idles is no part of what is measured.
func workHandshake(c Conn) {
	b := make([]byte, 64)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// workEcho writes back what it reads. It waits with a small buffer until its peer
// has filled that once: a Go connection has its buffer while it waits, where C and
// Node have one for all, so this is what an idle one costs.
func workEcho(c Conn) {
	b := make([]byte, 512)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
		if n == len(b) && n < bufferSize {
			large := buffers.Get().(*[bufferSize]byte)
			defer buffers.Put(large)
			b = large[:]
		}
		if err != nil {
			return
		}
	}
}

// workSource waits for one message and then writes until that fails, which it
// does when the peer is gone.
func workSource(c Conn) {
	b := make([]byte, 64)
	if _, err := c.Read(b); err != nil {
		return
	}
	for {
		if _, err := c.Write(zeros[:]); err != nil {
			return
		}
	}
}

// workSink reads until the peer ends.
func workSink(c Conn) {
	b := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(b)
	for {
		if _, err := c.Read(b[:]); err != nil {
			return
		}
	}
}
