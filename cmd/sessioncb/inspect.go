package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	file    string
	keyFile string
	id      string
	json    bool
}

func newInspect() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show the fields of stored sessions, never their secrets",
		Long: `Show the fields of sessions: of PEM (as 'openssl s_client -sess_out' writes it),
of DER, or of the bolt file of 'serve', which no server may have open. FILE - is
stdin, for PEM and DER. The format is found by the content.

The sessions of a bolt file are sealed: with --key-file their fields are shown,
without it their ids, sizes and times of expiry. The master key, the ticket and
the ticket's application data are never shown.

` + exitCodes,
		Example: `  sessioncb inspect session.pem
  sessioncb inspect sessions.bolt --key-file sessions.bolt.keys --json`,
		Args: cobra.ExactArgs(1),
		RunE: operation(func(args []string) error { return o.check(args[0]) }, func(cmd *cobra.Command) error {
			return o.inspect(cmd.InOrStdin(), cmd.OutOrStdout())
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.keyFile, "key-file", "", "`FILE` with the keys that seal the sessions of a bolt file")
	f.StringVar(&o.id, "id", "", "show only sessions whose id begins with these hexadecimal `DIGITS`")
	f.BoolVar(&o.json, "json", false, "write JSON")
	return cmd
}

func (o *inspectOptions) check(file string) error {
	o.file = file
	o.id = strings.ToLower(o.id)
	if strings.Trim(o.id, "0123456789abcdef") != "" {
		return fmt.Errorf("--id %q has other characters than hexadecimal digits", o.id)
	}
	return nil
}

func (o *inspectOptions) inspect(stdin io.Reader, stdout io.Writer) error {
	src, err := o.source(stdin)
	if err != nil {
		return err
	}
	defer src.close()
	return show(stdout, o.json, o.id, src)
}

// show writes the sessions of src whose id begins with id. It is an error if
// there is none, or if one could not be read.
func show(stdout io.Writer, asJSON bool, id string, src *source) error {
	out := bufio.NewWriter(stdout)
	var p printer = &textPrinter{w: out}
	if asJSON {
		p = &jsonPrinter{w: out}
	}
	p.begin(src.format)
	shown, unreadable := 0, 0
	err := src.each(func(e *entry) error {
		defer e.close()
		if !strings.HasPrefix(hex.EncodeToString(e.id), id) {
			return nil
		}
		shown++
		if e.err != nil {
			unreadable++
		}
		return p.session(e)
	})
	if err != nil {
		return errors.Join(err, out.Flush())
	}
	p.end()
	if err := out.Flush(); err != nil {
		return err
	}
	switch {
	case shown == 0 && id != "":
		return noSuchSession(id)
	case unreadable > 0:
		return fmt.Errorf("%d of %d sessions could not be read", unreadable, shown)
	}
	return nil
}

// A printer writes sessions one by one: a file may hold more than memory.
type printer interface {
	begin(format string)
	session(*entry) error
	end()
}

// textPrinter writes "name: value" lines, with a blank line between sessions.
// Errors of w are those of its Flush.
type textPrinter struct {
	w      *bufio.Writer
	format string
	n      int
}

func (p *textPrinter) begin(format string) { p.format = format }

func (p *textPrinter) session(e *entry) error {
	if p.n++; p.n > 1 {
		fmt.Fprintln(p.w)
	}
	for _, line := range e.describe().lines() {
		// A name that a peer chose may hold what a terminal obeys.
		fmt.Fprintf(p.w, "%s: %s\n", line[0], printable(line[1]))
	}
	return nil
}

func (p *textPrinter) end() {
	if p.n == 0 {
		fmt.Fprintf(p.w, "no session in this %s\n", p.format)
	}
}

// jsonPrinter writes {"format": ..., "sessions": [...]}.
type jsonPrinter struct {
	w *bufio.Writer
	n int
}

func (p *jsonPrinter) begin(format string) {
	fmt.Fprintf(p.w, "{\n  \"format\": %q,\n  \"sessions\": [", format)
}

func (p *jsonPrinter) session(e *entry) error {
	text, err := json.MarshalIndent(e.describe(), "    ", "  ")
	if err != nil {
		return err
	}
	if p.n++; p.n > 1 {
		p.w.WriteByte(',')
	}
	p.w.WriteString("\n    ")
	p.w.Write(text)
	return nil
}

func (p *jsonPrinter) end() {
	if p.n > 0 {
		p.w.WriteString("\n  ")
	}
	p.w.WriteString("]\n}\n")
}
