package ssl

import (
	"testing"
	"time"

	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// Close while a C thread flushes: each removal reaches Go or C, and none
// reaches Go once Close returned, though a trampoline may be half-way.
func TestAttachCloseUnderFlush(t *testing.T) {
	balanced(t)
	total := int64(0)
	for range 100 {
		h := newHost(t, chost.Options{Version: 0x0304, CacheMode: chost.CacheServer, Callbacks: chost.Remove})
		inGo := &calls{}
		a := h.attach(sessioncb.Callbacks{Remove: inGo}, &AttachOptions{Existing: ReplaceExisting})
		stop, made := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for {
				select {
				case <-stop:
					made <- n
					return
				default:
					n += h.Crowd(50)
					h.Flush(0)
				}
			}
		}()
		eventually(t, "a removal reached Go", func() bool { return inGo.remove.Load() > 0 })
		a.Close()
		atClose := inGo.remove.Load()
		time.Sleep(time.Millisecond) // the C thread goes on
		close(stop)
		n := int64(<-made)
		settleOf(a)
		if late := inGo.remove.Load() - atClose; late != 0 {
			t.Errorf("%d removals were delivered after Close", late)
		}
		if inC := int64(h.Counts().Remove); atClose+inC < n {
			t.Errorf("%d sessions were removed, Go was told of %d and C of %d", n, atClose, inC)
		}
		total += atClose
		h.close()
	}
	t.Logf("%d removals", total)
}
