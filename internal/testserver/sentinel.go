package testserver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// MasterName is what the sentinels of SentinelSet call their master.
const MasterName = "sessions"

// SentinelSet is a Redis master with one replica, and three sentinels that put
// the replica in its place when it is gone for about a second. The methods
// that it has from its sentinels and servers alike (Kill, Pause ...) treat all
// five.
type SentinelSet struct {
	group
	Sentinels []*Server
	Redis     []*Server // the first began as master; which is now, ask Master
}

// Sentinel starts a SentinelSet that ends with the test.
func Sentinel(t TB, args ...string) *SentinelSet {
	t.Helper()
	s, err := StartSentinel(Options{Args: args})
	if err != nil {
		t.Fatalf("%v", err)
	}
	end(t, s.group...)
	return s
}

// StartSentinel starts a SentinelSet, and returns when the sentinels know each
// other and the replica. Options.Dir and TLS do not apply.
func StartSentinel(o Options) (*SentinelSet, error) {
	if o.Dir != "" || o.TLS != nil {
		return nil, fmt.Errorf("testserver: sentinel with Dir %q, TLS %v", o.Dir, o.TLS != nil)
	}
	set := &SentinelSet{}
	if err := set.start(o); err != nil {
		set.Stop()
		return nil, err
	}
	return set, nil
}

func (set *SentinelSet) start(o Options) error {
	launch := func(s *Server, to *[]*Server) error {
		if err := s.launch(""); err != nil {
			return err
		}
		*to = append(*to, s)
		set.group = append(set.group, s)
		return nil
	}
	if err := launch(redisServer(o), &set.Redis); err != nil {
		return err
	}
	master := set.Redis[0]
	if err := launch(redisServer(o, "--replicaof", "127.0.0.1", strconv.Itoa(master.port)), &set.Redis); err != nil {
		return err
	}
	replica := set.Redis[1]
	if err := until(fmt.Sprintf("%s follows", replica), func() (bool, error) {
		info, err := replica.askString("INFO", "replication")
		return field(info, "master_link_status") == "up", err
	}); err != nil {
		return err
	}
	for range 3 {
		if err := launch(sentinel(o, master), &set.Sentinels); err != nil {
			return err
		}
	}
	return set.WaitWell()
}

// sentinel is a sentinel yet to be launched. It keeps what it learns in its
// configuration file, so that a Restart goes on from there.
func sentinel(o Options, master *Server) *Server {
	program := o.RedisServer
	if program == "" {
		program = "redis-server"
	}
	s := &Server{kind: "sentinel"}
	s.argv = func(port int, dir string) []string {
		file := filepath.Join(dir, fmt.Sprintf("sentinel-%d.conf", port))
		if _, err := os.Stat(file); err != nil {
			// A file that cannot be written is found missing by the program.
			os.WriteFile(file, fmt.Appendf(nil, "bind 127.0.0.1\nport %d\ndir %s\n"+
				"sentinel monitor %[3]s 127.0.0.1 %[4]d 2\n"+
				"sentinel down-after-milliseconds %[3]s 1000\n"+
				"sentinel failover-timeout %[3]s 5000\n", port, dir, MasterName, master.port), 0o600)
		}
		return []string{program, file, "--sentinel"}
	}
	s.ready = func(s *Server) error {
		_, err := s.ask("PING")
		return err
	}
	return s
}

// Addrs returns the addresses of the sentinels, which is what a client wants.
func (set *SentinelSet) Addrs() []string { return group(set.Sentinels).Addrs() }

// WaitWell waits until all sentinels that run agree on a master with a replica
// that follows it.
func (set *SentinelSet) WaitWell() error {
	for _, s := range set.Sentinels {
		if s.Pid() == 0 {
			continue
		}
		if err := until(fmt.Sprintf("%s knows the others", s), func() (bool, error) {
			answer, err := s.ask("SENTINEL", "MASTER", MasterName)
			if err != nil {
				return false, err
			}
			m := pairs(answer)
			ok := m["flags"] == "master" && m["num-slaves"] != "0" && m["num-other-sentinels"] == strconv.Itoa(len(set.Sentinels)-1)
			if !ok {
				return false, fmt.Errorf("%s: flags %s, %s replicas, %s other sentinels", MasterName, m["flags"], m["num-slaves"], m["num-other-sentinels"])
			}
			answer, err = s.ask("SENTINEL", "REPLICAS", MasterName)
			replicas, _ := answer.([]any)
			for _, r := range replicas {
				if r := pairs(r); r["flags"] == "slave" && r["master-link-status"] == "ok" {
					return true, nil
				}
			}
			return false, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// Master returns the server that the sentinels take for the master now, and
// the other one.
func (set *SentinelSet) Master() (master, replica *Server, err error) {
	for _, s := range set.Sentinels {
		if s.Pid() == 0 {
			continue
		}
		var answer any
		if answer, err = s.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName); err != nil {
			continue
		}
		at, _ := answer.([]any)
		if len(at) != 2 {
			err = fmt.Errorf("%s does not know a master", s)
			continue
		}
		if master, err = group(set.Redis).at(net.JoinHostPort(fmt.Sprint(at[0]), fmt.Sprint(at[1]))); err != nil {
			return nil, nil, err
		}
		for _, r := range set.Redis {
			if r != master {
				replica = r
			}
		}
		return master, replica, nil
	}
	return nil, nil, fmt.Errorf("testserver: no sentinel knows the master: %w", err)
}

// pairs makes a map of name, value, name, value ...
func pairs(answer any) map[string]string {
	list, _ := answer.([]any)
	m := make(map[string]string)
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}
