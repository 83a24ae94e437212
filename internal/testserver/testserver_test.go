package testserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ping reports whether a server answers within a moment.
func ping(s *Server, moment time.Duration) error {
	c, err := net.DialTimeout("tcp", s.Addr(), moment)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(moment))
	io.WriteString(c, "PING\r\n")
	_, err = bufio.NewReader(c).ReadString('\n')
	return err
}

func TestRedis(t *testing.T) {
	s := Redis(t, "--maxmemory", "10mb")
	must[any](t)(s.ask("SET", "k", "v"))
	list := must[any](t)(s.ask("CONFIG", "GET", "maxmemory"))
	if got := fmt.Sprint(list); got != "[maxmemory 10485760]" {
		t.Errorf("the arguments did not arrive: %s", got)
	}

	ok(t, s.Pause())
	if err := ping(s, 100*time.Millisecond); err == nil {
		t.Error("a paused server answers")
	}
	ok(t, s.Resume())
	ok(t, ping(s, patience))

	pid := s.Pid()
	ok(t, s.Kill())
	if err := ping(s, patience); err == nil || s.Pid() != 0 {
		t.Error("a killed server answers")
	}
	if err := s.Pause(); err == nil {
		t.Error("Pause of a server that is not running is no error")
	}
	addr := s.Addr()
	ok(t, s.Restart())
	if s.Addr() != addr || s.Pid() == pid || s.Pid() == 0 {
		t.Errorf("was %s, process %d; is %s, process %d", addr, pid, s.Addr(), s.Pid())
	}
	if v := must[any](t)(s.ask("GET", "k")); v != nil {
		t.Errorf("what a restart should lose is there: %v", v)
	}
	ok(t, s.Pause())
	ok(t, s.Kill()) // a paused one too
	s.Stop()
	if err := s.Restart(); err == nil {
		t.Error("a stopped server starts again")
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("its directory: %v", err)
	}
}

func TestRedisKeepsWhatItIsAskedTo(t *testing.T) {
	dir := t.TempDir()
	s := RedisWith(t, Options{Dir: dir, Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	must[any](t)(s.ask("SET", "k", "v"))
	ok(t, s.Restart())
	if v := must[any](t)(s.ask("GET", "k")); v != "v" {
		t.Errorf("after a restart: %v", v)
	}
	s.Stop()
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a directory that was given is the giver's: %v", err)
	}
}

func TestStartFails(t *testing.T) {
	for _, test := range []struct {
		why  string
		o    Options
		want string
	}{
		{"no such program", Options{RedisServer: "/no/such/redis-server"}, "scripts/setup test"},
		{"bad arguments", Options{Args: []string{"--no-such-option", "x"}}, "ended at once"},
	} {
		s, err := StartRedis(test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", test.why, s, err)
		}
	}
}

func TestMemcached(t *testing.T) {
	s := Memcached(t, "-I", "2m")
	c := must[net.Conn](t)(net.Dial("tcp", s.Addr()))
	defer c.Close()
	io.WriteString(c, "stats settings\r\n")
	r := bufio.NewReader(c)
	for {
		line := must[string](t)(r.ReadString('\n'))
		if strings.HasPrefix(line, "END") {
			t.Fatal("the arguments did not arrive")
		}
		if line == "STAT item_size_max 2097152\r\n" {
			break
		}
	}
	ok(t, s.Restart())
}

func TestRedisCluster(t *testing.T) {
	c := RedisCluster(t, 3, 1)
	if len(c.Addrs()) != 6 {
		t.Fatalf("%v", c.Addrs())
	}
	owners := map[*Server]bool{}
	for i := range 100 {
		master, replicas, err := c.Owner(fmt.Sprint(i))
		ok(t, err)
		if len(replicas) != 1 || replicas[0] == master {
			t.Fatalf("%s has the replicas %v", master, replicas)
		}
		owners[master] = true
	}
	if len(owners) != 3 {
		t.Errorf("the keys are with %v", owners)
	}
	master, replicas, err := c.Owner("k")
	ok(t, err)
	must[any](t)(master.ask("SET", "k", "v"))
	ok(t, until("the replica has it", func() (bool, error) { return keys(replicas[0]) == 1, nil }))
	ok(t, master.Kill())
	ok(t, until("the replica takes over", func() (bool, error) {
		now, _, err := c.Owner("k")
		return now == replicas[0], err
	}))
	if v := must[any](t)(replicas[0].ask("GET", "k")); v != "v" {
		t.Errorf("after the failover: %v", v)
	}
	ok(t, master.Restart())
	ok(t, c.WaitWell())
}

func TestSentinel(t *testing.T) {
	set := Sentinel(t)
	master, replica, err := set.Master()
	ok(t, err)
	must[any](t)(master.ask("SET", "k", "v"))
	ok(t, until("the replica has it", func() (bool, error) { return keys(replica) == 1, nil }))
	ok(t, master.Kill())
	ok(t, until("the replica takes over", func() (bool, error) {
		now, _, err := set.Master()
		return now == replica, err
	}))
	if v := must[any](t)(replica.ask("GET", "k")); v != "v" {
		t.Errorf("after the failover: %v", v)
	}
	ok(t, master.Restart()) // the sentinels take half a minute to make it a replica
	ok(t, ping(master, patience))
}

// keys counts them, -1 if the server does not tell.
func keys(s *Server) int64 {
	n, _ := s.ask("DBSIZE")
	if n, ok := n.(int64); ok {
		return n
	}
	return -1
}

func TestFaults(t *testing.T) {
	redis := Redis(t)
	dial := func(f *Fault) net.Conn {
		c := must[net.Conn](t)(net.Dial("tcp", f.Addr()))
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "PING\r\n")
		return c
	}
	hole, garbage := BlackHole(t), Garbage(t)
	slow := Slow(t, redis.Addr(), 200*time.Millisecond)

	c := dial(hole)
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !os.IsTimeout(err) {
		t.Errorf("the black hole: %d, %v", n, err)
	}
	if line := must[string](t)(bufio.NewReader(dial(garbage)).ReadString('\n')); len(line) < 64 || strings.HasPrefix(line, "+PONG") {
		t.Errorf("the garbage: %q", line)
	}
	start := time.Now()
	r := bufio.NewReader(dial(slow))
	if line := must[string](t)(r.ReadString('\n')); line != "+PONG\r\n" || time.Since(start) < 200*time.Millisecond {
		t.Errorf("slow: %q after %v", line, time.Since(start))
	}
	slow.SetDelay(time.Hour)
	dial(slow)
	for f, want := range map[*Fault]int{hole: 1, garbage: 1, slow: 2} {
		if err := until("it is counted", func() (bool, error) { return f.Connections() == want, nil }); err != nil {
			t.Error(err)
		}
		f.Close() // an answer that is held back does not hold this up
	}
}

// parent makes the test binary the parent of TestServersDieWithTheirParent.
const parent = "TESTSERVER_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parent) != "" {
		s, err := StartRedis(Options{})
		fmt.Println(s.Pid(), err)
		select {}
	}
	os.Exit(m.Run())
}

func TestServersDieWithTheirParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parent+"=1")
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	ok(t, cmd.Start())
	var pid int
	var rest string
	if _, err := fmt.Fscan(out, &pid, &rest); err != nil || rest != "<nil>" {
		t.Fatal(err, rest)
	}
	alive := func() bool { return syscall.Kill(pid, 0) == nil }
	if !alive() {
		t.Fatal("it did not start")
	}
	cmd.Process.Kill()
	cmd.Wait()
	ok(t, until("the server is gone", func() (bool, error) { return !alive() || zombie(pid), nil }))
}

// zombie: gone, though init has not noticed.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
