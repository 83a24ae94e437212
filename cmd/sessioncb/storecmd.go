package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sessioncb/openssl/sessioncb"
)

const storeHelp = `  memory                          in this process, until it ends
  live                            the same, as objects: quicker, and larger
  bolt:PATH                       a file, one process at a time
  redis://HOST:PORT[/DB]          Redis; rediss:// with TLS
  redis-cluster://HOST:PORT,...   Redis Cluster; rediss-cluster:// with TLS
  redis-sentinel://MASTER@HOST:PORT,...
                                  Redis that sentinels watch; rediss-sentinel:// with TLS
  memcache://HOST:PORT,...        memcached
  env:NAME                        what the environment variable NAME holds, for a
                                  password that no list of processes should show

A password stands before the first host: redis://USER:PASSWORD@HOST:PORT. Options
follow a question mark: prefix=TEXT of the keys; for Redis wait-replicas=N, how
many replicas must know that a session was taken out (--single-use); with TLS
ca=FILE, cert=FILE and key=FILE.`

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "List, show and remove the sessions of a store, never their secrets",
		Long: `List, show and remove the sessions of a store, never their secrets. STORE is as in
'serve --store', but memory and live:

` + storeHelp + `

A bolt file is read only while no server has it open. memcached cannot list: it
has get and rm of a whole id.

` + exitCodes,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a command is missing: ls, get, rm or stats")
		},
	}
	cmd.AddCommand(newStoreLs(), newStoreGet(), newStoreRm(), newStoreStats())
	return cmd
}

// storeOptions are what the subcommands have in common.
type storeOptions struct {
	spec storeSpec
	id   string // hexadecimal digits; "" is all
	json bool
}

// check takes STORE and ID. lists says that the subcommand walks.
func (o *storeOptions) check(args []string, lists bool) (err error) {
	if o.spec, err = parseStore(args[0]); err != nil {
		return err
	}
	if o.spec.inProcess() {
		return fmt.Errorf("%v is inside a server: no other process can look at it", o.spec)
	}
	if len(args) > 1 {
		if o.id, err = parseID(args[1]); err != nil {
			return err
		}
	}
	if o.spec.kind == "memcache" && (lists || len(o.id) < wholeID) {
		return fmt.Errorf("a memcached cannot list its keys: get and rm need the whole id, %d digits", wholeID)
	}
	return nil
}

// wholeID is the length of an id that OpenSSL makes. A shorter one is taken
// for the beginning of one, as the log shows it.
const wholeID = 64

func parseID(s string) (string, error) {
	id := strings.ToLower(s)
	if id == "" || len(id) > wholeID || strings.Trim(id, "0123456789abcdef") != "" {
		return "", fmt.Errorf("ID %q is not 1 to %d hexadecimal digits", s, wholeID)
	}
	return id, nil
}

// each calls f for the sessions whose id begins with o.id.
func (o *storeOptions) each(ctx context.Context, store *openStore, f func(key sessioncb.Key, value []byte, expires time.Time) error) error {
	if len(o.id) == wholeID {
		id, err := hex.DecodeString(o.id)
		if err != nil {
			return err
		}
		value, err := store.Get(ctx, sessioncb.Key{ID: id})
		if errors.Is(err, sessioncb.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return f(sessioncb.Key{ID: id}, value, time.Time{})
	}
	return store.each(ctx, func(key sessioncb.Key, value []byte, expires time.Time) error {
		if !strings.HasPrefix(key.Hex(), o.id) {
			return nil
		}
		return f(key, value, expires)
	})
}

// with opens the store for do.
func (o *storeOptions) with(a access, do func(*openStore) error) error {
	store, err := o.spec.open(a)
	if err != nil {
		return err
	}
	if err := do(store); err != nil {
		store.close()
		return err
	}
	return store.close()
}

func newStoreLs() *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use:     "ls STORE",
		Short:   "List the sessions: id, bytes, remaining lifetime, and by which key they are sealed",
		Example: `  sessioncb store ls bolt:sessions.bolt`,
		Args:    cobra.ExactArgs(1),
		RunE: operation(func(args []string) error { return o.check(args, true) }, func(cmd *cobra.Command) error {
			return o.list(cmd.Context(), cmd.OutOrStdout())
		}),
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "write JSON")
	return cmd
}

// list writes a line as it comes: a store may hold more than memory.
func (o *storeOptions) list(ctx context.Context, stdout io.Writer) error {
	return o.with(toRead, func(store *openStore) error {
		out := bufio.NewWriter(stdout)
		var p printer = &linePrinter{w: out}
		if o.json {
			p = &jsonPrinter{w: out}
		}
		p.begin(o.spec.kind)
		if err := o.each(ctx, store, func(key sessioncb.Key, value []byte, expires time.Time) error {
			return p.session(storedEntry(key, value, expires))
		}); err != nil {
			return errors.Join(err, out.Flush())
		}
		p.end()
		return out.Flush()
	})
}

// linePrinter writes a table with a line for each session.
type linePrinter struct{ w *bufio.Writer }

const lineFormat = "%-64s  %6v  %-10s  %s\n"

func (p *linePrinter) begin(string) {
	fmt.Fprintf(p.w, lineFormat, "ID", "BYTES", "REMAINING", "SEALED BY")
}

func (p *linePrinter) session(e *entry) error {
	sealedBy := e.sealedBy
	if sealedBy == "" {
		sealedBy = "-"
	}
	_, err := fmt.Fprintf(p.w, lineFormat, hex.EncodeToString(e.id), e.storedBytes, remaining(e.storedUntil), sealedBy)
	return err
}

func (p *linePrinter) end() {}

// remaining is a lifetime in whole seconds.
func remaining(until time.Time) string {
	if until.IsZero() {
		return "no end"
	}
	return max(0, time.Until(until)).Truncate(time.Second).String()
}

func newStoreGet() *cobra.Command {
	var o storeOptions
	var keyFile string
	cmd := &cobra.Command{
		Use:   "get STORE ID",
		Short: "Show a session: with the keys its fields, without them what its envelope says",
		Long: `Show the sessions whose id begins with ID: with --key-file the fields that
'inspect' shows, without it what the sealed value says of itself. The master key,
the ticket and the ticket's application data are never shown.

` + exitCodes,
		Example: `  sessioncb store get redis://localhost:6379 8ff8efd1c8fd668e --key-file fleet.keys`,
		Args:    cobra.ExactArgs(2),
		RunE: operation(func(args []string) error { return o.check(args, false) }, func(cmd *cobra.Command) error {
			return o.get(cmd.Context(), cmd.OutOrStdout(), keyFile)
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&keyFile, "key-file", "", "`FILE` with the keys that seal the sessions")
	f.BoolVar(&o.json, "json", false, "write JSON")
	return cmd
}

func (o *storeOptions) get(ctx context.Context, stdout io.Writer, keyFile string) error {
	keys, err := loadKeys(keyFile)
	if err != nil {
		return err
	}
	return o.with(toRead, func(store *openStore) error {
		return show(stdout, o.json, o.id, &source{format: o.spec.kind, each: func(f func(*entry) error) error {
			return o.each(ctx, store, func(key sessioncb.Key, value []byte, expires time.Time) error {
				e := storedEntry(key, value, expires)
				e.unseal(keys, value)
				return f(e)
			})
		}})
	})
}

func newStoreRm() *cobra.Command {
	var o storeOptions
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "rm STORE [ID]",
		Short: "Remove a session, or all",
		Long: `Remove the session whose id is ID, or the one whose id begins with it, from the
store; or all with --all --yes. A server with --near may go on resuming it for a
minute.

` + exitCodes,
		Example: `  sessioncb store rm redis://localhost:6379 8ff8efd1c8fd668e
  sessioncb store rm bolt:sessions.bolt --all --yes`,
		Args: cobra.RangeArgs(1, 2),
		RunE: operation(func(args []string) error {
			switch {
			case all && len(args) > 1:
				return errors.New("--all and an ID")
			case !all && len(args) < 2:
				return errors.New("an ID is missing, or --all")
			case all && !yes:
				return errors.New("--all without --yes: every client would need a full handshake")
			case yes && !all:
				return errors.New("--yes without --all")
			}
			return o.check(args, all)
		}, func(cmd *cobra.Command) error {
			return o.remove(cmd.Context(), cmd.OutOrStdout())
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&all, "all", false, "remove every session of the store")
	f.BoolVar(&yes, "yes", false, "with --all: yes, every session")
	return cmd
}

func (o *storeOptions) remove(ctx context.Context, stdout io.Writer) error {
	return o.with(toRemove, func(store *openStore) error {
		var found []sessioncb.Key
		if err := o.each(ctx, store, func(key sessioncb.Key, _ []byte, _ time.Time) error {
			found = append(found, key)
			return nil
		}); err != nil {
			return err
		}
		switch {
		case o.id != "" && len(found) == 0:
			return noSuchSession(o.id)
		case o.id != "" && len(found) > 1:
			return fmt.Errorf("%d sessions have an id that begins with %s: give more of it", len(found), o.id)
		}
		for i, key := range found {
			if err := store.Delete(ctx, key); err != nil {
				return fmt.Errorf("removed %d of %d sessions: %w", i, len(found), err)
			}
		}
		_, err := fmt.Fprintf(stdout, "removed: %d\n", len(found))
		return err
	})
}

func noSuchSession(id string) error {
	return fmt.Errorf("no session has an id that begins with %s", id)
}
