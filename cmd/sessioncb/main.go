// Sessioncb serves, probes and inspects TLS sessions that OpenSSL makes and
// that are kept outside the process; see docs/command.md or sessioncb --help.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
