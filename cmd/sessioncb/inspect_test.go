package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/ssl"
)

func recorded(name string) string { return filepath.Join("..", "..", "testdata", "sessions", name) }

// inspectJSON decodes the output of inspect --json.
func inspectJSON(t *testing.T, out string) (format string, sessions []description) {
	t.Helper()
	var v struct {
		Format   string        `json:"format"`
		Sessions []description `json:"sessions"`
	}
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return v.Format, v.Sessions
}

// The sessions that OpenSSL 3.0 and 3.5 wrote, in each form that a file can
// have, by path and by stdin, in text and in JSON: the fields are the same.
func TestInspectFormats(t *testing.T) {
	files, err := filepath.Glob(recorded("*.der"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d recorded sessions, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			der, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ssl.ParseSession(der)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			text, err := s.MarshalPEM()
			if err != nil {
				t.Fatal(err)
			}
			pemFile := filepath.Join(t.TempDir(), "session")
			if err := os.WriteFile(pemFile, text, 0o600); err != nil {
				t.Fatal(err)
			}
			want := (&entry{id: s.ID(), session: s}).describe()
			if version := "TLS " + strings.Split(filepath.Base(file), "-")[2][3:]; want.Protocol != version {
				t.Errorf("protocol %s, want %s", want.Protocol, version)
			}
			for _, c := range []struct{ format, stdin, file string }{
				{"DER", "", file}, {"DER", string(der), "-"},
				{"PEM", "", pemFile}, {"PEM", string(text), "-"},
				{"PEM", "# openssl\n" + string(text) + "\n", "-"},
			} {
				r := command(t, c.stdin, "inspect", "--json", c.file)
				if r.code != exitOK {
					t.Fatalf("%s: %s", c.format, r.stderr)
				}
				format, sessions := inspectJSON(t, r.stdout)
				if diff := cmp.Diff([]description{want}, sessions); diff != "" || format != c.format {
					t.Errorf("format %s, want %s; sessions (-want +got):\n%s", format, c.format, diff)
				}
				r = command(t, c.stdin, "inspect", c.file)
				got := fields(r.stdout)
				for name, value := range map[string]string{
					"session id": want.ID, "protocol": want.Protocol, "cipher suite": want.CipherSuite, "expires": want.Expires,
				} {
					if r.code != exitOK || value == "" || got[name] != value {
						t.Errorf("%s: %s is %q, want %q\n%s", c.format, name, got[name], value, r.stderr)
					}
				}
			}
		})
	}
}

// Two blocks are two sessions, and --id picks one.
func TestInspectSeveral(t *testing.T) {
	var all []byte
	var ids []string
	for _, name := range []string{"openssl-3.0.19-tls1.2-server.der", "openssl-3.0.19-tls1.3-server.der"} {
		der, err := os.ReadFile(recorded(name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssl.ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, hex.EncodeToString(s.ID()))
		all = append(all, text...)
		s.Close()
	}
	certificate, err := os.ReadFile(cert("server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	all = slices.Concat(certificate, all) // other blocks are passed over
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, ids},
		{[]string{"--id", ids[1][:6]}, ids[1:]},
		{[]string{"--id", strings.ToUpper(ids[0])}, ids[:1]},
	} {
		r := command(t, string(all), append([]string{"inspect", "-", "--json"}, c.args...)...)
		_, sessions := inspectJSON(t, r.stdout)
		var got []string
		for _, s := range sessions {
			got = append(got, s.ID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || r.code != exitOK {
			t.Errorf("%v: %s (-want +got):\n%s", c.args, r.stderr, diff)
		}
	}
	if r := command(t, string(all), "inspect", "-", "--id", "0123456789abcdef00"); r.code != exitFailed || !strings.Contains(r.stderr, "no session has an id") {
		t.Errorf("an id that is not there: %d %s", r.code, r.stderr)
	}
}

// What is no session is exit code 1 with a reason, never an empty success.
func TestInspectFails(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := os.ReadFile(recorded("openssl-3.0.19-tls1.3-client.der"))
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "s.bolt")
	p := serve(t, "--store", "bolt:"+store)
	if r := command(t, "", "inspect", store); r.code != exitFailed || !strings.Contains(r.stderr, "in use by another process") {
		t.Errorf("a store in use: %d %s", r.code, r.stderr)
	}
	p.stop(t, syscall.SIGINT)
	bolt, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		stdin      []byte
		args       []string
	}{
		{"missing", "no such file", nil, []string{filepath.Join(dir, "none")}},
		{"directory", "is a directory", nil, []string{dir}},
		{"empty", "empty", nil, []string{write("empty", nil)}},
		{"empty stdin", "stdin: empty", nil, []string{"-"}},
		{"garbage", "neither PEM nor DER nor a bolt file", nil, []string{write("garbage", []byte("garbage"))}},
		{"short garbage", "neither PEM nor DER nor a bolt file", []byte("x"), []string{"-"}},
		{"certificate", "without a block of type SSL SESSION PARAMETERS", nil, []string{cert("server.pem")}},
		{"cut DER", "parse session", der[:len(der)-1], []string{"-"}},
		{"longer DER", "parse session", append(slices.Clone(der), 0), []string{"-"}},
		{"DER of something else", "parse session", []byte{0x30, 0x03, 0x02, 0x01, 0x05}, []string{"-"}},
		{"broken PEM", "without a block", []byte("-----BEGIN SSL SESSION PARAMETERS-----\nAAAA"), []string{"-"}},
		{"keys for DER", "--key-file is for a bolt file", der, []string{"-", "--key-file", "k"}},
		{"bolt by stdin", "cannot be read from a stream", bolt, []string{"-"}},
		{"cut bolt", "boltstore: open", nil, []string{write("cut.bolt", bolt[:5000])}},
		{"no key file", "no such file", nil, []string{store, "--key-file", filepath.Join(dir, "none.keys")}},
		{"key file that is none", "key", nil, []string{store, "--key-file", write("bad.keys", []byte("key\n"))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := command(t, string(c.stdin), append([]string{"inspect"}, c.args...)...)
			if r.code != exitFailed || !strings.HasPrefix(r.stderr, "sessioncb inspect: ") || !strings.Contains(r.stderr, c.want) {
				t.Errorf("exit code %d, stderr, want %q:\n%s", r.code, c.want, r.stderr)
			}
		})
	}
	if r := succeed(t, "inspect", store); r != "no session in this bolt file\n" {
		t.Errorf("an empty store: %q", r)
	}
	if _, sessions := inspectJSON(t, succeed(t, "inspect", store, "--json")); len(sessions) != 0 {
		t.Errorf("an empty store in JSON: %v", sessions)
	}
}

// A bolt file lists without keys, shows fields with them, and says of each
// session that the keys do not fit.
func TestInspectBolt(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "s.bolt")
	p := serve(t, "--store", "bolt:"+store, "--timeout", "77m", "--id-context", "shop")
	var short []string
	for _, w := range ways {
		short = append(short, w.handshake(t, p, "", "", false)["session"])
	}
	p.stop(t, syscall.SIGINT)

	_, listed := inspectJSON(t, succeed(t, "inspect", store, "--json"))
	var got []string
	for _, d := range listed {
		got = append(got, d.ID[:16])
		want := description{
			ID: d.ID, StoredBytes: d.StoredBytes, StoredUntil: d.StoredUntil, SealedBy: d.SealedBy,
			IDContext: hex.EncodeToString([]byte("shop")),
		}
		if d != want || d.StoredBytes < 100 || d.StoredUntil == "" || len(d.SealedBy) != 16 {
			t.Errorf("without keys: %+v", d)
		}
	}
	slices.Sort(short)
	if diff := cmp.Diff(short, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}

	_, opened := inspectJSON(t, succeed(t, "inspect", store, "--json", "--key-file", store+".keys"))
	protocols := map[string]bool{}
	for i, d := range opened {
		protocols[d.Protocol] = true
		if d.ID != listed[i].ID || d.StoredBytes != listed[i].StoredBytes || d.StoredUntil != d.Expires || d.Expired ||
			d.TimeoutSeconds != 77*60 || d.IDContext != hex.EncodeToString([]byte("shop")) || d.Resumable == nil || !*d.Resumable {
			t.Errorf("with keys: %+v", d)
		}
	}
	if len(opened) != 2 || !protocols["TLS 1.2"] || !protocols["TLS 1.3"] {
		t.Errorf("%d sessions of %v", len(opened), protocols)
	}

	other := filepath.Join(dir, "other.keys")
	p = serve(t, "--store", "bolt:"+filepath.Join(dir, "other.bolt"), "--key-file", other)
	p.stop(t, syscall.SIGINT)
	r := command(t, "", "inspect", store, "--key-file", other)
	if r.code != exitFailed || strings.Count(r.stdout, "not in the ring") != 2 || !strings.Contains(r.stderr, "2 of 2 sessions could not be read") {
		t.Errorf("other keys: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

var masterKey = regexp.MustCompile(`(?:Master-Key|Resumption PSK): ([0-9A-F]{64,96})`)

// Nothing that inspect prints is a secret: neither the master key, which
// `openssl sess_id -text` shows, nor the ticket, in hexadecimal or base64, of
// the client's session or of the server's in the store.
func TestInspectShowsNoSecret(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "s.bolt")
	p := serve(t, "--store", "bolt:"+store)
	var files []string
	for _, w := range ways {
		file := filepath.Join(dir, w.name+".pem")
		w.handshake(t, p, "", file, false)
		files = append(files, file)
	}
	p.stop(t, syscall.SIGINT)
	// Clients of servers with stateless tickets, which are longer.
	for _, name := range []string{"openssl-3.0.19-tls1.2-client.der", "openssl-3.0.19-tls1.3-client.der"} {
		der, err := os.ReadFile(recorded(name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssl.ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.MarshalPEM()
		s.Close()
		file := filepath.Join(dir, name+".pem")
		if err != nil || os.WriteFile(file, text, 0o600) != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}

	var stored string // what is printed of the store
	for _, args := range [][]string{{}, {"--json"}} {
		stored += succeed(t, append([]string{"inspect", store, "--key-file", store + ".keys"}, args...)...)
	}
	tickets := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := masterKey.FindStringSubmatch(openssl(t, "", "sess_id", "-in", file, "-text", "-noout"))
		if found == nil {
			t.Fatalf("%s: openssl shows no master key", file)
		}
		key, err := hex.DecodeString(found[1])
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssl.ParseSessionPEM(text)
		if err != nil {
			t.Fatal(err)
		}
		der, err := s.MarshalBinary()
		if err != nil || !strings.Contains(string(der), string(key)) {
			t.Fatalf("%s: the key that openssl shows is not in the session: %v", file, err)
		}
		ticket, id := s.Ticket(), hex.EncodeToString(s.ID())
		s.Close()
		shown := ""
		for _, args := range [][]string{{}, {"--json"}} {
			shown += succeed(t, append([]string{"inspect", file}, args...)...)
		}
		if strings.Count(shown, id) != 2 {
			t.Errorf("%s: the id is not in both outputs", file)
		}
		// The server's id of a TLS 1.3 session is the ticket: it is public,
		// and listed.
		for name, c := range map[string]struct {
			secret []byte
			in     string
		}{"master key": {key, shown + stored}, "ticket": {ticket, shown}} {
			if len(c.secret) == 0 {
				continue
			}
			if name == "ticket" {
				tickets++
			}
			for _, form := range []string{string(c.secret), hex.EncodeToString(c.secret[:16]),
				base64.StdEncoding.EncodeToString(c.secret)[:20], base64.RawURLEncoding.EncodeToString(c.secret)[:20]} {
				if strings.Contains(strings.ToLower(c.in), strings.ToLower(form)) {
					t.Errorf("%s: the %s is shown", file, name)
				}
			}
		}
	}
	if tickets < 2 {
		t.Errorf("only %d sessions with a ticket", tickets)
	}
}

// Names that a peer chose do not reach a terminal as they are.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "www.example.com": "www.example.com", "bücher.example": "bücher.example",
		"a\x1b[31m": `"a\x1b[31m"`, "a\nexpired: false": `"a\nexpired: false"`, "\xff": `"\xff"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) is %s, want %s", in, got, want)
		}
	}
}

// ticketOf returns the ticket of a client's session in PEM, in hexadecimal.
func ticketOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssl.ParseSessionPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return hex.EncodeToString(s.Ticket())
}
