package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const exitCodes = `Exit codes:
  0  done
  1  the operation failed; the reason is on stderr
  2  wrong usage: a command, flag or argument that does not exist or fit`

// A failure is an error of the operation; every other error is one of usage,
// which cobra too reports.
type failure struct{ err error }

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// run is the command: it parses args, does what they say and returns the exit
// code. ctx ends serve and probe.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err)
	if errors.As(err, new(failure)) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
	return exitUsage
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sessioncb",
		Short: "TLS sessions of OpenSSL, kept outside the process",
		Long: `sessioncb serves, probes and inspects TLS sessions that OpenSSL makes and that
are kept outside the process, so that a client resumes after a restart and on
every server of a fleet.

` + exitCodes,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a command is missing: serve, probe, inspect, store or fleet")
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServe(), newProbe(), newInspect(), newStore(), newFleet())
	return root
}

// version is what the go command noted in the binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

// operation makes what a subcommand does its RunE. Errors of do are failures;
// check returns those of usage.
func operation(check func(args []string) error, do func(cmd *cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(args); err != nil {
			return err
		}
		if err := do(cmd); err != nil {
			return failure{err}
		}
		return nil
	}
}

// printable returns s, quoted if a terminal might act on a part of it.
func printable(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
