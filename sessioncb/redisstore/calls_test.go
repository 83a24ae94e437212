package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// recorder is a hook that notes what is sent, and through which call.
type recorder struct {
	mu   sync.Mutex
	sent []string
}

func (r *recorder) note(cmds ...redis.Cmder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range cmds {
		if c.Name() == "client" || c.Name() == "hello" {
			continue // go-redis introduces itself on a new connection
		}
		var words []string
		for i, a := range c.Args() {
			switch a := a.(type) {
			case []byte:
				words = append(words, strconv.Quote(string(a)))
			case string:
				if i > 0 {
					a = strconv.Quote(a)
				}
				words = append(words, a)
			default:
				words = append(words, fmt.Sprint(a))
			}
		}
		r.sent = append(r.sent, strings.Join(words, " "))
	}
}

func (r *recorder) take() (sent []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent, r.sent = r.sent, nil
	return sent
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.note(cmd)
		return next(ctx, cmd)
	}
}

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.note(cmds...)
		return next(ctx, cmds)
	}
}

// TestWhatIsSent: keys are binary, lifetimes rounded up to a millisecond, and
// only Claim waits for replicas.
func TestWhatIsSent(t *testing.T) {
	server := testserver.Redis(t)
	c := client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}})
	plain := store(t, c, Options{})
	waits := store(t, c, Options{Prefix: "\xff:", WaitReplicas: 2, WaitTimeout: 5 * time.Millisecond})
	r := new(recorder)
	c.Ping(t.Context())
	c.AddHook(r)
	k, v := sessioncb.Key{ID: []byte("\x00 id\xff")}, []byte("v")
	for _, test := range []struct {
		why  string
		call func() error
		want []string
	}{
		{"a nanosecond", func() error { return plain.Put(t.Context(), k, v, 1) }, []string{`set "sessioncb:\x00 id\xff" "v" "px" 1`}},
		{"a millisecond", func() error { return plain.Put(t.Context(), k, v, time.Millisecond) }, []string{`set "sessioncb:\x00 id\xff" "v" "px" 1`}},
		{"and a bit", func() error { return plain.Put(t.Context(), k, v, time.Millisecond+1) }, []string{`set "sessioncb:\x00 id\xff" "v" "px" 2`}},
		{"no lifetime", func() error { return plain.Put(t.Context(), k, v, 0) }, []string{`del "sessioncb:\x00 id\xff"`}},
		{"for ever", func() error { return plain.Put(t.Context(), k, v, math.MaxInt64) }, []string{`set "sessioncb:\x00 id\xff" "v" "px" 9223372036855`}},
		{"get", func() error { _, err := plain.Get(t.Context(), k); return err }, []string{`get "sessioncb:\x00 id\xff"`}},
		{"claim", func() error { _, err := plain.Claim(t.Context(), k); return err }, []string{`getdel "sessioncb:\x00 id\xff"`}},
		{"delete", func() error { return plain.Delete(t.Context(), k) }, []string{`del "sessioncb:\x00 id\xff"`}},
		{"another prefix", func() error { return waits.Put(t.Context(), k, v, 2*time.Millisecond) }, []string{`set "\xff:\x00 id\xff" "v" "px" 2`}},
		{"a claim that waits", func() error {
			waits.Put(t.Context(), k, v, time.Hour)
			r.take()
			_, err := waits.Claim(t.Context(), k)
			var few *ReplicasError
			if !errors.As(err, &few) || few.Want != 2 || few.Acknowledged != 0 {
				return fmt.Errorf("without replicas: %w", err)
			}
			return nil
		}, []string{`getdel "\xff:\x00 id\xff"`, `wait 2 5`}},
	} {
		r.take()
		if err := test.call(); err != nil {
			t.Errorf("%s: %v", test.why, err)
		}
		if diff := cmp.Diff(test.want, r.take()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.why, diff)
		}
	}
	for _, k := range []sessioncb.Key{{}, {ID: make([]byte, 33)}} {
		_, err := plain.Get(t.Context(), k)
		if err == nil || errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("an id of %d bytes: %v", len(k.ID), err)
		}
	}
	if sent := r.take(); sent != nil {
		t.Errorf("for bad ids: %s", sent)
	}
}

// calls are one of each kind, for a Store in trouble.
func calls(s *Store, k sessioncb.Key) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":     func(ctx context.Context) error { _, err := s.Get(ctx, k); return err },
		"Put":     func(ctx context.Context) error { return s.Put(ctx, k, []byte("v"), time.Hour) },
		"Delete":  func(ctx context.Context) error { return s.Delete(ctx, k) },
		"Claim":   func(ctx context.Context) error { _, err := s.Claim(ctx, k); return err },
		"ForEach": func(ctx context.Context) error { return s.ForEach(ctx, nil) },
	}
}

// TestFaults: whatever the other end does, a call ends with its ctx and an
// error, and the error is not "not found".
func TestFaults(t *testing.T) {
	hole, garbage := testserver.BlackHole(t), testserver.Garbage(t)
	slow := testserver.Slow(t, testserver.Redis(t).Addr(), time.Hour)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, test := range []struct {
		why  string
		addr string
		came func() bool
	}{
		{"it does not answer", hole.Addr(), func() bool { return hole.Connections() > 0 }},
		{"it answers junk", garbage.Addr(), func() bool { return garbage.Connections() > 0 }},
		{"it answers late", slow.Addr(), func() bool { return slow.Connections() > 0 }},
		{"there is nobody", gone.Addr().String(), func() bool { return true }},
	} {
		for name, o := range map[string]redis.UniversalOptions{
			"single":  {Addrs: []string{test.addr}},
			"cluster": {Addrs: []string{test.addr}, IsClusterMode: true},
		} {
			t.Run(test.why+"/"+name, func(t *testing.T) {
				for _, so := range []Options{{}, {WaitReplicas: 1}} {
					s := store(t, client(t, o), so)
					for call, f := range calls(s, sessioncb.Key{ID: []byte("k")}) {
						ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
						err := f(ctx)
						cancel()
						if err == nil || errors.Is(err, sessioncb.ErrNotFound) || errors.Is(err, redis.Nil) {
							t.Errorf("%s: %v", call, err)
						}
					}
				}
				if !test.came() {
					t.Error("nobody connected: the fault was not seen")
				}
			})
		}
	}
}

// TestClaimIsNotSentTwice: the answer to a claim is late, and the connection
// given up. Sent again, it would be told that there is nothing, as go-redis's
// own GetDel is here.
func TestClaimIsNotSentTwice(t *testing.T) {
	server := testserver.Redis(t)
	slow := testserver.Slow(t, server.Addr(), 0)
	direct := client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}})
	late := func(t *testing.T, o Options) (redis.UniversalClient, *Store, sessioncb.Key) {
		slow.SetDelay(0)
		c := client(t, redis.UniversalOptions{Addrs: []string{slow.Addr()}, ReadTimeout: 200 * time.Millisecond, MaxRetries: 3})
		k := sessioncb.Key{ID: []byte(t.Name()[len(t.Name())-8:])}
		s := store(t, c, o)
		s.Claim(t.Context(), k) // connects
		if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
		slow.SetDelay(time.Second)
		// The answer that is on its way then stays late; those to retries are not.
		time.AfterFunc(100*time.Millisecond, func() { slow.SetDelay(0) })
		return c, s, k
	}
	getdels := func() string { return stat(t, direct, "getdel") }
	t.Run("of go-redis", func(t *testing.T) {
		c, _, k := late(t, Options{})
		if err := c.GetDel(t.Context(), DefaultPrefix+string(k.ID)).Err(); !errors.Is(err, redis.Nil) {
			t.Errorf("a lost GETDEL: %v; if go-redis no longer sends it again, package redisstore need not care", err)
		}
	})
	for _, o := range []Options{{}, {WaitReplicas: 1}} {
		t.Run(fmt.Sprintf("%d replicas", o.WaitReplicas), func(t *testing.T) {
			_, s, k := late(t, o)
			before := getdels()
			_, err := s.Claim(t.Context(), k)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("a lost claim: %v, want a timeout", err)
			}
			if n, err := direct.Exists(t.Context(), DefaultPrefix+string(k.ID)).Result(); n != 0 || err != nil {
				t.Errorf("the server did not see the claim: %d, %v", n, err)
			}
			if a, b := atoi(t, before), atoi(t, getdels()); b != a+1 {
				t.Errorf("sent %d times", b-a)
			}
		})
	}
}

// stat is how often a server has run a command.
func stat(t testing.TB, c redis.Cmdable, command string) string {
	t.Helper()
	info, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(info, "cmdstat_"+command+":calls=")
	if !found {
		return "0"
	}
	n, _, _ := strings.Cut(rest, ",")
	return n
}

func atoi(t testing.TB, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestServerFull: with noeviction, what does not fit is an error of Put, and
// what is there stays.
func TestServerFull(t *testing.T) {
	server := testserver.Redis(t, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
	s := store(t, client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}}), Options{})
	key := func(i int) sessioncb.Key { return sessioncb.Key{ID: fmt.Append(nil, i)} }
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = s.Put(t.Context(), key(n), make([]byte, 16<<10), time.Hour)
	}
	if err == nil || !strings.Contains(err.Error(), "redisstore: put: OOM") {
		t.Fatalf("after %d of 16 KiB: %v", n, err)
	}
	if v, err := s.Get(t.Context(), key(0)); len(v) != 16<<10 || err != nil {
		t.Errorf("the first: %d bytes, %v", len(v), err)
	}
	if _, err := s.Claim(t.Context(), key(0)); err != nil {
		t.Errorf("a claim: %v", err)
	}
}

// TestRestart: calls fail while the server is gone, and work when it is back,
// empty.
func TestRestart(t *testing.T) {
	server := testserver.Redis(t)
	s := store(t, client(t, redis.UniversalOptions{Addrs: []string{server.Addr()}, MaxRetries: 1, DialerRetries: 1}), Options{})
	k := sessioncb.Key{ID: []byte("k")}
	if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls(s, k) {
		if err := call(t.Context()); err == nil || errors.Is(err, sessioncb.ErrNotFound) {
			t.Errorf("%s of a server that is gone: %v", name, err)
		}
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.Claim(t.Context(), k); !errors.Is(err, sessioncb.ErrNotFound) {
		t.Errorf("Claim: %v", err)
	}
	if err := s.Put(t.Context(), k, []byte("v"), time.Hour); err != nil {
		t.Errorf("Put: %v", err)
	}
}
