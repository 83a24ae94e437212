package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
)

// filled is a store with one session of each version, whose server is gone.
type filled struct {
	url, keys string
	short     []string // the beginning of each id, as the log has it
	ids       []string // the ids, in order
}

func fill(t *testing.T, url string) *filled {
	t.Helper()
	s := &filled{url: url, keys: filepath.Join(t.TempDir(), "fleet.keys")}
	p := serve(t, "--store", url, "--key-file", s.keys, "--timeout", "77m")
	eachWay(t, func(t *testing.T, w way) {
		session := filepath.Join(t.TempDir(), "session.pem")
		s.short = append(s.short, w.handshake(t, p, "", session, false)["session"])
		// The client of TLS 1.3 knows the id as its ticket.
		id := fields(succeed(t, "inspect", session))["session id"]
		if w.resumed == byStatefulTicket {
			id = ticketOf(t, session)
		}
		s.ids = append(s.ids, id)
	})
	p.stop(t, syscall.SIGINT)
	return s
}

// listing is the output of ls without its header, by id.
func listing(t *testing.T, out string) (ids []string, cells map[string][]string) {
	t.Helper()
	cells = make(map[string][]string)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if !strings.HasPrefix(lines[0], "ID ") {
		t.Fatalf("no header:\n%s", out)
	}
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		ids = append(ids, f[0])
		cells[f[0]] = f
	}
	slices.Sort(ids)
	return ids, cells
}

// What the tools say of a store that can be listed: Redis and a bolt file.
func TestStoreTools(t *testing.T) {
	for _, c := range []struct {
		kind string
		url  func(t *testing.T) string
	}{
		{"redis", func(t *testing.T) string { return "redis://" + testserver.Redis(t).Addr() }},
		{"redis-cluster", func(t *testing.T) string {
			return "redis-cluster://" + strings.Join(testserver.RedisCluster(t, 3, 0).Addrs(), ",")
		}},
		{"bolt", func(t *testing.T) string { return "bolt:" + filepath.Join(t.TempDir(), "s.bolt") }},
	} {
		t.Run(c.kind, func(t *testing.T) {
			s := fill(t, c.url(t))
			ring, err := sessioncb.LoadKeyFile(s.keys)
			if err != nil {
				t.Fatal(err)
			}
			keyID := ring.IDs()[0]

			// ls: id, bytes, remaining lifetime, key id.
			got, cells := listing(t, succeed(t, "store", "ls", s.url))
			want := slices.Sorted(slices.Values(s.ids))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("ids (-want +got):\n%s", diff)
			}
			bytes := 0
			for _, f := range cells {
				var n int
				fmt.Sscan(f[1], &n)
				bytes += n
				if len(f) != 4 || n < 100 || !strings.HasPrefix(f[2], "1h16m") || f[3] != keyID {
					t.Errorf("ls: %q, want over 100 bytes, 1h16m.., %s", f, keyID)
				}
			}
			format, sessions := inspectJSON(t, succeed(t, "store", "ls", s.url, "--json"))
			if format != c.kind || len(sessions) != 2 || sessions[0].SealedBy != keyID || sessions[0].StoredUntil == "" {
				t.Errorf("ls --json: %s %+v", format, sessions)
			}

			// stats adds up.
			stats := fields(succeed(t, "store", "stats", s.url))
			if stats["sessions"] != "2" || stats["bytes"] != fmt.Sprint(bytes) || stats["first expiry"] == "" || stats["last expiry"] < stats["first expiry"] ||
				stats["sealed by "+keyID] != fmt.Sprintf("2 sessions, %d bytes", bytes) {
				t.Errorf("stats: %v", stats)
			}
			var counted storeStats
			if err := json.Unmarshal([]byte(succeed(t, "store", "stats", s.url, "--json")), &counted); err != nil || counted.Sessions != 2 ||
				counted.Bytes != int64(bytes) || *counted.SealedBy[keyID] != counted.amount || counted.First != stats["first expiry"] {
				t.Errorf("stats --json: %+v, %v", counted, err)
			}

			// get by the whole id and by the log's short one, without keys and with.
			for i, w := range ways {
				for _, id := range []string{s.ids[i], s.short[i], strings.ToUpper(s.short[i])} {
					sealed := fields(succeed(t, "store", "get", s.url, id))
					if sealed["session id"] != s.ids[i] || sealed["sealed by"] != keyID || sealed["session id context"] == "" || sealed["protocol"] != "" {
						t.Errorf("get %s without keys: %v", id, sealed)
					}
					opened := fields(succeed(t, "store", "get", s.url, id, "--key-file", s.keys))
					if opened["session id"] != s.ids[i] || opened["protocol"] != w.version || opened["timeout"] != "1h17m0s" || opened["resumable"] != "true" ||
						opened["session id context"] != sealed["session id context"] {
						t.Errorf("get %s with keys: %v", id, opened)
					}
				}
			}
			wrongKeys := filepath.Join(t.TempDir(), "wrong.keys")
			if err := sessioncb.WriteKeyFile(wrongKeys); err != nil {
				t.Fatal(err)
			}
			if r := command(t, "", "store", "get", s.url, s.ids[0], "--key-file", wrongKeys); r.code != exitFailed || !strings.Contains(r.stdout, "not in the ring") {
				t.Errorf("get with other keys: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}

			// rm takes one, says so, and takes no other.
			unknown := strings.Repeat("0f", 32)
			for _, id := range []string{unknown, unknown[:10]} {
				for _, sub := range []string{"get", "rm"} {
					if r := command(t, "", "store", sub, s.url, id); r.code != exitFailed || !strings.Contains(r.stderr, "no session has an id") {
						t.Errorf("%s of an unknown id: exit code %d\n%s", sub, r.code, r.stderr)
					}
				}
			}
			if out := succeed(t, "store", "rm", s.url, s.short[0]); out != "removed: 1\n" {
				t.Errorf("rm: %q", out)
			}
			if got, _ := listing(t, succeed(t, "store", "ls", s.url)); !slices.Equal(got, s.ids[1:]) {
				t.Errorf("after rm of %s: %v", s.ids[0], got)
			}
			if out := succeed(t, "store", "rm", s.url, "--all", "--yes"); out != "removed: 1\n" {
				t.Errorf("rm --all: %q", out)
			}
			if stats := fields(succeed(t, "store", "stats", s.url)); stats["sessions"] != "0" || stats["bytes"] != "0" {
				t.Errorf("stats of an empty store: %v", stats)
			}
			if got, _ := listing(t, succeed(t, "store", "ls", s.url)); got != nil {
				t.Errorf("ls of an empty store: %v", got)
			}
		})
	}
}

// A beginning that two ids have in common removes neither; a value that is not
// sealed, as C servers write it, is counted and shown as such.
func TestStoreRmAmbiguous(t *testing.T) {
	url := "redis://" + testserver.Redis(t).Addr()
	spec, err := parseStore(url)
	if err != nil {
		t.Fatal(err)
	}
	store, err := spec.open(toServe)
	if err != nil {
		t.Fatal(err)
	}
	defer store.close()
	der, err := os.ReadFile(recorded("openssl-3.0.19-tls1.2-server.der"))
	if err != nil {
		t.Fatal(err)
	}
	ids := [][]byte{{0xab, 1}, {0xab, 2}, {0xac}}
	for _, id := range ids {
		if err := store.Put(t.Context(), sessioncb.Key{ID: id}, der, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"a": "3 sessions", "ab": "2 sessions"} {
		if r := command(t, "", "store", "rm", url, id); r.code != exitFailed || !strings.Contains(r.stderr, want+" have an id that begins with") {
			t.Errorf("rm %s: exit code %d\n%s%s", id, r.code, r.stdout, r.stderr)
		}
	}
	stats := fields(succeed(t, "store", "stats", url))
	if want := fmt.Sprintf("3 sessions, %d bytes", 3*len(der)); stats["sessions"] != "3" || stats["not sealed"] != want {
		t.Errorf("stats: %v", stats)
	}
	if got := fields(succeed(t, "store", "get", url, "ac")); got["protocol"] != "TLS 1.2" || got["sealed by"] != "" {
		t.Errorf("get of a session that is not sealed: %v", got)
	}
	succeed(t, "store", "rm", url, "ab01")
	if got, cells := listing(t, succeed(t, "store", "ls", url)); !slices.Equal(got, []string{"ab02", "ac"}) || cells["ac"][3] != "-" {
		t.Errorf("ls: %v", cells)
	}
}

// memcached has no list; get and rm work by the whole id.
func TestStoreToolsMemcached(t *testing.T) {
	s := fill(t, "memcache://"+testserver.Memcached(t).Addr())
	for i, w := range ways {
		sealed := fields(succeed(t, "store", "get", s.url, s.ids[i]))
		opened := fields(succeed(t, "store", "get", s.url, s.ids[i], "--key-file", s.keys))
		if sealed["sealed by"] == "" || !strings.Contains(sealed["stored"], "bytes, until") || opened["protocol"] != w.version {
			t.Errorf("get: %v, with keys %v", sealed, opened)
		}
		if out := succeed(t, "store", "rm", s.url, s.ids[i]); out != "removed: 1\n" {
			t.Errorf("rm: %q", out)
		}
		if r := command(t, "", "store", "get", s.url, s.ids[i]); r.code != exitFailed || !strings.Contains(r.stderr, "no session has an id") {
			t.Errorf("get after rm: exit code %d\n%s", r.code, r.stderr)
		}
	}
}

// A bolt file in use, and one that is not there, are left as they are.
func TestStoreToolsBoltFile(t *testing.T) {
	dir := t.TempDir()
	url := "bolt:" + filepath.Join(dir, "s.bolt")
	id := strings.Repeat("00", 32)
	runs := [][]string{{"ls", url}, {"stats", url}, {"get", url, id}, {"rm", url, id}, {"rm", url, "--all", "--yes"}}
	for _, args := range runs {
		if r := command(t, "", append([]string{"store"}, args...)...); r.code != exitFailed || !strings.Contains(r.stderr, "no such file") {
			t.Errorf("%v of no file: exit code %d\n%s", args, r.code, r.stderr)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files were made: %v %v", files, err)
	}
	p := serve(t, "--store", url)
	for _, args := range runs {
		if r := command(t, "", append([]string{"store"}, args...)...); r.code != exitFailed || !strings.Contains(r.stderr, "in use by another process") {
			t.Errorf("%v of a file in use: exit code %d\n%s", args, r.code, r.stderr)
		}
	}
	p.stop(t, syscall.SIGINT)
}
