package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// fleetOptions are the flags of fleet.
type fleetOptions struct {
	nodes, visits, clients int
	store                  string
	redisCluster           bool
	withoutStore, kill     bool
	recovery               time.Duration

	spec storeSpec // of store
}

func newFleet() *cobra.Command {
	var o fleetOptions
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Show that the servers of a fleet resume each other's sessions",
		Long: `Start several servers ('sessioncb serve', a process each) that share a store, visit
them at random, and print how many visits were resumptions. Each client keeps the
last session that it was given, and does not care by which server. Without
--store or --redis-cluster a Redis server is started beside them; redis-server must
be installed.

What is seen of a visit is what client and server say: both must agree that it was
a resumption, by session id in TLS 1.2 and by stateful ticket in TLS 1.3.

With --kill a Redis master and one of the servers are killed at once (SIGKILL)
while visits go on. Recovery is the time from then until a replica has taken over
and the last ` + fmt.Sprint(fleetWindow) + ` visits to the other servers, all made after the kill, were
resumptions by more than 95 %, for each version.

It exits with 1 if a line of the table is not as expected.

` + exitCodes,
		Example: `  sessioncb fleet
  sessioncb fleet --redis-cluster --without-store --kill`,
		Args: cobra.NoArgs,
		RunE: operation(func([]string) error { return o.check() }, func(cmd *cobra.Command) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.nodes, "nodes", 3, "`number` of servers, 2 to 20")
	f.IntVar(&o.visits, "visits", 1000, "`number` of visits for each version")
	f.IntVar(&o.clients, "clients", 4, "`number` of clients for each version that visit at the same time")
	f.StringVar(&o.store, "store", "", "a shared `STORE` that runs already, see 'sessioncb serve --help'")
	f.BoolVar(&o.redisCluster, "redis-cluster", false, "start a Redis Cluster of 3 masters with a replica each")
	f.BoolVar(&o.withoutStore, "without-store", false, "also visit servers that share no store")
	f.BoolVar(&o.kill, "kill", false, "also kill a Redis master and a server")
	f.DurationVar(&o.recovery, "recovery", 30*time.Second, "how long recovery may take")
	cmd.MarkFlagsMutuallyExclusive("store", "redis-cluster")
	return cmd
}

func (o *fleetOptions) check() (err error) {
	switch {
	case o.nodes < 2 || o.nodes > 20:
		return fmt.Errorf("--nodes %d is not 2 to 20", o.nodes)
	case o.clients < 1 || o.clients > 100:
		return fmt.Errorf("--clients %d is not 1 to 100", o.clients)
	case o.visits < 2*o.clients || o.visits > 1_000_000:
		return fmt.Errorf("--visits %d is not two for each of %d clients, to a million", o.visits, o.clients)
	case o.recovery <= 0:
		return fmt.Errorf("--recovery %v is not above zero", o.recovery)
	case o.kill && !o.redisCluster:
		return errors.New("--kill without --redis-cluster: only what was started here is killed, and a replica must take over")
	}
	if o.store == "" {
		return nil
	}
	if o.spec, err = parseStore(o.store); err != nil {
		return fmt.Errorf("--store %w", err)
	}
	if !o.spec.shared() {
		return fmt.Errorf("--store %v cannot be shared by a fleet", o.spec)
	}
	return nil
}

// fleet is one run.
type fleet struct {
	*fleetOptions
	table   *fleetTable
	dir     string
	cert    ssl.Certificate
	cluster *testserver.Cluster // or nil

	servers  []*node
	visitors []*visitor // of those servers
}

// run makes the table.
func (o *fleetOptions) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	f := &fleet{fleetOptions: o, table: &fleetTable{w: stdout}}
	if f.dir, err = os.MkdirTemp("", "sessioncb-fleet-"); err != nil {
		return err
	}
	defer os.RemoveAll(f.dir)
	defer func() {
		if err != nil {
			f.printLogs(stderr)
		}
	}()
	if err := f.prepare(); err != nil {
		return err
	}
	store, stopStore, err := f.startStore()
	if err != nil {
		return err
	}
	defer stopStore()

	f.table.header()
	// A shared store is reached by its URL in the environment: it may have a
	// password, and arguments are for everybody to see.
	f.servers, err = f.startNodes(ctx, []string{"--store", "env:" + storeVariable, "--key-file", f.keyFile()}, storeVariable+"="+store)
	defer killNodes(f.servers)
	if err != nil {
		return err
	}
	f.table.line("servers on "+f.storeName(), "-", fmt.Sprintf("%d listen", o.nodes), fmt.Sprintf("%d listen", len(f.servers)))
	if f.visitors, err = f.newVisitors(); err != nil {
		return err
	}
	defer closeVisitors(f.visitors)
	if err := f.visitShared(ctx); err != nil {
		return err
	}
	if o.withoutStore {
		if err := f.visitApart(ctx); err != nil {
			return err
		}
	}
	if o.kill {
		if err := f.killAndVisit(ctx); err != nil {
			return err
		}
	}
	f.stopNodes(f.storeName(), f.servers)
	if f.table.failed > 0 {
		return fmt.Errorf("%d lines are not as expected", f.table.failed)
	}
	return f.table.err
}

// storeVariable is the environment variable with the store's URL.
const storeVariable = "SESSIONCB_FLEET_STORE"

func (f *fleet) keyFile() string { return filepath.Join(f.dir, "fleet.keys") }

// prepare makes the certificate and the keys that the servers share.
func (f *fleet) prepare() (err error) {
	if f.cert, err = selfSigned("localhost"); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"cert.pem": f.cert.ChainPEM, "key.pem": f.cert.KeyPEM} {
		if err := os.WriteFile(filepath.Join(f.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return sessioncb.WriteKeyFile(f.keyFile())
}

// startStore starts what the servers share, unless it runs already.
func (f *fleet) startStore() (url string, stop func(), err error) {
	switch {
	case f.store != "":
		if name, ok := strings.CutPrefix(f.store, "env:"); ok {
			return os.Getenv(name), func() {}, nil
		}
		return f.store, func() {}, nil
	case f.redisCluster:
		if f.cluster, err = testserver.StartRedisCluster(3, 1, testserver.Options{}); err != nil {
			return "", nil, err
		}
		return "redis-cluster://" + strings.Join(f.cluster.Addrs(), ","), f.cluster.Stop, nil
	}
	redis, err := testserver.StartRedis(testserver.Options{})
	if err != nil {
		return "", nil, err
	}
	return "redis://" + redis.Addr(), redis.Stop, nil
}

func (f *fleet) storeName() string {
	switch {
	case f.store != "":
		return f.spec.kind
	case f.redisCluster:
		return "a Redis Cluster"
	}
	return "a Redis"
}

// visitShared visits the servers that share the store.
func (f *fleet) visitShared(ctx context.Context) error {
	seen, err := visitAll(ctx, f.visitors, &targets{nodes: f.servers}, f.visits/f.clients)
	if err != nil {
		return err
	}
	for _, s := range seen {
		f.table.share("shared store", s, above(99))
	}
	f.table.witnesses("shared store", seen)
	return nil
}

// visitApart visits servers each of which knows its own sessions alone: a
// client is resumed if it happens to come back to where it was.
func (f *fleet) visitApart(ctx context.Context) error {
	nodes, err := f.startNodes(ctx, []string{"--store", "memory"})
	defer killNodes(nodes)
	if err != nil {
		return err
	}
	clients, err := f.newVisitors()
	if err != nil {
		return err
	}
	defer closeVisitors(clients)
	seen, err := visitAll(ctx, clients, &targets{nodes: nodes}, f.visits/f.clients)
	if err != nil {
		return err
	}
	for _, s := range seen {
		f.table.share("no shared store", s, byChance(len(nodes), s.followed))
	}
	f.table.witnesses("no shared store", seen)
	f.stopNodes("memory of their own", nodes)
	return nil
}
