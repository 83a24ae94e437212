//go:build !race && !asan

package ssl

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// What a connection that waits for its peer costs in Go: the least stack that there
// is, and few objects. A frame that grows too large doubles the stack, which no other
// test shows.

const (
	idleConns    = 500
	mostStack    = 3000 // bytes a connection: one of 2 KiB, or else of 4
	ownFrames    = 160
	mostIdleHeap = 1200 // bytes a connection, with what Go needs for a goroutine that waits
)

func init() { testProcesses["idle"] = runIdleServer }

// runIdleServer is the server process of TestIdleConnection: connections that wait in
// Read, and were not read from before.
func runIdleServer() {
	ctx, err := NewContext(serverConfig())
	check(err)
	l, err := Listen("tcp", "127.0.0.1:0", ctx)
	check(err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fmt.Println(l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go readIdle(c)
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		waits := 0
		for limit := time.Now().Add(20 * time.Second); waits < idleConns && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
			polls.mu.Lock()
			waits = polls.users - 1 // the listener
			polls.mu.Unlock()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		fmt.Println(waits, after.StackInuse-before.StackInuse, after.HeapAlloc-before.HeapAlloc)
	}
	os.Exit(0)
}

// readIdle has as much in its frame as a program may have below Read.
//
//go:noinline
func readIdle(c net.Conn) {
	var own [ownFrames]byte
	touchOwn(&own)
	c.Read(make([]byte, 1))
	c.Close()
	touchOwn(&own)
}

//go:noinline
func touchOwn(*[ownFrames]byte) {}

func TestIdleConnection(t *testing.T) {
	// No collection before all are there: after one, Go begins with stacks of the mean size.
	addr, ask := startTestProcess(t, "idle", "GOGC=off")
	for range idleConns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
			t.Fatal(err)
		}
	}
	var waits, stack, heap int
	ask(&waits, &stack, &heap)
	t.Logf("%d wait; a connection has %d bytes of stack and %d of objects", waits, stack/idleConns, heap/idleConns)
	if waits != idleConns {
		t.Fatalf("%d connections wait, want %d", waits, idleConns)
	}
	if stack/idleConns > mostStack {
		t.Errorf("a stack is %d bytes, want %d", stack/idleConns, mostStack)
	}
	if heap/idleConns > mostIdleHeap {
		t.Errorf("objects are %d bytes, want %d", heap/idleConns, mostIdleHeap)
	}
}
