package ssl

import (
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/sessioncb/openssl/cshim"
)

// pool makes the handshake steps that have a public key operation, where
// OpenSSL has the descriptor of the transport, on threads of C: as many as
// GOMAXPROCS was with the first of them. The goroutine waits, no thread of Go
// does. Inside C a goroutine would keep a processor of Go's until the runtime's
// monitor takes it away, which it does by looking every 20 us.
type pool struct {
	once    sync.Once
	ok      bool
	threads int

	mu      sync.Mutex
	waits   []chan struct{} // by tag
	free    []uint32        // tags
	pending int             // steps that nobody was told of yet
	steps   uint64          // that were ever queued

	// Of deliver alone.
	events *os.File
	count  [8]byte
	tags   []uint32
}

// workers is the pool of this process.
var workers pool

// starts says whether there is a pool. Without threads or a descriptor to spare
// there is none, and all steps are made in place.
func (p *pool) starts() bool {
	p.once.Do(func() {
		var fd int
		p.threads = runtime.GOMAXPROCS(0)
		if fd, p.ok = cshim.StartPool(p.threads); p.ok {
			p.events = os.NewFile(uintptr(fd), "eventfd")
		}
	})
	return p.ok
}

// deliverSteps wakes those whose step is done, as long as there are steps: a
// program without handshakes has no goroutine of this package.
func deliverSteps() { workers.deliver() }

func (p *pool) deliver() {
	for {
		if _, err := p.events.Read(p.count[:]); err != nil {
			time.Sleep(time.Millisecond) // somebody closed a descriptor not his own: look without it
		}
		p.tags = cshim.TakeSteps(p.tags[:0])
		p.mu.Lock()
		for _, tag := range p.tags {
			p.waits[tag] <- struct{}{}
		}
		p.pending -= len(p.tags)
		last := p.pending == 0
		p.mu.Unlock()
		if last {
			return
		}
	}
}

// handshake makes a step on the pool and waits for it, behind the steps that
// came before it.
func (p *pool) handshake(c *cshim.Conn, io cshim.IO, answers []byte, until cshim.Until) cshim.Result {
	tag, done := p.take()
	c.SubmitHandshake(io, answers, until, tag)
	<-done
	p.put(tag)
	return c.StepResult()
}

func (p *pool) take() (tag uint32, done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps++
	p.pending++
	if p.pending == 1 {
		go deliverSteps()
	}
	if len(p.free) == 0 {
		p.free = append(p.free, uint32(len(p.waits)))
		p.waits = append(p.waits, make(chan struct{}, 1))
	}
	n := len(p.free) - 1
	tag, p.free = p.free[n], p.free[:n]
	return tag, p.waits[tag]
}

func (p *pool) put(tag uint32) {
	p.mu.Lock()
	p.free = append(p.free, tag)
	p.mu.Unlock()
}
