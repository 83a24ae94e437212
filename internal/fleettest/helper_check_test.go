package fleettest

import (
	"fmt"
	"os"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/memstore"
	"github.com/sessioncb/openssl/ssl"
)

func init() { processes["memory"] = runMemory }

// memoryContext is a server's context over a store in memory.
func memoryContext() (*ssl.Context, error) {
	store, err := memstore.New(memstore.Options{})
	if err != nil {
		return nil, err
	}
	cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{Keys: sessioncb.ProcessKey()})
	if err != nil {
		return nil, err
	}
	cfg := serverConfig()
	cfg.SessionCache = cache
	return ssl.NewContext(cfg)
}

// runMemory is a server in a process of its own; each line asks what it saw.
func runMemory() {
	err := func() error {
		var name string
		if err := argument(&name); err != nil || name != "alone" {
			return fmt.Errorf("started with %q, %w", name, err)
		}
		ctx, err := memoryContext()
		if err != nil {
			return err
		}
		defer closeContext(ctx)
		s, err := newServer(ctx, nil)
		if err != nil {
			return err
		}
		defer s.close()
		if err := tell(s.addr, nil); err != nil {
			return err
		}
		return answerLines(func(string) (any, error) { return s.seen(), nil })
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestHelpers: the tools that the other tests are made of see what they should.
func TestHelpers(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		c := newClient(t, version)
		ctx, err := memoryContext()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeContext(ctx) })
		here := startServer(t, ctx)
		there := startProcess(t, "memory", "alone")
		var addr string
		there.read(&addr)
		for name, x := range map[string]struct {
			addr string
			seen func() served
		}{
			"in this process": {here.addr, here.seen},
			"in another one":  {addr, func() (n served) { there.ask("", &n); return n }},
		} {
			first, err := c.visit(x.addr, nil, 'a', 'b')
			if err != nil || first.resumed || first.session == nil {
				t.Fatalf("%s: a first visit: %+v, %v", name, first, err)
			}
			second, err := c.visit(x.addr, first.session)
			if err != nil || !second.resumed {
				t.Errorf("%s: a second visit: %+v, %v", name, second, err)
			}
			if n := x.seen(); n.Full != 1 || n.Resumed != 1 || len(n.Failed) != 0 {
				t.Errorf("%s: it saw %+v", name, n)
			}
		}
		there.kill()
		if _, err := c.visit(addr, nil); err == nil {
			t.Error("a server that was killed answers")
		}
	})
}
