package ssl

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// crowdClients are how many handshakes are made at once.
const crowdClients = 500

// runCrowdServer is the server process of TestPoolThreads: it makes all
// handshakes at once, and says how many threads there were meanwhile.
func runCrowdServer() {
	cfg := serverConfig()
	cfg.HandshakeTimeout = -1
	ctx, err := NewContext(cfg)
	check(err)
	inner, err := net.Listen("tcp", "127.0.0.1:0") // the handshakes of Listen's own need no pool
	check(err)
	l, err := NewListener(inner, ctx)
	check(err)
	fmt.Println(l.Addr())
	lock := os.Getenv("SESSIONCB_TEST_FAULT") == "a thread each"
	start := make(chan struct{})
	var done sync.WaitGroup
	for range crowdClients {
		nc, err := l.Accept()
		check(err)
		c := nc.(*Conn)
		awaitBytes(c.NetConn())
		done.Go(func() {
			if lock {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			<-start
			check(c.Handshake())
			_, err := c.Write([]byte("x"))
			check(err)
		})
	}
	most := 0
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most = max(most, countThreads())
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	close(start)
	done.Wait()
	close(stop)
	<-stopped
	steps, _ := workers.state()
	fmt.Println(most, runtime.GOMAXPROCS(0), workers.threads, steps)
	os.Exit(0)
}

// crowd has the server process make all handshakes at once.
func crowd(t *testing.T, fault string) (threads, procs, pool, steps int) {
	t.Helper()
	addr, ask := startTestProcess(t, "crowd", "SESSIONCB_TEST_FAULT="+fault)
	client, _ := newClient(t, only12)
	var wg sync.WaitGroup
	for range crowdClients {
		wg.Go(func() {
			c, err := Dial("tcp", addr, client, &ClientOptions{ServerName: "localhost"})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ask(&threads, &procs, &pool, &steps)
	return threads, procs, pool, steps
}

// 500 handshakes at once have the threads of the pool, and few of Go's.
func TestPoolThreads(t *testing.T) {
	threads, procs, pool, steps := crowd(t, "")
	t.Logf("%d threads with GOMAXPROCS %d and %d of the pool; %d steps", threads, procs, pool, steps)
	if steps < crowdClients {
		t.Errorf("%d steps on the pool for %d handshakes: this shows nothing", steps, crowdClients)
	}
	most := procs + pool + 16 // Go has some of its own, and a few more on a busy machine
	if threads == 0 || threads > most {
		t.Errorf("%d threads, want %d at most", threads, most)
	}
	// The same count sees a thread for each handshake.
	if threads, _, _, _ := crowd(t, "a thread each"); threads <= most {
		t.Errorf("%d threads with one for each handshake: the test above shows nothing", threads)
	}
}
