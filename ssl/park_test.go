package ssl

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

const (
	parkedClients = 500
	parkedLookup  = 200 * time.Millisecond
)

// runParkServer is the server process of TestParkedLookups: a Get handler that
// waits, a gauge of how many wait at once, and the number of threads then.
func runParkServer() {
	st := newStore()
	var waiting, most, threads atomic.Int64
	cfg := serverConfig()
	cfg.Tickets = TicketsStateful
	cfg.NumTickets = 1
	cfg.SessionCacheMode = CacheExternal
	cfg.LookupTimeout = time.Minute
	cfg.HandshakeTimeout = time.Minute
	cfg.SessionCallbacks = st.callbacks()
	cfg.SessionCallbacks.Get = sessioncb.GetHandlerFunc(func(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
		n := waiting.Add(1)
		defer waiting.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		// All of a round wait until the last has come, and then the time of a lookup.
		for limit := time.Now().Add(30 * time.Second); most.Load() < parkedClients && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
		}
		if n == parkedClients {
			threads.Store(int64(countThreads()))
		}
		time.Sleep(parkedLookup)
		return st.GetSession(ctx, c, id)
	})
	ctx, err := NewContext(cfg)
	check(err)
	l, err := Listen("tcp", "127.0.0.1:0", ctx)
	check(err)
	fmt.Println(l.Addr())
	var resumed atomic.Int64
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				c := nc.(*Conn)
				if c.Handshake() != nil {
					return
				}
				if c.ConnectionState().DidResume {
					resumed.Add(1)
				}
				c.Write([]byte("x"))
				io.Copy(io.Discard, c)
			}()
		}
	}()
	// Each line asks for the counts since the last.
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(most.Swap(0), resumed.Swap(0), threads.Swap(0), runtime.GOMAXPROCS(0))
	}
	os.Exit(0)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// countThreads reads the Threads line of /proc/self/status.
func countThreads() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "Threads:")
	n, _ := strconv.Atoi(strings.Fields(rest)[0])
	return n
}

// 500 lookups wait at once in a server process, and hold no thread: the
// handshakes are parked, and all of them resume.
func TestParkedLookups(t *testing.T) {
	// A server process for each: threads, once made, stay.
	eachVersion(t, parkedLookups)
}

func parkedLookups(t *testing.T, version uint16) {
	addr, askFor := startTestProcess(t, "park")
	ask := func() (most, resumed, threads, procs int) {
		askFor(&most, &resumed, &threads, &procs)
		return
	}

	client, got := newClient(t, version)
	c, err := Dial("tcp", addr, client, &ClientOptions{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	offer := got.last(t)
	ask()

	var wg sync.WaitGroup
	var resumed atomic.Int64
	for range parkedClients {
		wg.Go(func() {
			c, err := Dial("tcp", addr, client, &ClientOptions{ServerName: "localhost", Session: offer})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if c.ConnectionState().DidResume {
				resumed.Add(1)
			}
			io.ReadFull(c, make([]byte, 1))
		})
	}
	wg.Wait()
	most, served, threads, procs := ask()
	t.Logf("%d lookups waited at once, %d resumed, %d threads with GOMAXPROCS %d", most, served, threads, procs)
	if most != parkedClients {
		t.Errorf("%d lookups waited at once, want %d", most, parkedClients)
	}
	if resumed.Load() != parkedClients || served != parkedClients {
		t.Errorf("%d clients and %d server connections resumed, want %d", resumed.Load(), served, parkedClients)
	}
	if threads == 0 || threads >= procs+16 {
		t.Errorf("%d threads with GOMAXPROCS %d, want fewer than 16 more", threads, procs)
	}
}

// A connection that dies while its lookup waits frees all of it.
func TestDeathWhileParked(t *testing.T) {
	eachTransport(t, func(t *testing.T, version uint16, wrap func(net.Conn) net.Conn) {
		st := newStore()
		asked, ended := make(chan struct{}, 1), make(chan struct{}, 1)
		cfg := serverConfig()
		cfg.Tickets = TicketsStateful
		cfg.SessionCacheMode = CacheExternal
		cfg.LookupTimeout = time.Minute
		cfg.SessionCallbacks = st.callbacks()
		server := newContext(t, cfg)
		client, got := newClient(t, version)
		s, c := connect(t, server, client, nil, wrap)
		exchange(t, s, c)
		s.Close()
		c.Close()
		cb := st.callbacks()
		cb.Get = sessioncb.GetHandlerFunc(func(ctx context.Context, _ sessioncb.Conn, _ []byte) (sessioncb.Answer, error) {
			asked <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return sessioncb.Answer{}, ctx.Err()
		})
		if err := server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}
		before := cshim.ReadGauges().Conns
		s, c = pair(t, server, client, &ClientOptions{Session: got.last(t)}, wrap)
		done := make(chan error, 2)
		go func() { done <- s.Handshake() }()
		go func() { done <- c.Handshake() }()
		<-asked
		s.Close()
		<-ended
		c.Close()
		<-done
		<-done
		if n := cshim.ReadGauges().Conns; n != before {
			t.Errorf("%d connections alive, want %d", n, before)
		}
	})
}

// Cancelling a handshake ends the handler's context and closes the transport;
// a deadline of the Conn is a miss, and the handshake goes on.
func TestHandlerFollowsTheConn(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		st := newStore()
		cfg := serverConfig()
		cfg.Tickets = TicketsStateful
		cfg.SessionCacheMode = CacheExternal
		cfg.LookupTimeout = time.Minute
		cfg.SessionCallbacks = st.callbacks()
		server := newContext(t, cfg)
		client, got := newClient(t, version)
		s, c := connect(t, server, client, nil, nil)
		exchange(t, s, c)
		s.Close()
		c.Close()
		asked := make(chan struct{}, 1)
		cb := st.callbacks()
		cb.Get = sessioncb.GetHandlerFunc(func(ctx context.Context, _ sessioncb.Conn, _ []byte) (sessioncb.Answer, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return sessioncb.Answer{}, ctx.Err()
		})
		if err := server.SetSessionCallbacks(cb); err != nil {
			t.Fatal(err)
		}

		s, c = pair(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.HandshakeContext(ctx) }()
		go c.Handshake()
		<-asked
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("a cancelled handshake: %v", err)
		}
		if _, err := s.NetConn().Write(nil); err == nil {
			t.Error("the transport is open after cancelling")
		}

		s, c = pair(t, server, client, &ClientOptions{Session: got.last(t)}, nil)
		go func() { done <- c.Handshake() }()
		go func() { <-asked; s.SetReadDeadline(time.Now().Add(-time.Second)) }()
		err := s.Handshake()
		s.SetReadDeadline(time.Now().Add(10 * time.Second))
		if err != nil {
			if !isTimeout(err) {
				t.Fatal(err)
			}
			err = s.Handshake() // goes on
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if s.ConnectionState().DidResume {
			t.Error("resumed after a lookup that was cut off")
		}
	})
}
