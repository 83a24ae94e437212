package testserver

import (
	"fmt"
	"net"
	"strconv"
)

const slots = 16384

// Cluster is a Redis Cluster. Its first servers began as masters; which are
// now, ask Owner.
type Cluster struct {
	group
	Servers []*Server // all, in the order of Addrs
}

// RedisCluster starts a Redis Cluster that ends with the test.
func RedisCluster(t TB, masters, replicasEach int, args ...string) *Cluster {
	t.Helper()
	c, err := StartRedisCluster(masters, replicasEach, Options{Args: args})
	if err != nil {
		t.Fatalf("%v", err)
	}
	end(t, c.Servers...)
	return c
}

// StartRedisCluster starts a Redis Cluster of some masters, between which the
// slots are divided, each with some replicas. It returns when every server
// says that the cluster is well and every replica has what its master has. A
// master that is gone for about two seconds is replaced by its replica;
// meanwhile the other masters go on. Options.Dir and TLS do not apply.
func StartRedisCluster(masters, replicasEach int, o Options) (*Cluster, error) {
	if masters < 1 || replicasEach < 0 || o.Dir != "" || o.TLS != nil {
		return nil, fmt.Errorf("testserver: a cluster of %d masters with %d replicas each, Dir %q, TLS %v", masters, replicasEach, o.Dir, o.TLS != nil)
	}
	c := &Cluster{}
	err := c.start(masters, masters*(1+replicasEach), o)
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(masters, servers int, o Options) error {
	for range servers {
		s := redisServer(o, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
			"--repl-ping-replica-period", "1") // a replica has an offset, and is listed, at once
		if err := s.launch(""); err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
		c.group = c.Servers
	}
	ids := make([]string, masters)
	for i, s := range c.Servers {
		// Each has its own epoch, or they would have to agree on one first.
		if _, err := s.ask("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		if i < masters {
			first, next := i*slots/masters, (i+1)*slots/masters
			if _, err := s.ask("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(next-1)); err != nil {
				return err
			}
			id, err := s.askString("CLUSTER", "MYID")
			if err != nil {
				return err
			}
			ids[i] = id
		}
		if i > 0 {
			if _, err := s.ask("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Servers[0].port)); err != nil {
				return err
			}
		}
	}
	for i, s := range c.Servers[masters:] {
		master := ids[i%masters]
		if err := until(fmt.Sprintf("%s knows its master", s), func() (bool, error) {
			_, err := s.ask("CLUSTER", "REPLICATE", master)
			return err == nil, err
		}); err != nil {
			return err
		}
	}
	return c.WaitWell()
}

// WaitWell waits until every server that runs says that all slots are served,
// by a master that it knows, and every replica has caught up.
func (c *Cluster) WaitWell() error {
	running := group{}
	for _, s := range c.Servers {
		if s.Pid() != 0 {
			running = append(running, s)
		}
	}
	for _, s := range running {
		if err := until(fmt.Sprintf("%s and its cluster are well", s), func() (bool, error) { return well(s, len(c.Servers)) }); err != nil {
			return err
		}
	}
	return nil
}

func well(s *Server, servers int) (bool, error) {
	info, err := s.askString("CLUSTER", "INFO")
	if err != nil {
		return false, err
	}
	if field(info, "cluster_state") != "ok" || field(info, "cluster_slots_ok") != strconv.Itoa(slots) ||
		field(info, "cluster_known_nodes") != strconv.Itoa(servers) {
		return false, fmt.Errorf("CLUSTER INFO: %s", info)
	}
	// A replica is on the list when it has caught up and its master knows.
	slots, err := s.ask("CLUSTER", "SLOTS")
	if err != nil {
		return false, err
	}
	listed := map[string]bool{}
	for _, r := range ranges(slots) {
		for _, addr := range r.addrs {
			listed[addr] = true
		}
	}
	if len(listed) != servers {
		return false, fmt.Errorf("CLUSTER SLOTS lists %d of %d servers", len(listed), servers)
	}
	info, err = s.askString("INFO", "replication")
	if err != nil {
		return false, err
	}
	if field(info, "role") == "slave" && field(info, "master_link_status") != "up" {
		return false, fmt.Errorf("INFO replication: %s", info)
	}
	return true, nil
}

// Owner returns the server that has the key's slot, and its replicas, as the
// first server that runs and answers sees it.
func (c *Cluster) Owner(key string) (master *Server, replicas []*Server, err error) {
	for _, s := range c.Servers {
		if s.Pid() == 0 {
			continue
		}
		if master, replicas, err = c.owner(s, key); err == nil {
			return master, replicas, nil
		}
	}
	return nil, nil, fmt.Errorf("testserver: owner of a key: %w", err)
}

func (c *Cluster) owner(s *Server, key string) (master *Server, replicas []*Server, err error) {
	answer, err := s.ask("CLUSTER", "KEYSLOT", key)
	if err != nil {
		return nil, nil, err
	}
	slot, _ := answer.(int64)
	if answer, err = s.ask("CLUSTER", "SLOTS"); err != nil {
		return nil, nil, err
	}
	for _, r := range ranges(answer) {
		if slot < r.first || slot > r.last {
			continue
		}
		if master, err = c.at(r.addrs[0]); err != nil {
			return nil, nil, err
		}
		for _, addr := range r.addrs[1:] {
			replica, err := c.at(addr)
			if err != nil {
				return nil, nil, err
			}
			replicas = append(replicas, replica)
		}
		return master, replicas, nil
	}
	return nil, nil, fmt.Errorf("nobody has slot %d", slot)
}

// slotRange is who serves some slots: the master first.
type slotRange struct {
	first, last int64
	addrs       []string
}

// ranges reads the answer to CLUSTER SLOTS: first, last, then master and
// replicas, each with host, port, id and more.
func ranges(answer any) (all []slotRange) {
	list, _ := answer.([]any)
	for _, r := range list {
		fields, _ := r.([]any)
		if len(fields) < 3 {
			continue
		}
		var s slotRange
		s.first, _ = fields[0].(int64)
		s.last, _ = fields[1].(int64)
		for _, n := range fields[2:] {
			if node, _ := n.([]any); len(node) >= 2 {
				s.addrs = append(s.addrs, net.JoinHostPort(fmt.Sprint(node[0]), fmt.Sprint(node[1])))
			}
		}
		if len(s.addrs) > 0 {
			all = append(all, s)
		}
	}
	return all
}
