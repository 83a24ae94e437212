package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
)

// run measures the curves that this commit does not have yet, each saved when
// it is there, and writes text and plots of all. A curve that failed does not
// keep it from the others.
func run(ctx context.Context, o *options, out io.Writer) error {
	results := filepath.Join(o.bench, "results")
	raw := filepath.Join(results, "scale") // in git: a clone that measures one curve keeps the others
	var failed []string
	if !o.tables {
		if err := host.RaiseFiles(); err != nil {
			return err
		}
		commit, err := record.Commit(filepath.Join(o.bench, ".."))
		if err != nil {
			return err
		}
		machine := host.About()
		for _, c := range o.curves {
			old, err := read(raw, c.name)
			if err != nil {
				return err
			}
			if old != nil && old.Commit == commit && !o.fresh {
				fmt.Fprintf(out, "%s: there already\n", c.name)
				continue
			}
			fmt.Fprintf(out, "%s: %s\n", c.name, c.title)
			r := &result{Curve: c.name, Commit: commit, Started: time.Now().UTC(), Machine: machine}
			err = measureCurve(ctx, o, c, r, out)
			if ctx.Err() != nil {
				return errors.New("interrupted; the curves that are measured are kept")
			}
			if err != nil {
				fmt.Fprintf(out, "  %v\n", err)
				failed = append(failed, c.name)
				continue
			}
			r.Seconds = time.Since(r.Started).Seconds()
			if err := r.save(raw); err != nil {
				return err
			}
		}
	}
	if err := write(results, raw); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

func measureCurve(ctx context.Context, o *options, c *curve, r *result, out io.Writer) error {
	m, err := programs(o)
	if err != nil {
		return err
	}
	files, err := host.MostFiles()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(o.budget)
	b := &bench{
		Bench: m, files: files,
		say:   func(format string, args ...any) { fmt.Fprintf(out, "  "+format+"\n", args...) },
		taker: func() *taker { return &taker{deadline: deadline, result: r} },
	}
	return c.measure(ctx, b, r)
}
