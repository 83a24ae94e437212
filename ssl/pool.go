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

	mu    sync.Mutex
	waits []chan struct{} // by tag
	free  []uint32        // tags
	steps uint64          // that were ever queued
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
			go p.deliver(os.NewFile(uintptr(fd), "eventfd"))
		}
	})
	return p.ok
}

// deliver wakes those whose step is done, as long as the process lives.
func (p *pool) deliver(events *os.File) {
	var tags []uint32
	for count := make([]byte, 8); ; {
		if _, err := events.Read(count); err != nil {
			time.Sleep(time.Millisecond) // somebody closed a descriptor not his own: look without it
		}
		tags = cshim.TakeSteps(tags[:0])
		p.mu.Lock()
		for _, tag := range tags {
			p.waits[tag] <- struct{}{}
		}
		p.mu.Unlock()
	}
}

// handshake makes a step on the pool and waits for it, behind the steps that
// came before it.
func (p *pool) handshake(c *cshim.Conn, fd int, answers []byte, until cshim.Until) cshim.Result {
	tag, done := p.take()
	c.SubmitHandshake(fd, answers, until, tag)
	<-done
	p.put(tag)
	return c.StepResult()
}

func (p *pool) take() (tag uint32, done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps++
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
