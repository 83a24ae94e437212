package peer

import (
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const files = "-cert c.pem -key k.pem "
	stores := []string{"none", "der"}
	for _, test := range []struct {
		args   string
		want   Options
		reason string // of the error, "": none
	}{
		{args: files, want: Options{Work: "handshake", Version: tls.VersionTLS13, Store: "none", MaxSessions: 100_000}},
		{
			args: files + "-work echo -version 1.2 -store der -max-sessions 7 -lookup-delay 2ms -client-ca ca.pem",
			want: Options{Work: "echo", Version: tls.VersionTLS12, Store: "der", MaxSessions: 7,
				LookupDelay: 2 * time.Millisecond, ClientCA: "ca.pem"},
		},
		{args: "-cert c.pem", reason: "-cert and -key are needed"},
		{args: files + "-work sleep", reason: `-work "sleep"`},
		{args: files + "-version 1.1", reason: `-version "1.1"`},
		{args: files + "-store tickets", reason: "this peer does not have that; it has none, der"},
		{args: files + "-max-sessions 0", reason: "1 or more"},
		{args: files + "-lookup-delay -1s", reason: "negative"},
		{args: files + "-gomaxprocs -1", reason: "negative"},
		{args: files + "more", reason: `unexpected argument "more"`},
		{args: files + "-release-buffers", reason: "not defined"}, // is C's alone
	} {
		fs := flag.NewFlagSet("peer", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		o, err := parse(fs, strings.Fields(test.args), stores, nil)
		if test.reason != "" {
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%s: error %v, want %q", test.args, err, test.reason)
			}
			if notHad := strings.Contains(test.reason, "does not have"); errors.Is(err, ErrNotHad) != notHad {
				t.Errorf("%s: %v is ErrNotHad: %v, want %v", test.args, err, !notHad, notHad)
			}
			continue
		}
		test.want.CertFile, test.want.KeyFile = "c.pem", "k.pem"
		if err != nil || *o != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.args, o, err, test.want)
		}
	}
}
