package ssl

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/sessioncb/openssl/cshim"
)

// A step makes one crossing with the transport it is given. It reports
// whether it must wait for the transport before it is called again, and how
// much of the borrowed memory it used; of a descriptor, in is 1 if nothing was
// left to read.
type step interface {
	try(tr cshim.IO) (wait bool, in, out int)
}

// A stepFunc is a function that is a step.
type stepFunc func(tr cshim.IO) (wait bool, in, out int)

func (f stepFunc) try(tr cshim.IO) (wait bool, in, out int) { return f(tr) }

// A transport runs steps until one need not wait. input and output may run at
// the same time; each is called by one goroutine at a time.
type transport interface {
	input(step) error  // waits for bytes of the peer
	output(step) error // waits for room
	// established ends the time in which input also sends.
	established()
	conn() net.Conn
}

// newTransport drives a descriptor where conn is exactly a *net.TCPConn or
// *net.UnixConn. A type that embeds one promotes SyscallConn and must not be
// bypassed, so every other conn goes through memory.
func newTransport(conn net.Conn) (transport, error) {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *socket:
		return c, nil
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() != "unix" {
			return newMemory(conn), nil
		}
		raw, err = c.SyscallConn()
	default:
		return newMemory(conn), nil
	}
	if err != nil {
		return nil, err
	}
	return newDescriptor(conn, raw), nil
}

// descriptor lets OpenSSL read and write the socket itself: the step is the
// poll function, so no readiness is lost between a try and a wait.
type descriptor struct {
	of                net.Conn
	raw               syscall.RawConn
	in, out           step
	inReady, outReady func(fd uintptr) bool // made once: a closure a call would be an allocation
}

func newDescriptor(of net.Conn, raw syscall.RawConn) *descriptor {
	d := &descriptor{of: of, raw: raw}
	d.inReady = func(fd uintptr) bool {
		wait, _, _ := d.in.try(cshim.IO{FD: int(fd)})
		return !wait
	}
	d.outReady = func(fd uintptr) bool {
		wait, _, _ := d.out.try(cshim.IO{FD: int(fd)})
		return !wait
	}
	return d
}

func (d *descriptor) input(s step) error {
	d.in = s
	return d.raw.Read(d.inReady)
}

func (d *descriptor) output(s step) error {
	d.out = s
	return d.raw.Write(d.outReady)
}

func (d *descriptor) established() {}

func (d *descriptor) conn() net.Conn { return d.of }

// memory carries the bytes of any net.Conn through buffers that a step borrows.
type memory struct {
	of        net.Conn
	buf       []byte // input not consumed yet: buf[r:w]
	r, w      int
	eof       bool
	lent      cshim.Memory  // to a step of input
	broken    error         // of a write that may have lost bytes: every later one's
	handshake *cshim.Memory // output of input, until the handshake is done
}

const (
	inputSize  = 16<<10 + 1024 // a record
	outputSize = 64 << 10
)

// outputs are what steps borrow for output.
var outputs = sync.Pool{New: func() any { return &cshim.Memory{Out: make([]byte, outputSize)} }}

func newMemory(conn net.Conn) *memory {
	return &memory{of: conn, handshake: outputs.Get().(*cshim.Memory)}
}

func (m *memory) established() {
	if m.handshake != nil {
		outputs.Put(m.handshake)
		m.handshake, m.lent = nil, cshim.Memory{}
	}
}

func (m *memory) conn() net.Conn { return m.of }

func (m *memory) input(s step) error {
	if m.handshake != nil && m.broken != nil {
		return m.broken // the peer waits for what was lost
	}
	for {
		m.lent = cshim.Memory{In: m.buf[m.r:m.w], EOF: m.eof}
		if m.handshake != nil {
			m.lent.Out = m.handshake.Out
		}
		wait, in, out := s.try(cshim.IO{Memory: &m.lent})
		m.r += in
		if err := m.send(m.lent.Out[:out]); err != nil {
			return err
		}
		if !wait {
			return nil
		}
		if err := m.fill(); err != nil {
			return err
		}
	}
}

// send writes what a step produced. What a failed Write did not take is lost,
// so nothing can follow it.
func (m *memory) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if m.broken == nil {
		_, m.broken = m.of.Write(b)
	}
	return m.broken
}

// fill reads what comes; the end of input is for OpenSSL to judge.
func (m *memory) fill() error {
	if m.buf == nil {
		m.buf = make([]byte, inputSize)
	}
	if m.r == m.w {
		m.r, m.w = 0, 0
	} else if m.w == len(m.buf) {
		m.w = copy(m.buf, m.buf[m.r:m.w])
		m.r = 0
	}
	n, err := m.of.Read(m.buf[m.w:])
	m.w += n
	switch {
	case n > 0:
		return nil // an error with it comes again
	case err == io.EOF:
		m.eof = true
		return nil
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

func (m *memory) output(s step) error {
	lent := outputs.Get().(*cshim.Memory)
	defer outputs.Put(lent)
	for {
		wait, _, out := s.try(cshim.IO{Memory: lent})
		if err := m.send(lent.Out[:out]); err != nil {
			return err
		}
		if !wait {
			return nil
		}
	}
}
