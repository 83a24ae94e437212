package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/measure"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/report"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// A driver measures the rows that were asked for.
type driver struct {
	o       *options
	out     io.Writer
	bench   *measure.Bench // nil: those that bench/build leaves
	commit  string
	machine host.Machine
}

func newDriver(o *options, out io.Writer) *driver { return &driver{o: o, out: out} }

func (d *driver) results() string { return filepath.Join(d.o.bench, "results") }
func (d *driver) raw() string     { return filepath.Join(d.results(), "raw") }

// run measures, and writes the results. A row that failed does not keep it
// from the others.
func (d *driver) run(ctx context.Context) error {
	var err error
	if d.o.tables {
		return d.write(nil)
	}
	if d.bench == nil {
		if d.bench, err = programs(d.o); err != nil {
			return err
		}
	}
	if err := host.RaiseFiles(); err != nil {
		return err
	}
	if d.commit, err = record.Commit(filepath.Join(d.o.bench, "..")); err != nil {
		return err
	}
	d.machine = host.About()
	records := map[string]*record.Row{}
	todo, err := d.todo(records)
	if err != nil {
		return err
	}
	b := newBudget(time.Now(), d.o.budget, d.o.settings, todo)
	fmt.Fprintf(d.out, "%d rows to measure, %d there already; about %v when it is calm, and %v at most\n",
		len(todo), len(d.o.rows)-len(todo), b.planned().Round(time.Second), b.most().Round(time.Second))
	var failed []string
	for i, row := range todo {
		fmt.Fprintf(d.out, "\n%s: %s\n", row.Name, row.Title)
		rec, err := d.row(ctx, row, b.deadline(time.Now(), i))
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(d.out)
			return errors.New("interrupted; the rows that are measured are kept")
		}
		if err != nil {
			rec.Failures = append(rec.Failures, err.Error())
		}
		if rec.Failures != nil {
			failed = append(failed, row.Name)
		}
		if err := report.RowOf(row, rec).WriteRow(d.out); err != nil {
			return err
		}
		records[row.Name] = rec
		if !d.o.quick {
			if err := rec.Save(d.raw()); err != nil {
				return err
			}
		}
	}
	fmt.Fprintln(d.out)
	if err := d.write(records); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// todo are the rows that this commit does not have yet. Those that it has are
// noted in records.
func (d *driver) todo(records map[string]*record.Row) ([]*rows.Row, error) {
	if d.o.quick || d.o.fresh {
		return d.o.rows, nil
	}
	var todo []*rows.Row
	for _, row := range d.o.rows {
		rec, err := record.Read(d.raw(), row.Name)
		if err != nil {
			return nil, err
		}
		if rec != nil && rec.Commit == d.commit && rec.Failures == nil && rec.Settings == d.o.settings {
			records[row.Name] = rec
			continue
		}
		todo = append(todo, row)
	}
	return todo, nil
}

// write prints the rules, and unless it is quick makes table and plots of all
// rows that were ever recorded.
func (d *driver) write(records map[string]*record.Row) error {
	if d.o.quick {
		report.Of(d.o.rows, records).WriteRules(d.out)
		return nil
	}
	records = map[string]*record.Row{}
	for _, row := range rows.All() {
		rec, err := record.Read(d.raw(), row.Name)
		if err != nil {
			return err
		}
		if rec != nil {
			records[row.Name] = rec
		}
	}
	rep := report.Of(rows.All(), records)
	rep.WriteRules(d.out)
	if len(records) == 0 {
		return nil
	}
	for name, f := range map[string]func(io.Writer) error{"results.md": rep.WriteMarkdown, "results.json": rep.WriteJSON} {
		if err := writeFile(filepath.Join(d.results(), name), f); err != nil {
			return err
		}
	}
	if err := rep.Plots(d.results()); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "written to %s\n", d.results())
	return nil
}

// writeFile writes a file, whole or not at all.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		os.Remove(name + ".new")
	}
	return err
}
