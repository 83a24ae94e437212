package ssl

import (
	"runtime"
	"sync"
	"syscall"

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

	tags []uint32 // with the poller's lock held
}

// workers is the pool of this process.
var workers pool

// starts says whether there is a pool. Without threads or a descriptor to spare
// there is none, and all steps are made in place.
func (p *pool) starts() bool {
	p.once.Do(func() {
		if polls.start() != nil {
			return
		}
		event, err := cshim.Event()
		if err != nil {
			return
		}
		p.threads = runtime.GOMAXPROCS(0)
		p.ok = polls.add(event, p) == nil && cshim.StartPool(p.threads, event)
		if !p.ok {
			polls.remove(event, p, false)
			syscall.Close(event)
		}
	})
	return p.ok
}

// told wakes those whose step is done.
func (p *pool) told(uint32) {
	p.tags = cshim.TakeSteps(p.tags[:0])
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tag := range p.tags {
		p.waits[tag] <- struct{}{}
	}
}

// handshake makes a step on the pool and waits for it, behind the steps that
// came before it.
func (p *pool) handshake(c *cshim.Conn, io cshim.IO, answers []byte, until cshim.Until, r *cshim.Result) {
	polls.use() // a program without handshakes has no goroutine of this package
	defer polls.leave()
	tag, done := p.take()
	c.SubmitHandshake(io, answers, until, tag)
	<-done
	p.put(tag)
	c.StepResult(r)
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
