package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/sessioncb/openssl/bench/internal/record"
)

// The tests have servers and a load of their own, which speak as the real ones
// and only pretend to work: this test's own binary, started with FAKE set.
func TestMain(m *testing.M) {
	how := os.Getenv("FAKE")
	switch {
	case how == "":
		os.Exit(m.Run())
	case slices.Contains(os.Args, "-store"):
		fakeServer(how)
	default:
		fakeLoad(how)
	}
}

// fakeServer counts what the fake load tells it.
func fakeServer(how string) {
	if how == "server-refuses" {
		fmt.Fprintln(os.Stderr, "this peer does not have that")
		os.Exit(2)
	}
	store, version := os.Args[slices.Index(os.Args, "-store")+1], os.Args[slices.Index(os.Args, "-version")+1]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", l.Addr())
	var mu sync.Mutex
	var st record.Stats
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var told record.Load
			if json.NewDecoder(c).Decode(&told) == nil {
				mu.Lock()
				st.Accepted += told.Ops + 1
				st.Handshakes += told.Ops + 1
				st.Resumed += told.Resumed
				if store == "der" || store == "ref" {
					st.Lookups, st.Hits, st.Stored = st.Lookups+told.Resumed, st.Hits+told.Resumed, st.Stored+1
					if version == "1.3" {
						st.Stored += told.Ops
					}
				}
				mu.Unlock()
			}
			c.Write([]byte("\n"))
			c.Close()
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		mu.Lock()
		b, _ := json.Marshal(st)
		mu.Unlock()
		fmt.Println(string(b))
	}
	os.Exit(0)
}

// fakeLoad pretends to have done 1000 operations.
func fakeLoad(how string) {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	addr, work := fs.String("addr", "", ""), fs.String("work", "", "")
	for _, name := range []string{"pid", "version", "conns", "warmup", "seconds", "size", "cert", "key"} {
		fs.String(name, "", "")
	}
	if err := fs.Parse(os.Args[1:]); err != nil {
		os.Exit(1)
	}
	r := record.Load{Ops: 1000, Bytes: 1000 << 14, Seconds: 1, ServerCPU: 0.9, ClientCPU: 0.3, P50: 100, P99: 900}
	switch *work {
	case "resume":
		r.Resumed = r.Ops
		if how == "not-resumed" {
			r.Resumed, r.Full = 990, 10
		}
	case "full":
		r.Full = r.Ops
	}
	if how == "load-dies" {
		fmt.Fprintln(os.Stderr, "load: connection refused")
		os.Exit(1)
	}
	c, err := net.Dial("tcp", *addr)
	if err != nil {
		panic(err)
	}
	json.NewEncoder(c).Encode(r)
	io.ReadAll(c)
	b, _ := json.Marshal(r)
	fmt.Println(string(b))
	os.Exit(0)
}
