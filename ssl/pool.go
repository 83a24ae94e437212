package ssl

import (
	"os"
	"runtime"
	"sync"

	"github.com/sessioncb/openssl/cshim"
)

// pool hands handshake steps on a descriptor to threads of C, GOMAXPROCS of
// them at its start, and wakes the goroutines that wait for them.
type pool struct {
	once  sync.Once
	ready bool

	mu    sync.Mutex
	waits []chan struct{} // by tag
	free  []uint32
}

// workers is the pool of this process.
var workers pool

// starts says whether there is a pool; without threads or descriptors there is none.
func (p *pool) starts() bool {
	p.once.Do(func() {
		fd, ok := cshim.StartPool(runtime.GOMAXPROCS(0))
		if ok {
			p.ready = true
			go p.deliver(os.NewFile(uintptr(fd), "eventfd"))
		}
	})
	return p.ready
}

// deliver wakes those whose step is done, as long as the process lives.
func (p *pool) deliver(events *os.File) {
	var tags []uint32
	for count := make([]byte, 8); ; {
		if _, err := events.Read(count); err != nil {
			panic("ssl: the eventfd of the pool: " + err.Error()) // nobody else has it
		}
		tags = cshim.TakeSteps(tags[:0])
		p.mu.Lock()
		for _, tag := range tags {
			p.waits[tag] <- struct{}{}
		}
		p.mu.Unlock()
	}
}

// handshake makes a step on the pool and waits for it.
func (p *pool) handshake(c *cshim.Conn, fd int, answers []byte, until cshim.Until) cshim.Result {
	p.mu.Lock()
	n := len(p.free)
	if n == 0 {
		p.free = append(p.free, uint32(len(p.waits)))
		p.waits = append(p.waits, make(chan struct{}, 1))
		n = 1
	}
	tag := p.free[n-1]
	p.free = p.free[:n-1]
	done := p.waits[tag]
	p.mu.Unlock()

	c.SubmitHandshake(fd, answers, until, tag)
	<-done

	p.mu.Lock()
	p.free = append(p.free, tag)
	p.mu.Unlock()
	return c.StepResult()
}
