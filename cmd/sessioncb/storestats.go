package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sessioncb/openssl/sessioncb"
)

func newStoreStats() *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use:     "stats STORE",
		Short:   "Count the sessions: number, bytes, by key, first and last expiry",
		Example: `  sessioncb store stats redis-cluster://10.0.0.1:7000`,
		Args:    cobra.ExactArgs(1),
		RunE: operation(func(args []string) error { return o.check(args, true) }, func(cmd *cobra.Command) error {
			return o.stats(cmd.Context(), cmd.OutOrStdout())
		}),
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "write JSON")
	return cmd
}

// amount is a number of sessions with their size, without the store's own cost.
type amount struct {
	Sessions int   `json:"sessions"`
	Bytes    int64 `json:"bytes"`
}

func (a *amount) add(bytes int) {
	a.Sessions++
	a.Bytes += int64(bytes)
}

// storeStats are the totals of a store.
type storeStats struct {
	amount
	SealedBy  map[string]*amount `json:"sealed_by"` // by key id
	NotSealed *amount            `json:"not_sealed,omitempty"`
	First     string             `json:"first_expiry,omitempty"`
	Last      string             `json:"last_expiry,omitempty"`

	first, last time.Time
}

func (o *storeOptions) stats(ctx context.Context, stdout io.Writer) error {
	return o.with(toRead, func(store *openStore) error {
		s := storeStats{SealedBy: make(map[string]*amount)}
		if err := o.each(ctx, store, func(key sessioncb.Key, value []byte, expires time.Time) error {
			s.count(storedEntry(key, value, expires))
			return nil
		}); err != nil {
			return err
		}
		if o.json {
			e := json.NewEncoder(stdout)
			e.SetIndent("", "  ")
			return e.Encode(s)
		}
		return s.print(stdout)
	})
}

func (s *storeStats) count(e *entry) {
	s.add(e.storedBytes)
	if e.sealedBy == "" {
		if s.NotSealed == nil {
			s.NotSealed = &amount{}
		}
		s.NotSealed.add(e.storedBytes)
	} else {
		if s.SealedBy[e.sealedBy] == nil {
			s.SealedBy[e.sealedBy] = &amount{}
		}
		s.SealedBy[e.sealedBy].add(e.storedBytes)
	}
	if e.storedUntil.IsZero() {
		return
	}
	if s.First == "" || e.storedUntil.Before(s.first) {
		s.first, s.First = e.storedUntil, stamp(e.storedUntil)
	}
	if s.Last == "" || e.storedUntil.After(s.last) {
		s.last, s.Last = e.storedUntil, stamp(e.storedUntil)
	}
}

func (s *storeStats) print(w io.Writer) error {
	text := fmt.Sprintf("sessions: %d\nbytes: %d\n", s.Sessions, s.Bytes)
	for _, id := range slices.Sorted(maps.Keys(s.SealedBy)) {
		text += fmt.Sprintf("sealed by %s: %d sessions, %d bytes\n", id, s.SealedBy[id].Sessions, s.SealedBy[id].Bytes)
	}
	if s.NotSealed != nil {
		text += fmt.Sprintf("not sealed: %d sessions, %d bytes\n", s.NotSealed.Sessions, s.NotSealed.Bytes)
	}
	if s.First != "" {
		text += fmt.Sprintf("first expiry: %s\nlast expiry: %s\n", s.First, s.Last)
	}
	_, err := io.WriteString(w, text)
	return err
}
